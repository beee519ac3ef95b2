"""Runs of linear operations that are taken apart and joined, where one matrix would be large or hides in another."""

import pytest
import torch
from torch import nn

import tnsim
from tnsim.convert.values import structure
from tnsim.convert.values.axis_blocks import blocks

N_CTX, WIDTH = 5, 8


def shifted(x):
    y = torch.zeros_like(x)
    y[:, 1:] = x[:, :-1]
    return x - y


def loud(x):
    """Features move along positions, but for one that is 10¹⁰ times as large and stays."""
    y = torch.zeros_like(x)
    y[..., 0] = x[..., 0] * 1e10
    y[:, 1:, 1:] = x[:, :-1, 1:]
    return y


def half_shifted(x):
    a, b = x.chunk(2, -1)
    return torch.cat((torch.cat((torch.zeros_like(a[:, :1]), a[:, :-1]), 1), b), -1)


def fading(x):
    speeds = torch.linspace(0.1, 0.9, WIDTH, dtype=x.dtype)
    now, seen = torch.zeros_like(x[:, 0]), []
    for new in x.unbind(1):
        now = now * speeds + new
        seen.append(now)
    return torch.stack(seen, 1)


class Squared(nn.Module):
    def __init__(self, run):
        super().__init__()
        self.run = run
        self.f = nn.Linear(WIDTH, 3)
        nn.init.zeros_(self.f.weight[:, 0].detach())

    def forward(self, x):
        return self.f(self.run(x)) ** 2


@pytest.mark.parametrize("most", [10**7, N_CTX * WIDTH * 2])
def test_an_axis_that_is_not_mixed_is_not_taken_apart(monkeypatch, most):
    """Where neither positions nor features may be one matrix, the operations stay as they are."""
    torch.manual_seed(0)
    monkeypatch.setattr(structure, "_MOST_ENTRIES", most)
    module, x = Squared(shifted).double(), torch.randn(4, N_CTX, WIDTH, dtype=torch.float64)
    torch.testing.assert_close(tnsim.convert(module, x)(x), module(x), rtol=1e-12, atol=1e-12)


def test_what_mixes_along_two_axes_has_no_blocks_along_one():
    like = torch.zeros((), dtype=torch.float64)
    both = lambda x: x.flip(0) + x.unflatten(1, (4, 2)).flip(2).flatten(1)  # noqa: E731
    assert blocks(both, (N_CTX, WIDTH), 1, like) is None
    assert blocks(lambda x: x.unflatten(1, (4, 2)).flip(2).flatten(1), (N_CTX, WIDTH), 1, like) == (4, 2, 1)


def test_a_loud_feature_hides_no_other():
    """Numbers are compared each for its own size."""
    numbers = torch.tensor([1e10, 1.0], dtype=torch.float64)
    assert structure._agree(numbers * (1 + 1e-9), numbers, numbers)
    assert not structure._agree(numbers + torch.tensor([0.0, 1e-3]), numbers, numbers)


@pytest.mark.parametrize("run", [loud, half_shifted])
def test_positions_of_the_input_are_kept(run):
    """A few terms are better than one matrix that reads positions and features of the input together."""
    torch.manual_seed(0)
    module, x = Squared(run).double(), torch.randn(4, N_CTX, WIDTH, dtype=torch.float64)
    net = tnsim.convert(module, x)
    torch.testing.assert_close(net(x), module(x), rtol=1e-12, atol=1e-12)
    assert net.polys[0].domain == (("s", N_CTX), ("d", WIDTH))


def test_what_would_be_many_terms_is_one_matrix():
    """Each feature fades at a speed of its own."""
    torch.manual_seed(0)
    module, x = Squared(fading).double(), torch.randn(4, N_CTX, WIDTH, dtype=torch.float64)
    (poly,) = tnsim.convert(module, x).polys
    assert len(poly.terms) < 10 and poly.domain == (("d", N_CTX * WIDTH),)


class Turned(nn.Module):
    """Halves change places, with gains that are the same at all positions and trained, but no parameter."""

    def __init__(self):
        super().__init__()
        self.gains = torch.ones(N_CTX, WIDTH // 2, dtype=torch.float64, requires_grad=True)

    def forward(self, x):
        a, b = x.chunk(2, -1)
        return torch.cat((b * self.gains, -a * self.gains), -1) ** 2


def test_gradients_of_weights_that_are_no_parameters():
    """Autograd through the module says the same."""
    torch.manual_seed(0)
    module, x = Turned(), torch.randn(4, N_CTX, WIDTH, dtype=torch.float64)
    weights = torch.randn(4, N_CTX, WIDTH, dtype=torch.float64)
    net = tnsim.convert(module, x)
    want, got = (torch.autograd.grad((f(x) * weights).sum(), module.gains)[0] for f in (module, net))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
