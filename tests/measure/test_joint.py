"""Joint Gaussian laws of two sides, against quadrature over both of them together."""

import itertools

import pytest
import torch
from oracle import nodes
from zoo import bilinear, linear, rand

from tnsim.measure import expect
from tnsim.measure.laws.wick import JointGaussian
from tnsim.measure.pairings.arrays import Block

N = 2
DEGREE = 8
MEANS = list(itertools.product((False, True), repeat=2))


def law_of(which):
    """A covariance across sides that is not symmetric, and means for some sides only."""
    root = rand(2 * N, 2 * N)
    cov = root @ root.T / N
    means = [rand(N) if has else None for has in which]
    blocks = {(a, b): Block(cov.reshape(2, N, 2, N)[a, :, b]) for a, b in ((0, 0), (0, 1), (1, 1))}
    whole = torch.cat([torch.zeros(N, dtype=cov.dtype) if m is None else m for m in means])
    law = JointGaussian(tuple(None if m is None else Block(m) for m in means), blocks)
    x, w = nodes(2 * N, DEGREE, whole, cov)
    return law, (x[:, :N], x[:, N:]), w


def layers():
    """Bilinear layers with and without lower terms: those are closed with means, and moved by them."""
    f, g = bilinear(N, 3, 2), linear(N, 2)
    return {"bilinear": f, "linear": g, "with lower terms": f + g + rand(2)}


@pytest.mark.parametrize("which", MEANS)
@pytest.mark.parametrize("order", [(0, 1), (1, 0), (1, 1)])
def test_second_moments(which, order):
    torch.manual_seed(0)
    law, sides, w = law_of(which)
    for f, g in itertools.product(layers().values(), layers().values()):
        want = torch.einsum("b,bi,bj->ij", w, f(sides[order[0]]), g(sides[order[1]]))
        torch.testing.assert_close(expect((f, g), law, "all", order), want, rtol=1e-10, atol=1e-10)
        means = [torch.einsum("b,bi->i", w, h(sides[side])) for h, side in zip((f, g), order, strict=True)]
        got = expect((f, g), law, "all", order, connected=True)
        torch.testing.assert_close(got, want - torch.outer(*means), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("which", MEANS)
def test_pushed(which):
    """Mean and covariance behind a layer, where one of the two layers may be odd."""
    torch.manual_seed(1)
    law, sides, w = law_of(which)
    for pair in itertools.product(layers().values(), repeat=2):
        got = law.push(pair)
        values = [f(x) for f, x in zip(pair, sides, strict=True)]
        means = [torch.einsum("b,bi->i", w, v) for v in values]
        for side in (0, 1):
            mean = got.means[side]
            value = torch.zeros(2, dtype=w.dtype) if mean is None else mean.data
            torch.testing.assert_close(value, means[side], rtol=1e-10, atol=1e-10)
        for (a, b), block in got.covs.items():
            want = torch.einsum("b,bi,bj->ij", w, values[a] - means[a], values[b] - means[b])
            torch.testing.assert_close(block.data, want, rtol=1e-10, atol=1e-10)
