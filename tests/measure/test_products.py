"""Products of links: however they are sorted, cut into chunks and halved, they give one result."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from attention import Attention
from zoo import rand

import tnsim
from tnsim.algebra import CostError, Network
from tnsim.engine.sparsity import support, supported
from tnsim.measure import Gaussian, expect
from tnsim.measure.attention.links.batch import Linked
from tnsim.measure.attention.links.link import product_of
from tnsim.measure.attention.products import moments as products
from tnsim.measure.attention.products import plans
from tnsim.measure.attention.programs.program import Assembler
from tnsim.measure.laws.wick import JointGaussian
from tnsim.measure.pairings.arrays import Block

KINDS = {
    "causal": dict(n=2, residual=0.5),
    "no mask, biases": dict(n=2, mask="none", bias=("V", "Q1", "K1", "Q2", "K2", "O")),
    "diagonal mask, rotary": dict(n=2, mask="diagonal", rotary=True, residual=0.3),
    "three positions": dict(s=3, d=1, c=1, residual=0.5),
}


def full_law(f):
    """Any covariance of two sides, and any means."""
    n = math.prod(f.in_shape)
    root = rand(2 * n, 2 * n)
    cov = (root @ root.T / n).reshape(2, n, 2, n)
    blocks = {
        (i, j): Block(cov[i, :, j].reshape(*f.in_shape, *f.in_shape)) for i, j in ((0, 0), (0, 1), (1, 1))
    }
    return JointGaussian(tuple(Block(rand(*f.in_shape)) for _ in range(2)), blocks)


def everything(f, g, law):
    asked = [((f, g), (0, 1)), ((f, f), (0, 0)), ((g, g), (1, 1))]
    kept = ("all", "sum", ("diagonal", "all"))
    values = [expect(pair, law, keep, sides) for pair, sides in asked for keep in kept]
    behind = law.push((f, g))
    return [*values, *(block.data for block in behind.covs.values()), *(m.data for m in behind.means)]


HOW = {
    "one by one": dict(CACHE=1.0, LEAST=1),
    "few at a time": dict(CACHE=4096.0, LEAST=3, OVERHEAD=0.0),
    "every pattern, by halves": dict(OVERHEAD=0.0),
    "no pattern, in full": dict(OVERHEAD=1e30),
    "end by end": dict(_together=lambda self: None),
    "alone": dict(ALONE=0.0),
    "alone, by halves": dict(ALONE=0.0, OVERHEAD=0.0),
}
ALWAYS = {("no mask, biases", "few at a time"), ("three positions", "alone, by halves")}


def is_slow(kind, how):
    """Every kind, and every way, is always tried; not every one of the dear kinds in every way."""
    return kind in ("no mask, biases", "three positions") and (kind, how) not in ALWAYS


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        pytest.param(kind, how, marks=[pytest.mark.slow] if is_slow(kind, how) else [])
        for kind, how in product(KINDS, HOW)
    ],
)
def test_groups_chunks_and_halves_change_nothing(kind, how, monkeypatch):
    f, g = (Attention(**KINDS[kind]).poly() for _ in range(2))
    apart = Gaussian(mean=rand(math.prod(f.in_shape))).bound(f.domain, f.like)
    laws = (full_law(f), apart)
    expected = [everything(f, g, law) for law in laws]
    for name, value in HOW[how].items():
        for place in (plans, products, Linked):
            if hasattr(place, name):
                monkeypatch.setattr(place, name, value)
    for law, values in zip(laws, expected, strict=True):
        for value, other in zip(everything(f, g, law), values, strict=True):
            torch.testing.assert_close(value, other, rtol=1e-11, atol=1e-12)


def test_a_rotation_does_not_make_a_query_for_every_pair_of_positions():
    model = tnsim.nn.Transformer(3, 8, 2, 5, ("attn",), bias="qk").double()
    f = tnsim.convert(model, torch.zeros(1, 5, dtype=torch.long))["blocks.0"]
    top = max(f.terms, key=lambda t: t.degree)
    found = product_of((tuple(x.inds for x in top.tensors), top.legs, top.out), tuple(top.sizes.items()))
    positions = [[ix for ix in end.batch if ix.endswith(":s")] for end in found.ends]
    assert [len(x) for x in positions] == [1] * 5 and len(found.pairs) == 2


def test_what_is_recorded_is_what_is_done():
    recorder = Assembler()
    x, y, z = (
        recorder.given(name, shape) for name, shape in zip("xyz", ((2, 3), (3, 4), (2, 4)), strict=True)
    )
    both = recorder.dot([(x, y), (z, recorder.zeros((4, 4)))]) + z * 0.5
    again = recorder.dot([(x, y), (z, recorder.zeros((4, 4)))])
    assert again.slot == recorder.dot([(x, y), (z, recorder.zeros((4, 4)))]).slot
    result = recorder.cat([both.columns(1, 3), z.columns(0, 1)], 1).rows(1, 2).turned * both.contracted(z)
    program = recorder.program(result)
    assert set(program.inputs) == set("xyz") and program.shape == (3, 1)
    given = {name: rand(5, *shape) for name, shape in zip("xyz", ((2, 3), (3, 4), (2, 4)), strict=True)}
    whole = given["x"] @ given["y"] + 0.5 * given["z"]
    expected = torch.cat([whole[:, :, 1:3], given["z"][:, :, :1]], 2)[:, 1:2].mT
    expected = expected * (whole * given["z"]).sum((1, 2))[:, None, None]
    torch.testing.assert_close(program.run(given.get, 5, given["x"]), expected)
    arrays = {k: v.numpy() for k, v in given.items()}
    np.testing.assert_allclose(program.run(arrays.get, 5, arrays["x"]), expected, rtol=1e-12)
    assert program.flops > 2 * 2 * 3 * 4 and program.peak >= 6 + 12 + 8


def language_models(count, **options):
    torch.manual_seed(0)
    kw = dict(n_vocab=5, d_model=8, n_head=2, n_ctx=3, blocks=("attn", "attn"), scale=0.5) | options
    return [tnsim.nn.Transformer(**kw).double() for _ in range(count)]


IDS = torch.zeros(1, 3, dtype=torch.long)


def gradients(models):
    nets = [tnsim.convert(m, IDS) for m in models]
    sizes = {}

    def held(x):
        sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(held, lambda x: x):
        value = tnsim.similarity(*nets, method="layerwise")
    return torch.autograd.grad(value, list(models[0].parameters())), sum(sizes.values())


def test_what_a_chunk_makes_is_made_again_for_its_gradient(monkeypatch):
    models = language_models(2, bias="qk")
    monkeypatch.setattr(plans, "CACHE", 2.0**14)
    monkeypatch.setattr(products, "CACHE", 2.0**14)
    found, held = gradients(models)
    tnsim.analysis.tracing.recipes._ANSWERS.clear()
    monkeypatch.setattr(products, "_again", lambda fn, like, *args: fn(*args))
    expected, more = gradients(models)
    for one, other in zip(found, expected, strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)
    assert held < more / 5, f"{held:.1e} of {more:.1e} bytes are held"


def test_masks_decide_what_there_is_to_do_and_belong_to_the_question():
    costs = []
    for mask in ("causal", None, "diagonal"):
        a, b = (tnsim.convert(m, IDS) for m in language_models(2, mask=mask))
        costs.append(tnsim.cost(a, b, method="layerwise").flops)
        value = tnsim.similarity(a, b, method="layerwise")
        full = [
            torch.einsum("sdsd->", tnsim.moments(x, y, method="layerwise"))
            for x, y in ((a, b), (a, a), (b, b))
        ]
        torch.testing.assert_close(value, full[0] / (full[1] * full[2]).sqrt(), rtol=1e-10, atol=1e-12)
    assert costs[2] < costs[0] < costs[1]
    a, b = (tnsim.convert(m, IDS) for m in language_models(2))
    once = tnsim.similarity(a, b, method="layerwise")
    open_ = [tnsim.convert(m, IDS) for m in language_models(2)]
    for net in open_:  # the same wiring and shapes, another mask
        for f in net.polys:
            for t in f.terms:
                for x in t.tensors:
                    if "MASK." in x.tags:
                        x.modify(data=torch.ones_like(x.data))
    assert not torch.isclose(once, tnsim.similarity(*open_, method="layerwise"))
    torch.testing.assert_close(once, tnsim.similarity(a, b, method="layerwise"), rtol=0, atol=0)


def test_placeholders_may_be_known_to_be_zero():
    x = torch.empty(2, 2, device="meta")
    assert support(x).all()
    mask = np.eye(2, dtype=bool)
    with supported({id(x): mask}):
        assert (support(x) == mask).all()
    assert (support(torch.eye(2)) == mask).all() and support(x).all()


def test_too_many_products_are_refused_before_they_are_listed():
    """80² products each: all pairs of them are too many, those of equal positions are not."""
    a, b = (Network((("attn", Attention(d=1, s=80, c=1, mask="none").poly()),)) for _ in range(2))
    assert tnsim.cost(a, b, method="layerwise").flops < 1e9
    with pytest.raises(CostError, match=r"a sum over up to 4e\+07 products of links is too long"):
        tnsim.moments(a, b, method="layerwise", budget=math.inf)


@pytest.mark.parametrize("limit", [0, 2**40], ids=["made anew", "kept"])
def test_small_plans_keep_where_everything_is_found(limit, monkeypatch):
    monkeypatch.setattr(plans, "KEPT", limit)
    monkeypatch.setattr(plans, "OVERHEAD", 0.0)
    seen = []
    chunks = plans.ProductPlan.chunks
    monkeypatch.setattr(
        plans.ProductPlan, "chunks", lambda plan, n: seen.append([*chunks(plan, n)]) or seen[-1]
    )
    tnsim.analysis.tracing.recipes._ANSWERS.clear()
    values = []
    for _ in range(2):
        a, b = (tnsim.convert(m, IDS) for m in language_models(2))
        values.append(tnsim.similarity(a, b, method="layerwise"))
    seen = [x for x in seen if x]
    half = len(seen) // 2
    assert half and len(seen) == 2 * half
    same = [
        x is y
        for one, other in zip(seen[:half], seen[half:], strict=True)
        for x, y in zip(one, other, strict=True)
    ]
    assert all(same) if limit else not any(same)
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=0)
