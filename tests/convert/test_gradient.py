"""The gradients of a network are those of its module: what is detached is constant, without gradients none are carried."""

import copy

import numpy as np
import pytest
import torch
from module_state import CONVERTED, EXAMPLE, D, made
from modules import Forward, assert_close
from torch import nn

import tnsim
from tnsim.convert import convert


def gradients(f, x, parameters):
    weight = torch.linspace(1, 2, 3 * D, dtype=torch.float64).reshape(3, D)
    return torch.autograd.grad((f(x) * weight).sum(), parameters, allow_unused=True)


@torch.no_grad()
def _without(s, x):
    return s.b(x)


@torch.no_grad()
def _cast(h):
    return h.double()


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
    "a cast without gradients": lambda s, x: _cast(s.a(x)) * s.b(x),
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
    net = tnsim.algebra.Network((("w", tnsim.poly("W[out,in0]", W=np.eye(2))),))
    twin = copy.deepcopy(net)
    assert twin.polys[0].terms[0].tensors[0].data is not net.polys[0].terms[0].tensors[0].data
