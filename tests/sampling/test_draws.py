"""Draws against quadrature and enumeration; sampled answers against exact ones."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from oracle import nodes
from zoo import KINDS, network, rand

import tnsim
from tnsim.analysis.asking import sampled, statistics
from tnsim.measure import (
    Empirical,
    Frobenius,
    Gaussian,
    MarkovChain,
    MeasureError,
    Mixture,
    Symmetric,
    Tokens,
)
from tnsim.sampling.sources import plain_source

F64 = torch.float64


@pytest.fixture
def never_exact(monkeypatch):
    """Everything is too dear."""
    monkeypatch.setattr(sampled, "exactly", lambda question, under: None)


def root(d, seed=0):
    b = rand(d, d, seed=seed)
    return b @ b.T / d + 0.3 * torch.eye(d, dtype=F64)


LAWS = {
    "standard": (None, lambda: nodes(3, 16)),
    "mean and cov": (Gaussian(rand(3, seed=1), root(3)), lambda: nodes(3, 16, rand(3, seed=1), root(3))),
    "small": (Gaussian(cov=1e-9 * root(3)), lambda: nodes(3, 16, None, 1e-9 * root(3))),
    "singular": (
        Gaussian(cov=torch.diag(torch.tensor([1.0, 0.0, 2.0], dtype=F64))),
        lambda: (nodes(2, 16)[0] @ torch.tensor([[1.0, 0, 0], [0, 0, 2**0.5]], dtype=F64), nodes(2, 16)[1]),
    ),
    "mixture": (
        Mixture([Gaussian(rand(3, seed=1)), Gaussian(cov=root(3))], [0.3, 0.7]),
        lambda: tuple(
            torch.cat(x)
            for x in zip(
                *[
                    (x, c * w)
                    for c, (x, w) in (
                        (0.3, nodes(3, 16, rand(3, seed=1))),
                        (0.7, nodes(3, 16, None, root(3))),
                    )
                ],
                strict=True,
            )
        ),
    ),
}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("kind", ["one layer, bias", "two layers", "two layers, residual and bias"])
def test_draws_stand_for_the_law(name, kind):
    """Moments of the models, and of x itself, which is drawn from the whole law."""
    torch.manual_seed(3)
    law, rule = LAWS[name]
    a, b = network(**KINDS[kind]), network(**KINDS[kind])
    drawn = tnsim.draws(law, [a, b], n=2**15, seed=1, progress=False)
    assert len(drawn.x) == 2**15 and drawn.x.shape[1:] == (3,)
    x, w = rule()
    for f, g in ((a, b), (a, a), (lambda x: x, lambda x: x)):
        truth = torch.einsum("n,ni,nj->ij", w, f(x), g(x))
        parts = []
        for r in range(32):
            own = drawn.replicates == r
            v = drawn.weights[own]
            parts.append(torch.einsum("n,ni,nj->ij", v / v.sum(), f(drawn.x[own]), g(drawn.x[own])))
        mean, error = torch.stack(parts).mean(0), torch.stack(parts).std(0) / 32**0.5
        assert (mean - truth).abs().le(5 * error + 1e-9 * truth.abs().max()).all(), (mean - truth) / error
        assert error.max() < 0.05 * truth.abs().max()


@pytest.mark.parametrize("name", LAWS)
def test_a_sampled_similarity_is_within_its_error(name, never_exact):
    torch.manual_seed(4)
    a, b = (network(**KINDS["two layers, residual and bias"]) for _ in range(2))
    x, w = LAWS[name][1]()
    ab, aa, bb = (torch.einsum("n,ni,ni->", w, f(x), g(x)) for f, g in ((a, b), (a, a), (b, b)))
    exact = ab / (aa * bb).sqrt()
    for seed in range(2):
        found = tnsim.similarity(a, b, under=LAWS[name][0], error=0.02, seed=seed)
        assert found.method == "sampled" and 0 < found.error <= 0.02 and found.samples >= 8192
        assert abs(found - exact) < 4 * found.error


def chain(p0, P):
    return MarkovChain(torch.tensor(p0, dtype=F64), torch.tensor(P, dtype=F64))


P0, P = [0.5, 0.2, 0.3], [[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]


@pytest.mark.parametrize("kind", ["tokens", "by position", "chain", "mixture"])
def test_sequences_are_drawn_with_their_frequencies(kind):
    torch.manual_seed(0)
    ids = torch.tensor(list(product(range(3), repeat=2)))
    p0, steps = torch.tensor(P0, dtype=F64), torch.tensor(P, dtype=F64)
    law, truth = {
        "tokens": (Tokens(p0), p0[ids].prod(1)),
        "by position": (Tokens(torch.stack([p0, p0.flip(0)])), p0[ids[:, 0]] * p0.flip(0)[ids[:, 1]]),
        "chain": (chain(P0, P), p0[ids[:, 0]] * steps[ids[:, 0], ids[:, 1]]),
        "mixture": (
            Mixture([Tokens(p0), chain(P0, P)], [0.25, 0.75]),
            0.25 * p0[ids].prod(1) + 0.75 * p0[ids[:, 0]] * steps[ids[:, 0], ids[:, 1]],
        ),
    }[kind]
    model = tnsim.nn.Transformer(3, 4, 2, 2, ("attn",)).double()
    net = tnsim.convert(model, ids[:1])
    drawn = tnsim.draws(law, [net], n=2**14, progress=False)
    found = torch.stack([drawn.weights[(drawn.x == row).all(1)].sum() for row in ids]) / drawn.weights.sum()
    assert (found - truth).abs().max() < 2e-3


def test_two_attention_layers_on_tokens(never_exact):
    torch.manual_seed(1)
    ids = torch.tensor(list(product(range(3), repeat=2)))
    models = [tnsim.nn.Transformer(3, 4, 2, 2, ("attn", "mlp", "attn"), scale=0.5).double() for _ in range(2)]
    a, b = (tnsim.convert(m, ids[:1]) for m in models)
    w = torch.tensor(P0, dtype=F64)[ids].prod(1)
    ab, aa, bb = (torch.einsum("n,nij,nij->", w, f(ids), g(ids)) for f, g in ((a, b), (a, a), (b, b)))
    found = tnsim.similarity(a, b, under=Tokens(torch.tensor(P0, dtype=F64)), error=1e-3)
    assert abs(found - ab / (aa * bb).sqrt()) < 4 * found.error


def test_draws_are_the_same_again_and_other_ones_for_another_seed():
    net = network(2)
    first, again, other = (tnsim.draws(None, [net], n=1000, seed=s, progress=False) for s in (5, 5, 6))
    assert torch.equal(first.x, again.x) and torch.equal(first.weights, again.weights)
    assert not torch.equal(first.x, other.x)
    assert len(first.replicates.unique()) == 32 and first.weights.max() <= 2.0


def test_draws_as_a_law_have_an_error(never_exact):
    torch.manual_seed(2)
    a, b = network(2, residual=0.5), network(2, residual=0.5)
    law = tnsim.draws(Gaussian(), [a, b], error=0.005, progress=False)
    found = tnsim.similarity(a, b, under=law, error=0.02)
    torch.testing.assert_close(found.value, tnsim.similarity(a, b, under=law))
    assert 0 < found.error < 0.02 and found.samples == len(law.x)
    with pytest.raises(tnsim.SamplingError, match="Ask for more draws"):
        tnsim.similarity(a, b, under=law, error=1e-5)


def test_models_that_read_little_of_their_input_are_drawn_where_they_look():
    """20 inputs, of which 3 directions are read: draws are whole all the same."""
    torch.manual_seed(0)
    embed = tnsim.poly("E[out,in0]", E=rand(3, 20))
    net = tnsim.Network((("embed", embed), *network(2).layers))
    drawn = tnsim.draws(None, [net], n=2**15, progress=False)
    w = drawn.weights / drawn.weights.sum()
    torch.testing.assert_close((drawn.x.T * w) @ drawn.x, torch.eye(20, dtype=F64), rtol=0, atol=0.06)
    assert abs(tnsim.inner(net, under=drawn) / tnsim.inner(net) - 1) < 0.05


@pytest.mark.parametrize("kind", ["one layer", "two layers, bias"])
def test_the_same_model_is_one_without_error(kind, never_exact):
    net = network(**KINDS[kind])
    found = tnsim.similarity(net, net, error=0.01)
    assert float(found) == 1.0 and float(found.error) == 0.0


def test_near_copies_are_not_told_apart_by_chance(never_exact):
    torch.manual_seed(0)
    a = network(3, residual=0.5)
    b = tnsim.Network((*a.layers[:-1], ("head", a["head"] + 1e-3 * network(3, residual=0.5)["head"])))
    truth, found = tnsim.similarity(a, b), tnsim.similarity(a, b, error=0.01)
    assert 1e-8 < 1 - truth < 1e-5
    assert abs(found - truth) < 4 * found.error < 1e-5


def test_an_estimate_is_a_number():
    x = tnsim.Estimate(torch.tensor([0.5, 2.0]), torch.tensor([0.01, 0.1]), "sampled", 1000, 10.0, 0.01)
    assert torch.equal(1 + 2 * x - x / 2, 1 + 1.5 * x.value) and torch.equal(torch.exp(x), x.value.exp())
    assert torch.equal(torch.stack([x, x]), torch.stack([x.value] * 2)) and (x > 1).tolist() == [False, True]
    assert float(x[1]) == 2.0 and repr(x[1]) == "2.0 ± 0.1 (sampled, 1,000 draws)"
    assert repr(tnsim.Estimate.exact(torch.tensor(0.25))) == "0.25 (exact)"


def test_what_is_within_the_budget_is_exact():
    a, b = network(2), network(2)
    found = tnsim.similarity(a, b, error=0.01)
    assert found.method == "exact" and found.error == 0 and found.value == tnsim.similarity(a, b)
    assert tnsim.similarity(a, b, under=Empirical(rand(9, 3)), error=0.01).method == "exact"


def test_heavy_tails_are_refused(never_exact):
    torch.manual_seed(0)
    wild = [tnsim.convert(tnsim.nn.BilinearMLP(6, 6, 6, 3, 7, residual="add").double()) for _ in range(2)]
    wild = [tnsim.Network(tuple((k, f * 3.0 if k.startswith("b") else f) for k, f in n.layers)) for n in wild]
    with pytest.raises(tnsim.SamplingError, match=r"of a norm|would take|disagree"):
        tnsim.similarity(*wild, error=0.005, budget=3e9)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda a: tnsim.draws(Symmetric(), [a], n=10), MeasureError, "no law of inputs"),
        (lambda a: tnsim.draws(Frobenius(), [a], n=10), MeasureError, "no law of inputs"),
        (lambda a: tnsim.draws(Empirical(rand(5, 3)), [a], n=10), MeasureError, "as it is"),
        (lambda a: tnsim.draws(None, [a]), ValueError, "n=, how many draws, or error="),
        (lambda a: tnsim.draws(None, [a], n=0), ValueError, "n is 0"),
        (lambda a: tnsim.similarity(a, a, error=0.0), ValueError, "error is 0.0"),
        (lambda a: tnsim.similarity(a, a, error=float("nan")), ValueError, "error is nan"),
        (lambda a: tnsim.similarity(a, a, error=0.1, method="layerwise"), ValueError, "is not known"),
    ],
)
def test_refusals_say_what_to_write(call, error, message):
    with pytest.raises(error, match=message):
        call(network(1))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_roots_of_products_that_are_out_of_range(dtype):
    x = torch.exp(30 * torch.randn(1000, dtype=F64)).to(dtype)
    y = x.flip(0)
    assert torch.equal(statistics._root(x, x), x)
    torch.testing.assert_close(
        statistics._root(x, y).double(), x.double().sqrt() * y.double().sqrt(), rtol=1e-6, atol=0
    )
    assert statistics._root(x[:1] * 0, x[:1]) == 0


def test_draws_are_fitted_anew_where_one_holds_too_much():
    """E[x¹⁶] = 2027025 from draws of the law itself, one of which holds more than 2 %; the budget is that of all."""
    x = tnsim.identity((("d", 1),), like=torch.ones(1, dtype=F64))
    net = tnsim.Network((("power", x**8),))
    models = sampled.Models([net, net], None)
    plain = plain_source(Gaussian(), net.domain, x.like, (0,))

    def norms(z):
        return models.forward.norms(models.forward(plain.placed(z)), False)

    def asked(source, budget):
        options = sampled.Options(None, None, 0.02, 0, budget, 1e9, False)
        run = models.run(options.asked(*statistics.INNER.asked), source=source)
        return run.estimate(statistics.INNER.of)

    found = asked(replace(plain, norms=norms), 1e12)
    assert found.largest < 0.02 and abs(float(found) - 2027025) < 4 * float(found.error)
    assert found.samples < 2**16  # after the first ones had been given up
    with pytest.raises(tnsim.SamplingError, match="one draw holds"):
        asked(replace(plain, norms=None), 1e12)  # has nothing to be fitted to, and goes on
    price, _ = models.forward.price(torch.zeros(1, 1, dtype=F64))
    with pytest.raises(tnsim.SamplingError):
        asked(replace(plain, norms=norms), 1.5 * 2**16 * price)  # not enough for others
