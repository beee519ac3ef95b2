"""Mixtures of Gaussians, against quadrature over each of them."""

import itertools

import pytest
import torch
from attention import Attention
from oracle import nodes
from zoo import bilinear, linear, rand

from tnsim.measure import Gaussian, MeasureError, Mixture, expect

N = 2
WEIGHTS = (0.15, 0.6, 0.25)


def components(n):
    """Three laws far from each other, one without a mean."""
    root = rand(n, n)
    return [
        (rand(n), root @ root.T / n),
        (None, rand(n) ** 2 + 0.1),
        (2 * rand(n), None),
    ]


def quadrature(parts, degree):
    """Points of all components, weighted."""
    n = len(parts[0][0])
    found = [nodes(n, degree, mean, cov) for mean, cov in parts]
    x = torch.cat([x for x, _ in found])
    return x, torch.cat([share * w for (_, w), share in zip(found, WEIGHTS, strict=True)])


def test_moments():
    """Layers with and without lower terms, of all pairs."""
    torch.manual_seed(0)
    parts = components(N)
    law = Mixture([Gaussian(mean=mean, cov=cov) for mean, cov in parts], WEIGHTS)
    x, w = quadrature(parts, 8)
    for f, g in itertools.product((bilinear(N, 3, 2), linear(N, 2), bilinear(N, 3, 2, bias=True)), repeat=2):
        want = torch.einsum("b,bi,bj->ij", w, f(x), g(x))
        got = expect((f, g), law, "all")
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_scores():
    """Attention, whose moments are asked for in one piece of every component."""
    torch.manual_seed(1)
    f = Attention(n=2, s=1, d=N, residual=0.5).poly()
    parts = components(N)
    wide = lambda x: None if x is None else (torch.diag(x) if x.ndim == 1 else x).reshape(1, N, 1, N)  # noqa: E731
    laws = [Gaussian(mean=None if mean is None else mean[None], cov=wide(cov)) for mean, cov in parts]
    law = Mixture(laws, WEIGHTS)
    x, w = quadrature(parts, 10)
    y = f(x.reshape(-1, *f.in_shape)).flatten(1)
    want = torch.einsum("b,bi,bj->ij", w, y, y)
    got = expect((f, f), law, "all")
    torch.testing.assert_close(got.reshape(want.shape), want, rtol=1e-10, atol=1e-10)


def test_weights_are_refused():
    laws = [Gaussian(), Gaussian(mean=rand(N))]
    for weights in ((0.5,), (0.5, 0.6), (1.5, -0.5), (float("nan"), 1.0)):
        with pytest.raises(MeasureError, match="as many weights that add up to 1"):
            Mixture(laws, weights)


def test_pairings_weigh_as_their_components():
    """Two linear layers have one pairing, four legs of two bilinear ones have three: of each component."""
    law = Mixture([Gaussian(cov=rand(N) ** 2) for _ in WEIGHTS], WEIGHTS)
    for f, pairings in ((linear(N, 2), 1), (bilinear(N, 3, 2), 3)):
        bound = law.bound(f.domain, f.like)
        alone, both = ([c.weight for c in x.closures(f.terms * 2, (0, 0))] for x in (bound.laws[0], bound))
        assert sum(alone) == pairings
        assert both == pytest.approx([share * weight for share in WEIGHTS for weight in alone])
