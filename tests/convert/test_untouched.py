"""Conversion only reads the user's module: nothing it holds changes, whatever ``forward`` does and however it ends."""

import copy
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from module_state import CONVERTED, REFUSED, D, fingerprint, surroundings
from modules import Forward, assert_close
from torch import nn

import tnsim
from tnsim.convert import ConvertError, convert
from tnsim.convert.replica import replica

EXAMPLE = torch.zeros(1, D)
KINDS = {**CONVERTED, **REFUSED}


def made(name):
    torch.manual_seed(0)
    return KINDS[name]()


# ---------------------------------------------------------------------- every kind of module


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", KINDS)
def test_nothing_changes(name, dtype):
    module = made(name)
    before, around = fingerprint(module), surroundings()
    if name in CONVERTED:
        convert(module, EXAMPLE, dtype=dtype)
    else:
        with pytest.raises(ConvertError):
            convert(module, EXAMPLE, dtype=dtype)
    assert fingerprint(module) == before
    assert surroundings() == around


@pytest.mark.parametrize("name", CONVERTED)
def test_the_network_is_what_the_module_would_compute(name):
    module = made(name)
    net = convert(module, EXAMPLE)
    x = torch.randn(3, D, dtype=torch.float64)
    try:
        want = module(x.to(next(module.parameters()).dtype)).double()  # now it may change
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
    assert_close(net(x), want, 1e-5)


def test_the_test_sees_changes():
    for name in ("state kept in forward", "a child with its parent", "hooks", "weights written in forward"):
        module = made(name)
        before = fingerprint(module)
        module(torch.zeros(1, D))
        assert fingerprint(module) != before, name


def test_an_optimiser_made_before_trains_the_module():
    module = made("a block registered twice")
    optimiser = torch.optim.SGD(module.parameters(), lr=1.0)
    convert(module, EXAMPLE)
    before = module.blocks[0].weight.detach().clone()
    module(torch.ones(1, D)).sum().backward()
    optimiser.step()
    assert not torch.equal(before, module.blocks[0].weight)


def test_the_copy_is_apart_from_the_original():
    """No module, container or object of the one is in the other; tensors that are not replaced are the same."""
    module = made("a child with its parent")
    twin = replica(module, {})
    assert twin.child.parent[0] is twin and twin.child.weak() is twin and twin.child.proxy is twin
    assert twin.child.up.__self__ is twin and twin.child.again.args == (twin,)
    assert (
        list(twin.children_by_name.values()) == [twin.child, "child"] and twin.child in twin.children_by_name
    )
    assert twin.w.weight is module.w.weight


def test_a_deep_chain_is_copied():
    module = nn.Linear(D, D)
    module.link = node = []
    for _ in range(5000):
        node.append([])
        node = node[0]
    convert(module)


# ---------------------------------------------------------------------- interrupts


def interrupted(fn, at, events):
    """Run ``fn``, with a ``KeyboardInterrupt`` at the ``at``-th event of the interpreter; say how many there were."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        frame.f_trace_opcodes = events == "opcode"
        if event == events:
            count += 1
            if count == at:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        fn()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return count


@pytest.mark.parametrize("events", ["line", "opcode", "return"])
@pytest.mark.parametrize("name", ["a block registered twice", "state kept in forward", "seeds and switches"])
def test_interrupts_leave_the_module_as_it_is(name, events, n=40):
    module = made(name)
    before, around = fingerprint(module), surroundings()

    def run():
        convert(module, EXAMPLE)

    run()  # caches of the interpreter
    total = interrupted(run, -1, events)
    assert total > 100
    moments = random.Random(0)
    for at in [*(moments.randrange(total) for _ in range(n)), *range(total - n // 2, total)]:
        interrupted(run, at, events)
        assert fingerprint(module) == before, at
        assert surroundings() == around, at
    assert_close(
        convert(module, EXAMPLE)(EXAMPLE.double() + 1), convert(module, EXAMPLE)(EXAMPLE.double() + 1)
    )


# ---------------------------------------------------------------------- threads


@pytest.mark.parametrize(
    "name", ["a block registered twice", "double precision", "hooks", "spectral_norm by hooks"]
)
def test_threads_convert_one_module_alike(name, rounds=10):
    module = made(name)
    x = torch.randn(3, D, dtype=torch.float64)
    before, around = fingerprint(module), surroundings()
    want = convert(module, EXAMPLE)
    with ThreadPoolExecutor(4) as pool:
        nets = list(pool.map(lambda _: convert(module, EXAMPLE), range(4 * rounds)))
    assert {net.names for net in nets} == {want.names}
    for net in nets:
        assert torch.equal(net(x), want(x))
    assert fingerprint(module) == before and surroundings() == around


def test_threads_convert_modules_that_share_a_part():
    part = nn.Linear(D, D)
    wholes = [Forward(lambda s, x: s.part(x) ** 2, part=part), nn.Sequential(part, nn.Linear(D, D), part)]
    before = fingerprint(wholes)
    with ThreadPoolExecutor(4) as pool:
        nets = list(pool.map(lambda k: convert(wholes[k % 2], EXAMPLE), range(40)))
    assert {net.names for net in nets[::2]} == {("part",)} and len({net.names for net in nets[1::2]}) == 1
    assert fingerprint(wholes) == before


# ---------------------------------------------------------------------- gradients


def gradients(f, x, parameters):
    weight = torch.linspace(1, 2, 3 * D, dtype=torch.float64).reshape(3, D)
    return torch.autograd.grad((f(x) * weight).sum(), parameters, allow_unused=True)


@torch.no_grad()
def _without(s, x):
    return s.b(x)


def _mixed(s, x):
    h = s.a(x)
    return h + s.b(h.detach())


def _block(s, x):
    with torch.no_grad():
        h = s.a(x)
    return s.b(h)


DETACHED = {
    "a factor": lambda s, x: s.a(x).detach() * s.b(x),
    "a frozen front": lambda s, x: s.b(s.a(x).detach()),
    "a frozen front of two": lambda s, x: s.c(s.b(s.a(x) ** 2).detach()),
    "data": lambda s, x: s.b(s.a(x).data),
    "both ways across layers": _mixed,
    "both ways across three": lambda s, x: s.c(s.b(s.a(x)) ** 2) + s.a(x).detach(),
    "straight through": lambda s, x: s.a(x) + (s.b(s.a(x)) - s.a(x)).detach(),
    "no_grad": _block,
    "a function without gradients": lambda s, x: _without(s, x) * s.a(x),
    "a square of a constant": lambda s, x: s.c(s.a(x).detach() ** 2 + s.a(x) ** 2),
    "moved around": lambda s, x: s.c(torch.cat([s.a(x)[:, :2].detach(), s.b(x)[:, 2:]], -1).flip(-1)),
    "a detached weight": lambda s, x: x @ s.a.weight.detach() * s.b(x),
    "all of it": lambda s, x: s.a(x).detach(),
    "a torch function": lambda s, x: torch.detach(s.a(x)) * s.a(x),
    "a detour and a residual": lambda s, x: (lambda h: h + s.b(h) * s.c(h).detach())(s.a(x)),
}


@pytest.mark.parametrize("name", DETACHED)
def test_what_is_detached_is_constant(name):
    torch.manual_seed(0)
    parts = {key: nn.Linear(D, D) for key in "abc"}
    module = Forward(DETACHED[name], **parts).double()
    net, x = convert(module, EXAMPLE), torch.randn(3, D, dtype=torch.float64)
    assert_close(net(x), module(x))
    parameters = list(module.parameters())
    if name == "all of it":
        assert not net(x).requires_grad
        return
    for got, want in zip(gradients(net, x, parameters), gradients(module, x, parameters), strict=True):
        if want is None:
            assert got is None or not got.any()
        else:
            assert_close(got, want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CONVERTED)
def test_without_gradients_nothing_carries_one(name, dtype):
    module = made(name)
    with torch.no_grad():
        net = convert(module, EXAMPLE, dtype=dtype)
    assert not any(a.requires_grad for _, f in net for a in f.arrays())
    assert not tnsim.similarity(net, net).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_deep_copy_has_leaves_of_its_own(dtype):
    module = made("tied weights").to(dtype)
    net = convert(module, EXAMPLE)
    twin, x = copy.deepcopy(net), torch.randn(3, D, dtype=torch.float64)
    assert torch.equal(twin(x), net(x))
    arrays = {id(a): a for _, f in twin for a in f.arrays()}
    assert len(arrays) == len({id(a) for _, f in net for a in f.arrays()})  # what was shared is shared
    twin(x).sum().backward()
    assert all(a.grad is not None for a in arrays.values() if a.requires_grad) and any(
        a.requires_grad for a in arrays.values()
    )
    assert all(p.grad is None for p in module.parameters())


def test_numpy_networks_copy_deeply():
    net = tnsim.algebra.Network((("w", tnsim.algebra.poly("W[out,in0]", W=np.eye(2))),))
    twin = copy.deepcopy(net)
    assert twin.polys[0].terms[0].tensors[0].data is not net.polys[0].terms[0].tensors[0].data
