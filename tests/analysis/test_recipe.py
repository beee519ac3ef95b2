"""What is kept for a structure gives, for every model of that structure, what thinking it through would give."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from zoo import KINDS, network, rand

import tnsim
from tnsim.algebra.networks.network import Network
from tnsim.analysis.asking import problem
from tnsim.analysis.asking.units import in_units
from tnsim.analysis.compare.similarities import products_of
from tnsim.analysis.tracing import recipes as recipe
from tnsim.measure import Empirical, Frobenius, Gaussian, Symmetric
from tnsim.measure.pairings.measure import Closure, Measure

LAWS = [
    Gaussian(),
    Gaussian(mean=rand(3, seed=2), cov=rand(3, seed=3) ** 2 + 0.1),
    Symmetric(),
    Frobenius(),
    Empirical(rand(9, 3, seed=4)),
]


@pytest.fixture(autouse=True)
def _nothing_known():
    recipe._ANSWERS.clear()


def thought(monkeypatch):
    """How often a problem is thought through."""
    calls = []
    of = problem.Problem.of.__func__
    monkeypatch.setattr(
        problem.Problem, "of", classmethod(lambda cls, *args: calls.append(1) or of(cls, *args))
    )
    return calls


def directly(a, b, law, method="exact", output=None):
    """Without a recipe."""
    nets = problem.comparable(a, b)
    ab, aa, bb = products_of(*in_units(nets, law, output), method, output)
    return ab / (aa * bb) ** 0.5


@pytest.mark.parametrize("law", LAWS, ids=repr)
@pytest.mark.parametrize("kind", ["one layer, residual and bias", "two layers", "two layers, bias"])
def test_the_next_models_are_only_computed(kind, law, monkeypatch):
    first, second = ([network(**KINDS[kind]) for _ in range(2)] for _ in range(2))
    tnsim.similarity(*first, under=law)
    expected = directly(*second, law)
    calls = thought(monkeypatch)
    torch.testing.assert_close(tnsim.similarity(*second, under=law), expected, rtol=1e-12, atol=1e-12)
    assert not calls


def test_layer_by_layer_and_gram_matrices_too(monkeypatch):
    runs = [[network(3, bias=True, residual=0.5) for _ in range(3)] for _ in range(2)]
    tnsim.similarity(*runs[0][:2], method="layerwise")
    tnsim.gram(runs[0], method="layerwise")
    expected = directly(*runs[1][:2], None, "layerwise")
    calls = thought(monkeypatch)
    torch.testing.assert_close(tnsim.similarity(*runs[1][:2], method="layerwise"), expected)
    torch.testing.assert_close(tnsim.gram(runs[1], method="layerwise").similarity()[0, 1], expected)
    assert not calls


def other_terms(f):
    return replace(f, terms=tuple(t.scaled(3.0) if t.degree == 1 else t for t in f.terms))


@pytest.mark.parametrize(
    "other",
    [
        lambda a, b: (a, a),  # the same tensors twice
        lambda a, b: (b, network(1, residual=1.0)),
        lambda a, b: (a.to(dtype="float32"), b.to(dtype="float32")),
        lambda a, b: (network(1, hidden=7, residual=1.0), b),
        lambda a, b: (Network((("0", other_terms(a[0])), *a.layers[1:])), b),  # another coefficient
    ],
    ids=["shared", "depth", "dtype", "width", "coefficient"],
)
def test_another_structure_is_another_question(other):
    a, b = (network(2, residual=1.0) for _ in range(2))
    tnsim.similarity(a, b)
    pair = other(a, b)
    torch.testing.assert_close(tnsim.similarity(*pair), directly(*pair, None), rtol=1e-5, atol=1e-5)
    tnsim.similarity(*pair)
    torch.testing.assert_close(tnsim.similarity(a, b), directly(a, b, None), rtol=1e-12, atol=1e-12)


def test_outputs_and_methods_are_told_apart():
    a, b = (network(2) for _ in range(2))
    for _ in range(2):
        for output in (None, 0, 1, slice(0, 1), [1, 0]):
            for method in ("exact", "layerwise"):
                value = tnsim.similarity(a, b, output=output, method=method)
                torch.testing.assert_close(value, directly(a, b, None, method, output))


def test_gradients_are_those_of_the_models_at_hand():
    torch.manual_seed(0)
    tnsim.similarity(*(tnsim.nn.BilinearMLP(3, 4, 5, 2, 2, residual="add") for _ in range(2)))
    models = [tnsim.nn.BilinearMLP(3, 4, 5, 2, 2, residual="add").double() for _ in range(2)]
    gradients = []
    for value in (tnsim.similarity(*models), directly(*models, None)):
        gradients.append(torch.autograd.grad(value, list(models[0].parameters())))
    for one, other in zip(*gradients, strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@dataclass(frozen=True, eq=False)
class Point(Measure):
    """x = 0 or nothing, as a tensor says: a rule that looks at values."""

    switch: Any

    def closures(self, factors, sides, exchange=False):
        if all(t.degree == 0 for t in factors) and float(self.switch) > 0:
            yield Closure(1.0, ())

    def count(self, factors, sides, exchange=False):
        return 1


def test_a_law_that_looks_at_values_is_thought_through_every_time():
    f = network(1, bias=True)
    on, off = (tnsim.inner(f, under=Point(torch.tensor(s).double())) for s in (1.0, -1.0))
    c = f(torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(on, c @ c)
    assert off == 0


class Hidden(Measure):
    """x = 0 with a weight that changes unseen."""

    def __init__(self, box):
        self.box = box

    def closures(self, factors, sides, exchange=False):
        if all(t.degree == 0 for t in factors):
            yield Closure(self.box["weight"], ())

    def count(self, factors, sides, exchange=False):
        return 1


class Holder:
    def __init__(self, weight):
        self.weight = weight

    def __getitem__(self, key):
        return self.weight


@pytest.mark.parametrize("box", [{"weight": 1.0}, Holder(1.0)], ids=["dict", "object"])
def test_what_changes_in_a_law_is_seen(box):
    f, law = network(1, bias=True), Hidden(box)
    one = tnsim.inner(f, under=law)
    if isinstance(box, dict):
        box["weight"] = 2.0
    else:
        box.weight = 2.0
    torch.testing.assert_close(tnsim.inner(f, under=law), 2 * one)


def test_numpy_models_are_computed_as_before():
    net = network(2)
    arrays = Network(tuple((n, f.mapped(lambda x: x.numpy())) for n, f in net))
    assert tnsim.inner(arrays) == pytest.approx(tnsim.inner(net).item(), rel=1e-12)


def in_place(x):
    x += 1.0
    return x


def looks(x):
    return x if x.sum() > 0 else -x


def makes(x):
    return torch.eye(2, dtype=x.dtype, device=x.device) @ x + torch.zeros_like(x)


@pytest.mark.parametrize(("run", "kept"), [(in_place, False), (looks, False), (makes, True)])
def test_only_what_can_be_repeated_is_kept(run, kept):
    recipe.answer(run, (torch.ones(2, 2),))
    for x in (torch.full((2, 2), 3.0), torch.full((2, 2), -3.0)):
        found = recipe.answer(run, (x.clone(),))
        assert (found.recipe is not None) == kept
        torch.testing.assert_close(found((x.clone(),)), run(x.clone()))


def test_the_budget_is_asked_of_what_is_known():
    a = network(2)
    tnsim.similarity(a, a)
    with pytest.raises(tnsim.CostError, match="the budget is 1"):
        tnsim.similarity(a, a, budget=10)
    assert tnsim.similarity(a, a) == pytest.approx(1)


def test_the_number_of_kept_answers_is_bounded(monkeypatch):
    monkeypatch.setattr(recipe, "_MOST", 3)
    for n in range(6):
        recipe.answer(makes, (torch.ones(2, n + 1),))
    assert len(recipe._ANSWERS) == 3
    assert any(key[2][1][1] == (2, 6) for key in recipe._ANSWERS)


def both(x, y):
    return x @ y


def test_an_answer_is_not_given_to_another_question():
    x, y = torch.ones(2, 2), torch.ones(2, 2)
    found = recipe.answer(both, (x, x))
    with pytest.raises(ValueError, match="for another structure"):
        found((x, y))
    torch.testing.assert_close(found((2 * y,) * 2), torch.full((2, 2), 8.0))
