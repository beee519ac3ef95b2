"""Paths through two attention layers."""

from importlib import import_module

import pytest
import torch
from attention import Attention
from zoo import rand

import tnsim
from tnsim.algebra import Network, identity, poly
from tnsim.measure import Gaussian, expect

module = import_module("tnsim.analysis.compare.compositions")


def model(seed, **kw):
    torch.manual_seed(seed)
    kw = dict(residual=0.4, s=2, d=2, c=2) | kw
    embed = poly("E[out@p,in0@p] one[p]", E=rand(2, 3), one=torch.ones(2, dtype=torch.float64))
    head = poly("U[out@p,in0@p] one[p]", U=rand(3, 2), one=torch.ones(2, dtype=torch.float64))
    layers = [("embed", embed), ("a", Attention(**kw).poly()), ("b", Attention(**kw).poly()), ("head", head)]
    return Network(tuple(layers))


def test_the_paths_add_up_to_the_model():
    net = model(0, n=2, rotary=True)
    front, wide, ends = module._parts(net)
    x = rand(5, 2, 3)
    hidden = wide(front[0](x))
    assert len(ends) == 34
    torch.testing.assert_close(sum(f(hidden) for f in ends), net(x), rtol=1e-10, atol=1e-10)
    direct = net["head"](net["embed"](x))
    torch.testing.assert_close(ends[0](hidden), direct, rtol=1e-10, atol=1e-10)
    blind = ends[2](hidden)  # 00000: the second layer's attention, of the embedding alone
    attention = net["b"](net["embed"](x)) - net["embed"](x)
    torch.testing.assert_close(blind, net["head"](attention), rtol=1e-9, atol=1e-9)


def test_inner_products_of_single_paths(monkeypatch):
    """Paths that pass by the first attention are those of a model without it; the smallest models follow with all 34²."""
    parts = module._parts

    def some(net):
        front, wide, ends = parts(net)
        return front, wide, ends[:3]

    monkeypatch.setattr(module, "_parts", some)
    a, b = model(1), model(2)
    found = module.paths(a, b, method="layerwise", progress=False)
    law = Gaussian().bound(a.domain, a.polys[0].like)
    straight = [net["head"] @ net["embed"] for net in (a, b)]
    blind = [net["head"] @ (net["b"] - identity(net["b"].domain, rand(1))) @ net["embed"] for net in (a, b)]
    assert found.products[0, 0].item() == pytest.approx(expect(straight, law, "sum").item(), rel=1e-9)
    assert found.products[2, 2].item() == pytest.approx(expect(blind, law, "sum").item(), rel=1e-9)
    assert found.products.shape == (3, 3) and found.layers().shape == (3, 3)
    alone = expect([straight[1]] * 2, law, "sum").item()
    assert found.squares[1][0].item() == pytest.approx(alone, rel=1e-9)
    own = module.paths(a, method="layerwise", progress=False)
    torch.testing.assert_close(own.squares[0], found.squares[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(own.similarity().diagonal(), torch.ones(3).double(), rtol=1e-12, atol=0)
    size = (found.squares[0][2] * found.squares[1][1]).sqrt()
    assert found.similarity()[2, 1].item() == pytest.approx((found.products[2, 1] / size).item(), rel=1e-12)


@pytest.mark.slow  # some of them are always compared, above
def test_all_products_add_up_to_the_inner_product():
    def smallest(seed):
        torch.manual_seed(seed)
        layers = [(name, Attention(s=2, d=1, c=1, residual=0.4).poly()) for name in ("a", "b")]
        return Network(tuple(layers))

    a, b = smallest(1), smallest(2)
    found = module.paths(a, b, method="layerwise", progress=False)
    assert found.products.shape == (34, 34) and len(found.labels) == 34
    total = tnsim.inner(a, b, method="layerwise").item()
    assert found.products.sum().item() == pytest.approx(total, rel=1e-10)
    assert found.layers().sum().item() == pytest.approx(total, rel=1e-10)
    assert found.similarity().abs().max() < 1 + 1e-9


def test_other_models_are_refused():
    with pytest.raises(ValueError, match="two attention layers between linear ones"):
        module.paths(model(0)[:2], method="layerwise")
    with pytest.raises(ValueError, match="not one attention without biases"):
        module.paths(model(0, bias=("K1",)), method="layerwise")


def test_the_approximation_is_asked_for_by_name():
    with pytest.raises(ValueError, match='Write method="layerwise"'):
        module.paths(model(0), model(1), method="exact")
    with pytest.raises(TypeError, match="method"):
        module.paths(model(0), model(1))
