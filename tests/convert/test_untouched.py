"""Conversion only reads the user's module: nothing it holds changes, whatever ``forward`` does and however it ends."""

import random
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from module_state import CONVERTED, EXAMPLE, REFUSED, D, fingerprint, made, surroundings
from modules import Forward, assert_close
from torch import nn

from tnsim.convert import ConvertError, convert
from tnsim.convert.module.replicas import replica

KINDS = {**CONVERTED, **REFUSED}


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
def test_interrupts_leave_the_module_as_it_is(name, events, n=20):
    module = made(name)
    before, around = fingerprint(module), surroundings()

    def run():
        convert(module, EXAMPLE)

    run()  # caches of the interpreter
    total = interrupted(run, -1, events)
    assert total > 100
    moments = random.Random(0)
    for at in [
        *(moments.randrange(total) for _ in range(n)),
        *range(total - n // 2, total),
    ]:  # the end restores
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
