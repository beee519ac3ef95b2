"""Weighted samples as a law. The points and weights of a quadrature rule stand for the Gaussian law, exactly."""

import pytest
import torch
from oracle import nodes
from zoo import KINDS, network, rand

import tnsim
from tnsim.measure import Empirical, Gaussian, MeasureError

close = dict(rtol=1e-8, atol=1e-8)


def rule(net, mean=None, cov=None):
    """A quadrature rule for products of two such models and their gradients, as samples."""
    return Empirical(*nodes(3, 2 * net.degree, mean, cov))


def pair(**options):
    return network(**options), network(**options)


QUESTIONS = {
    "similarity": lambda a, b, law: tnsim.similarity(a, b, under=law),
    "similarity of an output": lambda a, b, law: tnsim.similarity(a, b, under=law, output=1),
    "inner": lambda a, b, law: tnsim.inner(a, b, under=law),
    "moments": lambda a, b, law: tnsim.moments(a, b, under=law),
    "gram": lambda a, b, law: tnsim.gram([a, b, a], under=law, progress=False).products,
    "cka": lambda a, b, law: tnsim.cka(a, b, under=law),
    "procrustes": lambda a, b, law: tnsim.procrustes(a, b, under=law),
    "nearest": lambda a, b, law: tnsim.nearest(a, [b, a], under=law).distances,
    "outputs": lambda a, b, law: tnsim.attribute(a, b, to="outputs", under=law),
    "inputs": lambda a, b, law: tnsim.attribute(a, b, to="inputs", under=law),
    "layers": lambda a, b, law: tnsim.attribute(a, b, to="layers", under=law),
    "spectrum": lambda a, b, law: tnsim.spectrum(a, of="gradient", under=law).values,
    "entk": lambda a, b, law: tnsim.entk(a, under=law).values,
}


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("kind", ["one layer, residual and bias", "two layers, bias"])
def test_points_and_weights_of_a_rule_stand_for_the_law(kind, name):
    a, b = pair(**KINDS[kind])
    b_ = rand(3, 3)
    mean, cov = rand(3) / 2, b_ @ b_.T / 3 + 0.3 * torch.eye(3, dtype=torch.float64)
    got = QUESTIONS[name](a, b, rule(a, mean, cov))
    torch.testing.assert_close(got, QUESTIONS[name](a, b, Gaussian(mean, cov)), **close)


def test_weights_count_samples():
    a, b = pair(depth=2, bias=True)
    x = rand(4, 3)
    times = torch.tensor([3, 1, 2, 0])
    many = Empirical(x.repeat_interleave(times, 0))
    for weights in (times, times.tolist(), times.numpy() / 7.0, 1e-3 * times.float()):
        torch.testing.assert_close(
            tnsim.moments(a, b, under=Empirical(x, weights)), tnsim.moments(a, b, under=many)
        )


def test_weights_of_token_ids():
    torch.manual_seed(0)
    ids = torch.tensor([[0, 2], [1, 1], [2, 0]])
    models = [tnsim.nn.Transformer(3, 4, 2, 2, ("attn", "mlp")).double() for _ in range(2)]
    a, b = (tnsim.convert(m, ids[:1]) for m in models)
    x, weights = torch.cat([ids, ids[:1]]), torch.tensor([0.1, 0.3, 0.2, 0.4])
    values = [torch.einsum("b,bij,bij->", weights.double(), f(x), g(x)) for f, g in ((a, b), (a, a), (b, b))]
    expected = values[0] / (values[1] * values[2]).sqrt()
    torch.testing.assert_close(tnsim.similarity(a, b, under=Empirical(x, weights)), expected)


def test_gradients_flow_through_weights():
    a, b = pair(depth=1)
    x, w = rand(5, 3), torch.rand(5, dtype=torch.float64, requires_grad=True)
    tnsim.inner(a, b, under=Empirical(x, w)).backward()
    each = (a(x) * b(x)).sum(1)
    torch.testing.assert_close(w.grad, (each - (w @ each) / w.sum()) / w.sum())


def test_a_law_says_what_it_is():
    law = Empirical(rand(4, 3), [1, 2, 3, 4], [0, 0, 1, 1])
    assert repr(law) == "Empirical((4, 3), weighted, 2 replicates)"


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(weights=[1.0, 2.0]), "need weights of shape"),
        (dict(weights=[1.0, -1.0, 1.0]), "none is negative"),
        (dict(weights=[0.0, 0.0, 0.0]), "above zero"),
        (dict(weights=[1.0, float("nan"), 1.0]), "finite"),
        (dict(replicates=[0, 1]), "need replicates of shape"),
        (dict(replicates=[0.0, 1.0, 1.0]), "whole numbers"),
        (dict(replicates=[0, 2, 2]), "without gaps"),
    ],
)
def test_what_is_no_law_is_refused(options, message):
    with pytest.raises(MeasureError, match=message):
        Empirical(rand(3, 2), **options)
