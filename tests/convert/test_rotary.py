"""Rotary embeddings as people write them, also where they are too large for one matrix between all features."""

import pytest
import torch
from torch import nn

import tnsim
from tnsim.convert.values import structure
from tnsim.convert.values.axis_blocks import blocks

N_CTX, HEADS, D_HEAD = 5, 2, 8


def halves(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def turned_halves(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * torch.cat((cos, cos), -1) + torch.cat((-b, a), -1) * torch.cat((sin, sin), -1)


def pairs(x, cos, sin):
    a, b = x[..., ::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def folded(x, cos, sin):
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).reshape(x.shape)


def partial(x, cos, sin):
    kept, turned = x.split(D_HEAD // 2, -1)
    return torch.cat((kept, halves(turned, cos[..., ::2], sin[..., ::2])), -1)


def complex_pairs(x, cos, sin):
    z = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(z * torch.complex(cos, sin)).flatten(-2)


def matrices(x, cos, sin):
    turns = torch.stack((torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)), -2)
    return torch.einsum("...pij,...jp->...ip", turns, torch.stack(x.chunk(2, -1), -2)).flatten(-2)


def written(x, cos, sin):
    y = torch.empty_like(x)
    y[..., ::2] = x[..., ::2] * cos - x[..., 1::2] * sin
    y[..., 1::2] = x[..., ::2] * sin + x[..., 1::2] * cos
    return y


TURNS = [halves, turned_halves, pairs, folded, partial, complex_pairs, matrices, written]
IN_PAIRS = [folded, complex_pairs]  # which are 2 × 2 matrices at any size


class Attention(nn.Module):
    """One layer of attention with quadratic scores."""

    def __init__(self, turn, speeds=1):
        super().__init__()
        self.turn = turn
        self.q, self.k, self.v = (nn.Linear(6, HEADS * D_HEAD) for _ in range(3))
        self.o = nn.Linear(HEADS * D_HEAD, 6, bias=False)
        angle = torch.randn(speeds, N_CTX, D_HEAD // 2, dtype=torch.float64)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (HEADS, D_HEAD)).transpose(1, 2) for f in (self.q, self.k, self.v))
        q, k = self.turn(q, self.cos, self.sin), self.turn(k, self.cos, self.sin)
        return x + self.o(((q @ k.mT) ** 2 @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("speeds", [1, HEADS])
def test_in_blocks(monkeypatch, turn, speeds):
    """The same values, and two terms as with one matrix."""
    torch.manual_seed(0)
    module = Attention(turn, speeds).double().eval()
    x = torch.randn(7, N_CTX, 6, dtype=torch.float64)
    whole = tnsim.convert(module, x)
    # less than all features with all, and enough for half of them
    monkeypatch.setattr(structure, "_MOST_ENTRIES", HEADS * N_CTX * D_HEAD * D_HEAD // 2)
    net = tnsim.convert(module, x)
    torch.testing.assert_close(net(x), module(x), rtol=1e-12, atol=1e-12)
    assert [len(f.terms) for f in net.polys] == [len(f.terms) for f in whole.polys]
    size = lambda net: sum(t.data.numel() for f in net.polys for t in f.terms[0].tensors)  # noqa: E731
    assert turn in IN_PAIRS or size(net) < size(whole)
    assert abs(float(tnsim.similarity(net, whole).detach()) - 1) < 1e-10


def test_what_mixes_all_has_no_blocks():
    """Nor has a reversal."""
    like = torch.zeros((), dtype=torch.float64)
    matrix = torch.randn(6, 6, dtype=torch.float64)
    assert blocks(lambda x: x @ matrix, (4, 6), 1, like) is None
    assert blocks(lambda x: x.flip(-1), (4, 6), 1, like) is None
    assert blocks(lambda x: 2 * x + 1, (4, 6), 1, like) == (1, 1, 6)
    assert blocks(lambda x: (x.unflatten(-1, (2, 3)) @ matrix[:3, :3]).flatten(-2), (4, 6), 1, like) == (
        2,
        3,
        1,
    )
    assert blocks(lambda x: x.unflatten(0, (2, 2)).flip(0).flatten(0, 1), (4, 6), 0, like) == (1, 2, 2)
