"""Planning has a price: what is weighed is counted, a part of what it can save, and given up where it is too much."""

import math
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from textwrap import dedent
from time import sleep

import pytest
import torch
from zoo import KINDS, network

import tnsim
from tnsim.algebra import CostError, identity
from tnsim.analysis.tracing import forms
from tnsim.analysis.tracing import recipes as recipe
from tnsim.common.delay import waiting
from tnsim.common.digits import apart, flops_in_words
from tnsim.engine.costs import price
from tnsim.engine.effort import Overplanned, allowance, planning, room, weigh, weigh_once, worth
from tnsim.engine.machine import speed

FEW = 40_000  # operations weighed that are enough to answer or refuse what is small, with slack


def mlp(width, depth, seed=0, **options):
    torch.manual_seed(seed)
    return tnsim.convert(tnsim.nn.BilinearMLP(width, width, width, 3, depth, **options))


def test_what_is_weighed_is_counted_and_limited():
    with planning(10) as now:
        weigh(4)
        with planning(3), pytest.raises(Overplanned):
            weigh(4)
        assert now.weighed == 4 and room() == 6
        weigh_once("path", 5)
        weigh_once("path", 5)
        assert room() == 1
        with planning(100), pytest.raises(Overplanned):  # no more than the code around it may
            weigh(2)
    weigh(1e9)  # where nothing is planned nothing is counted
    assert room() == math.inf


def test_a_bill_that_is_overplanned_is_a_lower_bound():
    def endless():
        while True:
            weigh()

    cost = price(endless, 1e12)
    assert cost.at_least and cost.weighed == pytest.approx(allowance(1e12))


def test_more_may_be_weighed_where_more_may_be_spent_or_saved():
    assert allowance(1.0) == allowance(1e12) < allowance(1e14) < allowance(math.inf)
    assert worth(1e6) < worth(1e9)


@pytest.mark.parametrize("method", ["exact", "layerwise"])
@pytest.mark.parametrize("kind", KINDS)
def test_few_operations_are_weighed_for_small_models(kind, method):
    a, b = network(**KINDS[kind]), network(**KINDS[kind])
    for law in (tnsim.Gaussian(), tnsim.Gaussian(mean=torch.ones(3).double()), tnsim.Symmetric()):
        if method == "exact" or law.within:
            cost = tnsim.cost(a, b, under=law, method=method)
            assert 0 < cost.weighed < FEW and not cost.at_least


def test_the_same_is_weighed_whoever_asked_before():
    """Paths are remembered by the process; a question is refused or not whether they are or not."""
    found = []
    for _ in range(2):
        recipe._ANSWERS.clear()
        forms._chosen.clear()
        found.append(tnsim.cost(mlp(5, 2), mlp(5, 2, 1)).weighed)
    assert found[0] == pytest.approx(found[1], rel=0.2)


DEEP = {
    "three layers of width 192": (192, 3, {}),
    "three layers of width 784": (784, 3, dict(residual="add", bias=True)),
    "five narrow layers": (4, 5, dict(residual="add", bias=True)),
    "eight narrow layers": (4, 8, dict(residual="add", bias=True)),
    "thirty layers": (2, 30, {}),
}


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] * (k == "five narrow layers")) for k in DEEP]
)
def test_what_is_too_deep_is_refused_and_priced_within_few_operations(kind):
    width, depth, options = DEEP[kind]
    a, b = mlp(width, depth, 0, **options), mlp(width, depth, 1, **options)
    with pytest.raises(CostError) as refused:
        tnsim.similarity(a, b)
    assert refused.value.cost.at_least and refused.value.cost.weighed < 1.1 * allowance(1e12)
    cost = tnsim.cost(a, b)
    assert cost.at_least and cost.weighed < 120_000 and str(cost).startswith("at least")


def test_two_wide_residual_layers_are_within_the_default_budget():
    a, b = (tnsim.convert(tnsim.nn.BilinearMLP(784, 256, 256, 10, 2, "add", True)) for _ in range(2))
    with torch.no_grad():
        cost = tnsim.cost(a, b)
    assert (
        not cost.at_least and cost.flops < 1e12 and cost.bytes < 4 * 2**30 and cost.weighed < allowance(1e12)
    )


@pytest.mark.parametrize(
    "explode",
    [lambda f: f**8, lambda f: f @ (f @ f), lambda f: (f * f * f) * (f * f * f) * (f * f * f)],
    ids=["power", "composition", "product"],
)
def test_polynomials_of_too_many_terms_are_refused(explode):
    f = network(1, d=3, width=3, out=3, bias=True).polys[0]
    f = sum((network(1, d=3, width=3, out=3).polys[0] for _ in range(4)), f + identity(f.domain, f.like))
    with pytest.raises(CostError, match=r"terms; the limit is 4096"):
        explode(f)


@pytest.mark.parametrize("name", ["budget", "memory"])
@pytest.mark.parametrize("value", [math.nan, 0, -1.0, "1e12", None, True, 1j])
def test_what_is_no_limit_is_refused(name, value):
    a = mlp(2, 1)
    for question in (tnsim.similarity, tnsim.cost, tnsim.inner, tnsim.moments, tnsim.gram):
        args = ([a, a],) if question is tnsim.gram else (a, a)
        with pytest.raises((TypeError, ValueError), match=f"{name} is "):
            question(*args, **{name: value})
    assert tnsim.similarity(a, a, budget=math.inf, memory=math.inf) == 1


def test_numbers_that_look_equal_get_the_digits_that_differ():
    assert apart(flops_in_words, 1.0002e12, 1e12) == ("1.0002e+12 flops", "1.0000e+12 flops")
    assert apart(flops_in_words, 3e12, 1e12) == ("3.0e+12 flops", "1.0e+12 flops")
    a = mlp(8, 2)
    exact = tnsim.cost(a, a)
    with pytest.raises(CostError) as refused:
        tnsim.similarity(a, a, budget=exact.flops * (1 - 1e-9))
    said = str(refused.value)
    took, limit = said.split(" flops")[0].split()[-1], said.split("the budget is ")[1].split()[0]
    assert took != limit and float(took) > float(limit)


def test_a_price_is_said_in_seconds_of_this_machine():
    cost = tnsim.cost(mlp(8, 2), mlp(8, 2, 1))
    assert cost.machine == ("torch", "float32", "cpu") or cost.machine == ("torch", "float64", "cpu")
    measured = speed(cost.machine)
    assert measured is speed(cost.machine)  # once
    assert cost.seconds == measured.seconds(cost.flops, cost.writes, cost.starts) > 0
    assert str(cost).endswith(" here") and "about" in str(cost)
    assert replace(cost, at_least=True).seconds == cost.seconds
    assert tnsim.Cost(flops=1e30, at_least=True).told().endswith("at least years here")
    assert (
        tnsim.Cost(flops=math.inf, contractions=60_000, at_least=True).told() == "at least 60000 contractions"
    )


def test_a_bar_shows_itself_while_a_single_step_goes_on(monkeypatch, capsys):
    monkeypatch.setattr(import_module("tnsim.common.delay"), "_SECONDS", 0.05)
    for progress, shown in ((True, True), (False, False)):
        with waiting("one long step", progress=progress):
            sleep(0.2)
        assert ("one long step" in capsys.readouterr().err) == shown
    with waiting("one short step"):
        pass
    sleep(0.1)
    assert "short" not in capsys.readouterr().err


def test_first_questions_load_nothing_of_torchs_compiler():
    script = """
        import sys, torch, tnsim
        a, b = (tnsim.nn.BilinearMLP(4, 3, 3, 4, n_layer=2, residual="add", bias=True) for _ in range(2))
        tnsim.similarity(a, b), tnsim.gram([a, b]), tnsim.cost(a, b), tnsim.orders(a, b), tnsim.cka(a, b)
        tnsim.spectrum(a, 1), tnsim.unfold(a, 1), tnsim.inner(a, b), tnsim.moments(a, b)
        print([name for name in ("sympy", "torch._dynamo") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
