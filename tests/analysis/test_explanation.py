"""What a comparison would compute, against its price and against einsum."""

import math

import pytest
import torch

import tnsim


def pairs():
    torch.manual_seed(0)
    flat = [tnsim.nn.BilinearMLP(5, 4, 4, 3, 2, bias=True).double() for _ in range(2)]
    talk = [tnsim.nn.Transformer(3, 4, 1, 2, ("attn", "mlp")).double().eval() for _ in range(2)]
    talk = [tnsim.convert(t, torch.zeros(1, 2, dtype=torch.long)) for t in talk]
    third = torch.ones(3, dtype=torch.float64) / 3
    return {
        "exact": (flat, {}),
        "layerwise": (flat, {"method": "layerwise"}),
        "attention": (talk, {"method": "layerwise", "under": tnsim.Tokens(third)}),
        "a mixture": (
            flat,
            {"under": tnsim.Mixture([tnsim.Gaussian(mean=torch.ones(5).double() * k) for k in (0, 1)])},
        ),
    }


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "a mixture")) for n in pairs()]
)
def test_the_parts_make_the_price(name):
    (a, b), options = pairs()[name]
    found = tnsim.explain(a, b, **options)
    assert sum(p.cost.contractions for p in found) == found.cost.contractions
    assert math.isclose(sum(p.cost.flops for p in found), found.cost.flops, rel_tol=1e-12)
    assert [p.cost.flops for p in found] == sorted((p.cost.flops for p in found), reverse=True)
    assert found.cost.flops == tnsim.cost(a, b, **options).flops


def test_steps_make_a_path():
    (a, b), _ = pairs()["exact"]
    for path in tnsim.explain(a, b):
        if path.tree is not None and not path.sliced:
            one = path.cost.flops / path.count
            assert len(path.steps) == max(len(path.what) - 1, 0)
            assert not path.steps or math.isclose(sum(s.flops for s in path.steps), one, rel_tol=1e-12)
            assert {ix for s in path.steps for ix in s.summed} <= set(path.names.values())


def test_slices_are_named():
    layer = tnsim.nn.BilinearLayer(40, 40, 3).double()
    whole, cut = tnsim.explain(layer), tnsim.explain(layer, memory=2**14)
    assert not any(p.sliced for p in whole) and any(p.sliced for p in cut)
    assert {ix for p in cut for ix in p.sliced} <= {ix for p in cut for ix in p.names.values()}


def test_closures_of_equal_value_are_counted_with_a_weight():
    """Six of the matchings of two cubes join each leg of one to a leg of the other: one contraction stands for them."""
    d, p = torch.eye(2).double(), torch.randn(2, 3).double()
    cube = tnsim.poly("D[out,hid] P[hid,in0] P[hid,in1] P[hid,in2]", D=d, P=p)
    assert 6.0 in {w for path in tnsim.explain(cube, cube) for w in path.weights}


def test_it_can_be_read():
    (a, b), _ = pairs()["exact"]
    found = tnsim.explain(a, b)
    assert str(found.cost) in repr(found) and all(len(line) < 200 for line in repr(found).splitlines())
    assert "numbers" in str(found[0]) and "<table" in found._repr_html_()


def test_too_dear_is_an_answer():
    deep = tnsim.nn.BilinearMLP(8, 8, 8, 4, 8)
    assert tnsim.explain(deep).cost.at_least
