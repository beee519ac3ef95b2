"""Layers in which x itself is a factor: legs that are wires, under laws with a mean and behind biases."""

import pytest
import torch
from oracle import nodes, second_moment
from torch import nn
from zoo import rand

import tnsim
from tnsim.measure import Gaussian

CLOSE = dict(rtol=1e-9, atol=1e-9)


class Gate(nn.Module):
    def __init__(self, run, bias=False):
        super().__init__()
        self.run = run
        self.gate, self.other = (nn.Linear(3, 3, bias=bias) for _ in range(2))
        self.head = nn.Linear(3, 2)
        self.double().requires_grad_(False)

    def forward(self, x):
        return self.run(self, x)


GATES = {
    "x + g(x) x": lambda m, x: m.head(x + m.gate(x) * x),
    "g(x) x": lambda m, x: m.gate(x) * x,
    "x x": lambda m, x: m.head(x * x) + m.other(x)[:, :2],
    "two gates": lambda m, x: x + m.gate(x) * x - m.other(x) * x,
    "x - x x + g(x) x": lambda m, x: x - x**2 + m.gate(x) * x,
    "powers of x": lambda m, x: x - x**2 + x**3,
    "x cubed": lambda m, x: m.head(x**3),
    "x + g(x) cubed": lambda m, x: x + m.gate(x) ** 3,
    "sum times x": lambda m, x: m.head(x + x.sum(-1, keepdim=True) * x),
    "rolled": lambda m, x: x.roll(1, -1) * x + x,
    "twice": lambda m, x: (lambda y: y + m.other(y) * y)(m.head(x + m.gate(x) * x) @ m.gate.weight[:2]),
}
COV = torch.tensor([[1.0, 0.3, 0.0], [0.3, 0.5, 0.1], [0.0, 0.1, 2.0]], dtype=torch.float64)
LAWS = {"mean": (rand(3, seed=1), None), "mean and covariance": (rand(3, seed=2), COV)}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", GATES)
def test_exact_under_a_mean(name, law, bias):
    a, b = (Gate(GATES[name], bias) for _ in "ab")
    mean, cov = LAWS[law]
    nets = [tnsim.convert(m, torch.zeros(1, 3)) for m in (a, b)]
    degree = 2 * nets[0].degree
    want = second_moment(a, b, 3, degree, mean, cov)
    under = Gaussian(mean, cov)
    torch.testing.assert_close(tnsim.moments(*nets, under=under), want, **CLOSE)
    torch.testing.assert_close(tnsim.inner(tnsim.stack(nets), nets[1], under=under)[0], want.trace(), **CLOSE)


@pytest.mark.parametrize("name", GATES)
def test_behind_an_embedding_with_a_bias_and_layer_by_layer(name):
    def model():
        return nn.Sequential(nn.Linear(3, 3), Gate(GATES[name])).double().requires_grad_(False)

    a, b = model(), model()
    nets = [tnsim.convert(m, torch.zeros(1, 3)) for m in (a, b)]
    want = second_moment(a, b, 3, 2 * nets[0].degree).trace()
    torch.testing.assert_close(tnsim.inner(*nets), want, **CLOSE)
    if len(nets[0]) == 2:  # Gaussian up to the last layer
        torch.testing.assert_close(tnsim.inner(*nets, method="layerwise"), want, **CLOSE)
    pair = tnsim.similarity(*nets, method="layerwise")
    matrix = tnsim.gram(nets, method="layerwise", progress=False).similarity()
    torch.testing.assert_close(matrix[0, 1], pair, **CLOSE)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", ["x cubed", "x + g(x) cubed", "x + g(x) x", "x x"])
def test_spectra_and_unfoldings_under_a_mean(name, law):
    model = Gate(GATES[name])
    mean, cov = LAWS[law]
    x, w = nodes(3, 6, mean, cov)
    slopes = torch.func.vmap(torch.func.jacrev(lambda y: model(y[None])[0]))(x)
    gram = torch.einsum("b,bki,bkj->ij", w, slopes, slopes)
    root = torch.linalg.cholesky(torch.eye(3, dtype=torch.float64) if cov is None else cov)
    values = torch.linalg.eigvalsh(root.T @ gram @ root).flip(0)
    under = Gaussian(mean, cov)
    torch.testing.assert_close(
        tnsim.spectrum(model, of="gradient", under=under).values ** 2, values, rtol=1e-8, atol=1e-8
    )
    moment = torch.einsum("b,bi,bj->ij", w, x, x)
    root = torch.linalg.cholesky(moment)
    values = torch.linalg.eigvalsh(root.T @ gram @ root).flip(0)
    torch.testing.assert_close(
        tnsim.unfold(model, "in", under=under).values ** 2, values, rtol=1e-8, atol=1e-8
    )
