"""What is said beforehand of flops, memory and contractions, against what is then spent."""

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import cotengra as ctg
import pytest
import quimb.tensor as qtn
import torch
from torch.utils.flop_counter import FlopCounterMode
from zoo import linear, network, rand

import tnsim
from tnsim.algebra import CostError, Network
from tnsim.analysis.asking.problem import Problem
from tnsim.engine.contract import Contraction
from tnsim.engine.costs import capped, pricing
from tnsim.measure import Gaussian, Symmetric
from tnsim.measure.chaos.graded import Graded

MODELS = {
    "one layer": dict(depth=1, d=40, hidden=48, out=24),
    "two layers": dict(depth=2, d=24, width=24, hidden=24, out=24),
    "two layers, narrow first": dict(depth=2, d=48, width=24, hidden=12, out=24),
    "two layers, residual and bias": dict(depth=2, d=24, width=24, hidden=24, residual=0.5, bias=True),
    "three layers": dict(depth=3, d=8, width=8, hidden=8, out=8),
}
HOW = {
    "Gaussian": dict(),
    "Gaussian with covariance": dict(under=True),
    "Symmetric": dict(under=Symmetric()),
    "layer by layer": dict(method="layerwise"),
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", MODELS)
def test_flops_are_within_a_factor_of_three(kind, how):
    a, b = network(**MODELS[kind]), network(**MODELS[kind])
    args = dict(HOW[how])
    if args.get("under") is True:
        root = rand(a.in_shape[0], a.in_shape[0])
        args["under"] = Gaussian(cov=root @ root.T / len(root))
    said = tnsim.cost(a, b, **args).flops
    with FlopCounterMode(display=False) as counter:
        tnsim.similarity(a, b, **args)
    spent = counter.get_total_flops()  # products of matrices only
    assert spent / 3 < said < 3 * spent, f"said {said:.2e}, spent {spent:.2e}"


def counted(monkeypatch):
    """A list that grows by one tree with every contraction."""
    done, contract = [], ctg.ContractionTree.contract
    monkeypatch.setattr(
        ctg.ContractionTree, "contract", lambda tree, *a, **kw: done.append(tree) or contract(tree, *a, **kw)
    )
    return done


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", MODELS)
def test_as_many_networks_are_contracted_as_was_said(kind, how, monkeypatch):
    a, b = network(**MODELS[kind]), network(**MODELS[kind])
    args = dict(HOW[how])
    if args.get("under") is True:
        args["under"] = Gaussian(cov=torch.eye(a.in_shape[0], dtype=torch.float64) * 2)
    done = counted(monkeypatch)
    said = tnsim.cost(a, b, **args).contractions
    assert not done
    tnsim.similarity(a, b, **args)
    assert said / 3 < len(done) < 3 * said, f"said {said}, done {len(done)}"


TRANSFORMERS = {
    "attention": dict(blocks=("attn", "attn")),
    "no mask": dict(blocks=("attn", "attn"), mask=None),
    "attention and MLP": dict(blocks=("attn", "mlp", "attn", "mlp")),
    "biases": dict(blocks=("attn", "attn"), bias=True),
}


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_flops_through_attention_are_within_a_factor_of_three(kind):
    ids = torch.zeros(1, 3, dtype=torch.long)
    options = dict(n_vocab=24, d_model=24, n_head=2, n_ctx=3, scale=0.5) | TRANSFORMERS[kind]
    a, b = (tnsim.convert(tnsim.nn.Transformer(**options).double(), ids) for _ in range(2))
    said = tnsim.cost(a, b, method="layerwise").flops
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        tnsim.similarity(a, b, method="layerwise")
    spent = counter.get_total_flops()
    assert spent / 3 < said < 3 * spent, f"said {said:.2e}, spent {spent:.2e}"


def said_and_spent(script):
    """The two numbers that a process prints; ``peak()`` is the most memory it has held so far, in KiB.

    Blocks of a MiB and more go back to the system as soon as they are let go. By default the allocator keeps some, more
    or fewer from run to run, and the peak is then one of gaps between arrays.
    """
    peak = """
        def peak():
            return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(peak) + textwrap.dedent(script)],
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)},
        capture_output=True,
        text=True,
        check=True,
    )
    return map(float, done.stdout.split())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
@pytest.mark.parametrize(
    "graph", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "with gradients"]
)
def test_memory_through_attention_is_within_a_factor_of_three(graph):
    script = f"""
        import torch, tnsim
        torch.set_num_threads(1)
        ids = torch.zeros(1, 4, dtype=torch.long)
        def net():
            model = tnsim.nn.Transformer(8, 64, 2, 4, ("attn", "attn"), scale=0.5).double()
            return tnsim.convert(model.requires_grad_({graph}), ids)
        a, b = net(), net()
        tnsim.similarity(*(tnsim.nn.BilinearLayer(2, 2, 2) for _ in range(2)))
        said = tnsim.cost(a, b, method="layerwise").bytes
        before = peak()
        value = tnsim.similarity(a, b, method="layerwise")
        if {graph}:
            value.backward()
        print(said, 1024 * (peak() - before))
    """
    said, spent = said_and_spent(script)
    assert said > 2**25, "too small to be told apart from the interpreter"
    assert spent / 3 < said < 3 * spent, f"said {said:.2e}, spent {spent:.2e}"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
@pytest.mark.parametrize("gradients", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param("d=14, width=14, hidden=14, out=14", marks=pytest.mark.slow),
        "d=13, width=13, hidden=14, out=13, residual=0.5, bias=True",
    ],
    ids=["one term a layer", "residual and bias"],
)
def test_memory_is_within_a_factor_of_three(sizes, gradients):
    """Of a process: how far its peak rises above what it held before."""
    script = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
        import torch, tnsim
        from zoo import network
        torch.set_num_threads(1)
        a, b = (network(3, {sizes}) for _ in range(2))
        for net in (a, b):
            for x in (x for f in net.polys for t in f.terms for x in t.tensors):
                x.data.requires_grad_({gradients})

        said = tnsim.cost(a, b).bytes
        before = peak()
        tnsim.similarity(a, b)
        print(said, 1024 * (peak() - before))
    """
    said, spent = said_and_spent(script)
    assert said > 2**26, "too small to be told apart from the interpreter"
    assert spent / 3 < said < 3 * spent, f"said {said:.2e}, spent {spent:.2e}"


def ring(n):
    """Σ of two products of pairs of matrices, one for every g and h: the largest of them has n⁴ entries in full."""
    inds = ("og", "oh", "gab", "gcd", "hbc", "hda")
    return Contraction(tuple(qtn.Tensor(rand(*[n] * len(i)), tuple(i)) for i in inds), ())


def test_a_contraction_is_sliced_under_a_cap_and_keeps_its_value():
    whole = ring(12)
    value, price = whole.value(), whole.cost()
    with capped(price.bytes):
        sliced = whole.cost()
        assert sliced.bytes <= price.bytes / 2 and sliced.flops < 2 * price.flops
        torch.testing.assert_close(whole.value(), value)
        with pricing() as bill:
            whole.value()
        assert bill.total().bytes <= price.bytes
    assert whole.cost() == price


def test_a_sliced_contraction_keeps_its_open_indices():
    whole = ring(8)
    matrix = Contraction(whole.tensors, ("a", "g"))
    expected = matrix.value()
    with capped(matrix.cost().bytes / 4):
        torch.testing.assert_close(matrix.value(), expected)


def test_where_the_fastest_form_does_not_fit_a_smaller_one_is_taken():
    a, b = (network(2, d=24, width=24, hidden=24, out=3) for _ in range(2))
    plain, price = tnsim.similarity(a, b), tnsim.cost(a, b)
    assert isinstance(Problem.of((a, b), None, "exact").law, Graded)
    small = tnsim.cost(a, b, memory=price.bytes / 4)
    assert small.bytes <= price.bytes / 4 and small.effort > price.effort
    tight = tnsim.similarity(a, b, memory=price.bytes / 4)
    torch.testing.assert_close(tight, plain, rtol=1e-10, atol=1e-10)


def test_hidden_units_behind_an_embedding_are_not_listed_as_heads_are():
    """A dense layer behind an embedding has links, as attention has: 24³ products in these models, all pairs too many."""
    a = network(2, d=24, width=24, hidden=24, out=24, embed=True)
    a = replace(a, layers=(*a.layers, ("head", linear(24, 5))))
    (_, embed), (_, first), *rest = a.layers
    b = Network((("blocks.0", first @ embed), *rest))  # the same function without an embedding of its own
    one = torch.ones((), dtype=torch.float64)
    torch.testing.assert_close(tnsim.similarity(a, b), one)
    torch.testing.assert_close(tnsim.similarity(a.collapse(), b.collapse()), one)
    torch.testing.assert_close(tnsim.spectrum(a).values, tnsim.spectrum(b).values)


def test_a_similarity_is_sliced_where_that_is_enough_and_refused_where_not():
    a, b = (network(2, d=24, width=24, hidden=64, out=24) for _ in range(2))
    plain, price = tnsim.similarity(a, b), tnsim.cost(a, b)
    torch.testing.assert_close(tnsim.similarity(a, b, memory=price.bytes / 2), plain)
    with pytest.raises(CostError, match="the budget is 10 KiB"):
        tnsim.similarity(a, b, memory=10 * 1024)
