import math
from importlib import import_module

import pytest
import torch
from zoo import KINDS, network, rand

import tnsim
from tnsim.algebra import CostError, stack
from tnsim.analysis.asking.problem import law_for
from tnsim.analysis.grams.blocks import planned
from tnsim.measure import Empirical, Frobenius, Gaussian, Symmetric

TIGHT = dict(rtol=1e-10, atol=1e-10)
LAWS = [
    Gaussian(),
    Gaussian(mean=rand(3, seed=2), cov=rand(3, seed=3) ** 2 + 0.1),
    Symmetric(),
    Frobenius(),
    Empirical(rand(9, 3, seed=4)),
]


@pytest.mark.parametrize("law", LAWS, ids=repr)
@pytest.mark.parametrize("kind", ["one layer, residual and bias", "two layers", "two layers, bias"])
def test_every_entry_is_the_inner_product_of_that_pair(kind, law):
    nets = [network(**KINDS[kind]) for _ in range(3)]
    gram = tnsim.gram(nets, under=law)
    for i, a in enumerate(nets):
        for j, b in enumerate(nets):
            product = tnsim.moments(a, b, under=law).diagonal()
            torch.testing.assert_close(gram.products[:, i, j], product, **TIGHT)
    torch.testing.assert_close(
        gram.similarity()[0, 1], tnsim.similarity(nets[0], nets[1], under=law), **TIGHT
    )
    torch.testing.assert_close(
        gram.slices()[1, 0, 2], tnsim.similarity(nets[0], nets[2], under=law, output=1), **TIGHT
    )
    torch.testing.assert_close(gram.similarity(1), gram.slices()[1], **TIGHT)


@pytest.mark.parametrize("kind", ["two layers", "two layers, residual and bias"])
def test_layer_by_layer(kind):
    nets = [network(**KINDS[kind]) for _ in range(3)]
    gram = tnsim.gram(nets, method="layerwise")
    expected = tnsim.inner(nets[2], nets[1], method="layerwise")
    torch.testing.assert_close(gram.matrix[2, 1], expected, **TIGHT)


@pytest.mark.parametrize("method", ["exact", "layerwise"])
@pytest.mark.parametrize("size", [1, 3, 17])
def test_every_pair_whatever_the_chunks(size, method, monkeypatch):
    monkeypatch.setattr(import_module("tnsim.analysis.grams.grams"), "best_size", lambda *a: size)
    nets = [network(2, bias=True) for _ in range(17)]
    gram = tnsim.gram(nets, method=method)
    for i, j in [(0, 0), (1, 0), (0, 16), (16, 16), (9, 4), (4, 9)]:
        expected = tnsim.moments(nets[i], nets[j], method=method).diagonal()
        torch.testing.assert_close(gram.products[:, i, j], expected, **TIGHT)


@pytest.mark.parametrize(
    ("method", "law"), [("exact", law) for law in LAWS] + [("layerwise", law) for law in LAWS[:2]], ids=repr
)
@pytest.mark.parametrize("size", [1, 2])
def test_outputs_together(size, method, law, monkeypatch):
    monkeypatch.setattr(import_module("tnsim.analysis.grams.grams"), "best_size", lambda *a: size)
    nets = [network(2, bias=True) for _ in range(3)]
    apart, whole = (tnsim.gram(nets, under=law, method=method, slices=x) for x in (True, False))
    assert whole.products.shape == (1, 3, 3) and "outputs together" in repr(whole)
    torch.testing.assert_close(whole.matrix, apart.matrix, **TIGHT)
    torch.testing.assert_close(whole.similarity(), apart.similarity(), **TIGHT)
    torch.testing.assert_close(whole.distance(), apart.distance(), **TIGHT)
    for ask in (whole.slices, lambda: whole.similarity(0), lambda: whole.distance(output=1)):
        with pytest.raises(ValueError, match=r"ask for them with gram\(..., slices=True\)"):
            ask()


def test_outputs_together_cost_less(tmp_path):
    """As many outputs as positions times tokens: they are not even made."""
    torch.manual_seed(0)
    models = [tnsim.nn.Transformer(60, 4, 2, 3, ("attn",)).double() for _ in range(3)]
    nets = [tnsim.convert(m, torch.zeros(1, 3, dtype=torch.long)) for m in models]
    values = [
        tnsim.gram(nets, method="layerwise", slices=x, checkpoint=tmp_path / f"{x}") for x in (True, False)
    ]
    law = law_for(nets, Gaussian())
    plans = [planned(nets, law, "layerwise", math.inf, keep) for keep in ("diagonal", "sum")]
    assert plans[1].cost.flops < plans[0].cost.flops and plans[1].cost.bytes < plans[0].cost.bytes
    torch.testing.assert_close(values[1].matrix, values[0].matrix, **TIGHT)
    with pytest.raises(ValueError, match="was made from other models"):
        tnsim.gram(nets, method="layerwise", slices=True, checkpoint=tmp_path / "False")


def test_symmetric_and_positive_semidefinite():
    gram = tnsim.gram([network(2, bias=True) for _ in range(5)])
    assert torch.equal(gram.matrix, gram.matrix.T)
    values = torch.linalg.eigvalsh(gram.similarity())
    assert values.min() > -1e-12
    assert gram.similarity().abs().max() <= 1 + 1e-12


def test_distance_is_that_of_the_difference():
    nets = [network(1, bias=True) for _ in range(3)]
    gram = tnsim.gram(nets)
    difference = nets[0].collapse() - nets[2].collapse()
    torch.testing.assert_close(gram.distance()[0, 2], tnsim.inner(difference).sqrt(), **TIGHT)
    torch.testing.assert_close(gram.distance(1)[0, 2], tnsim.inner(difference[1]).sqrt(), **TIGHT)


def test_models_of_different_structure_keep_their_order():
    nets = [network(1), network(1, hidden=7), network(1), network(2), network(1, hidden=7), network(1)]
    gram = tnsim.gram(nets)
    for i, a in enumerate(nets):
        for j, b in enumerate(nets):
            torch.testing.assert_close(gram.matrix[i, j], tnsim.inner(a, b), **TIGHT)


def test_chunks_that_fit_into_memory_give_the_same_matrix():
    nets = [network(2) for _ in range(5)]
    gram = tnsim.gram(nets)
    one_pair, all_pairs = (tnsim.cost(a, a).bytes for a in (nets[0], stack(nets)))
    assert all_pairs > 2 * one_pair
    small = tnsim.gram(nets, memory=1.01 * one_pair)
    torch.testing.assert_close(small.products, gram.products, **TIGHT)


def test_a_stacked_network_is_a_list_of_models():
    nets = [network(1) for _ in range(3)]
    torch.testing.assert_close(tnsim.gram(stack(nets)).products, tnsim.gram(nets).products, **TIGHT)


def test_labels_and_repr():
    gram = tnsim.gram([network(1)] * 2, labels=[0, 100])
    assert gram.labels == (0, 100)
    assert repr(gram) == "Gram(2 models, 2 outputs, Gaussian(), exact)"


def test_gradients_flow():
    modules = [tnsim.nn.BilinearLayer(3, 4, 2) for _ in range(2)]
    tnsim.gram(modules).similarity()[0, 1].backward()
    assert modules[0].l.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tnsim.gram([]), "this one is empty"),
        (lambda: tnsim.gram([network(1), network(1, out=3)]), "same outputs"),
        (lambda: tnsim.gram([network(1), network(1, d=4)]), "model 1 has input"),
        (lambda: tnsim.gram([network(1)], labels=[1, 2]), "2 labels for 1 models"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    with pytest.raises(CostError, match="this Gram matrix"):
        tnsim.gram([network(1)] * 2, budget=10)
    with pytest.raises(IndexError, match="output 2 of 2"):
        tnsim.gram([network(1)] * 2).similarity(2)


def test_checkpoints_of_a_transformer_one_by_one(tmp_path):
    """Models in parts of their own, whose laws are then put together."""
    nets = []
    for seed in range(4):
        torch.manual_seed(seed)
        model = tnsim.nn.Transformer(
            5, 4, 2, 2, ("attn", "mlp", "attn"), d_hidden=3, scale=0.5, bias="qk"
        ).double()
        ids = torch.zeros(1, 2, dtype=torch.long)
        nets.append(tnsim.convert(model.eval().requires_grad_(False), ids))
    found = tnsim.gram(nets, method="layerwise", checkpoint=tmp_path / "gram").similarity()
    pairs = [[tnsim.similarity(a, b, method="layerwise") for b in nets] for a in nets]
    torch.testing.assert_close(found, torch.stack([torch.stack(row) for row in pairs]), **TIGHT)
