"""Exact similarity against sampling, at sizes where quadrature is out of reach."""

import torch
from zoo import network

import tnsim
from tnsim.lab import load_digits, train
from tnsim.nn import BilinearMLP


def sampled(a, b, d, batches=60, size=20_000):
    """The cosine under N(0, I) by Monte Carlo, and its standard error over batches (of a ratio of means)."""
    generator = torch.Generator().manual_seed(1)
    sums = []
    with torch.no_grad():
        for _ in range(batches):
            x = torch.randn(size, d, dtype=torch.float64, generator=generator)
            f, g = a(x), b(x)
            sums.append(torch.stack([(f * g).sum(), (f * f).sum(), (g * g).sum()]) / size)
    sums = torch.stack(sums)
    ab, aa, bb = sums.mean(0)
    cosine = ab / (aa * bb).sqrt()
    slope = torch.stack([1 / (aa * bb).sqrt(), -cosine / (2 * aa), -cosine / (2 * bb)])  # the delta method
    return cosine, ((sums - sums.mean(0)) @ slope).std() / batches**0.5


def test_two_layers_of_width_64():
    a, b = (network(2, d=64, width=64, hidden=64, out=10) for _ in range(2))
    b = tnsim.Network((a.layers[0], ("g", b[1] + 0.7 * a[1])))  # a cosine that is not zero
    exact = tnsim.similarity(a, b)
    cosine, error = sampled(a, b, 64, batches=20)
    assert error < 0.02 < abs(exact)
    assert abs(exact - cosine) < 4 * error


def test_trained_residual_digit_models():
    data = load_digits()
    nets = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = BilinearMLP(64, 12, 12, 10, 2, residual="add")
        train(model, data, 300, lr=3e-3, seed=seed, progress=False, every=300)
        nets.append(tnsim.convert(model.eval().requires_grad_(False)))
    exact = tnsim.similarity(*nets)
    layerwise = tnsim.similarity(*nets, method="layerwise")
    cosine, error = sampled(*nets, 64)
    assert abs(exact - cosine) < 4 * error
    assert abs(layerwise - cosine) > 4 * error  # the approximation is not the same number
    assert abs(layerwise - exact) > 0.02
