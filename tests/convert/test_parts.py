"""Tensors that are put together and taken apart again: what is picked has no terms of what is not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tnsim

N, D = 3, 4


def joined(q, k, v):
    return torch.cat((q, k, v), -1).split(D, -1)


def chunked(q, k, v):
    return (*torch.cat((v, q, k), -1).chunk(3, -1)[1:], v)


def stacked(q, k, v):
    return torch.stack((q, k, v)).unbind()


def indexed(q, k, v):
    whole = torch.stack((q, k, v), 2)
    return whole[:, :, 0], whole[:, :, 1], whole[:, :, 2]


def along_positions(q, k, v):
    whole = torch.cat((q, k, v), 1)
    return whole[:, :N], whole[:, N : 2 * N], whole[:, 2 * N :]


def written(q, k, v):
    whole = torch.zeros(*q.shape[:2], 3 * D, dtype=q.dtype)
    whole[..., :D], whole[..., D : 2 * D], whole[..., 2 * D :] = q, k, v
    return whole[..., :D], whole[..., D : 2 * D], whole[..., 2 * D :]


class Attention(nn.Module):
    def __init__(self, apart, bias):
        super().__init__()
        self.apart = apart
        self.q, self.k, self.v = (nn.Linear(D, D, bias) for _ in range(3))

    def forward(self, x):
        q, k, v = self.apart(self.q(x), self.k(x), self.v(x))
        return (q @ k.mT) ** 2 @ v


@pytest.mark.parametrize("apart", [joined, chunked, stacked, indexed, along_positions, written])
@pytest.mark.parametrize("bias", [False, True])
def test_no_terms_of_what_is_not_picked(apart, bias):
    torch.manual_seed(0)
    module = Attention(apart, bias).double().requires_grad_(False)
    x = torch.randn(5, N, D, dtype=torch.float64)
    net = tnsim.convert(module, x)
    torch.testing.assert_close(net(x), module(x), rtol=1e-12, atol=1e-12)
    plain = Attention(lambda *parts: parts, bias)
    plain.load_state_dict(module.state_dict())
    want = tnsim.convert(plain.double().requires_grad_(False), x)
    assert [len(f.terms) for f in net.polys] == [len(f.terms) for f in want.polys]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: F.pad(x, (0, 2))[..., -2:] + x[..., :2],
        lambda x: F.pad(x, (0, 2))[..., -2:] * x[..., :2] + x[..., 1:3],
        lambda x: torch.cat((x, torch.zeros_like(x)), -1)[..., D:] + x,
    ],
)
def test_where_nothing_is_left_it_is_zero(fn):
    class Module(nn.Module):
        def forward(self, x):
            return fn(x)

    x = torch.randn(5, N, D, dtype=torch.float64)
    torch.testing.assert_close(tnsim.convert(Module(), x)(x), fn(x), rtol=1e-12, atol=1e-12)


def test_weights_that_are_zero_are_no_places():
    """A weight that is zero and trains keeps its term, and its gradient."""
    module = Attention(joined, False).double()
    nn.init.zeros_(module.v.weight)
    x = torch.randn(5, N, D, dtype=torch.float64)
    net = tnsim.convert(module, x)
    (got,) = torch.autograd.grad(net(x).square().sum() + net(x).sum(), module.v.weight)
    (want,) = torch.autograd.grad(module(x).square().sum() + module(x).sum(), module.v.weight)
    assert float(want.norm()) > 0
    torch.testing.assert_close(got, want)
