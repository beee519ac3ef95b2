"""A gain on a hidden unit multiplies all that goes through it, whatever way the layer is written."""

import pytest
import torch
from oracle import along, nodes
from torch import nn
from zoo import linear, rand

import tnsim
from tnsim.algebra import Network, poly
from tnsim.measure import Gaussian

TIGHT = dict(rtol=1e-9, atol=1e-9)


class Layer(nn.Module):
    """A layer whose products can be given gains; ``run(self, x, gain)`` says how."""

    def __init__(self, run, d=3, h=4, o=3, bias=True):
        super().__init__()
        self.run = run
        self.left, self.right, self.third = (nn.Linear(d, h, bias) for _ in range(3))
        self.gate, self.skip = nn.Linear(d, d, bias), nn.Linear(d, o, bias)
        self.down, self.again = nn.Linear(h, o, bias), nn.Linear(o, o, bias)
        self.scale = nn.Parameter(torch.randn(h))
        self.double()

    def forward(self, x, gain=1.0):
        return self.run(self, x, lambda units: units * gain)


WAYS = {
    "biases": lambda m, x, g: m.down(g(m.left(x) * m.right(x))),
    "residual": lambda m, x, g: x + m.down(g(m.left(x) * m.right(x))),
    "lerp": lambda m, x, g: 0.7 * x + 0.3 * m.down(g(m.left(x) * m.right(x))),
    "skip before and behind": lambda m, x, g: m.skip(x) - 2 * m.down(g(m.left(x) * m.right(x))) + m.gate(x),
    "square": lambda m, x, g: m.down(g(m.left(x) ** 2)),
    "cube": lambda m, x, g: m.down(g(m.left(x) ** 3)),
    "three factors": lambda m, x, g: m.down(g(m.left(x) * m.right(x) * m.third(x))),
    "two maps behind": lambda m, x, g: m.again(m.down(g(m.left(x) * m.right(x)))) + x,
    "scaled units": lambda m, x, g: m.down(g(m.left(x) * m.right(x)) * m.scale),
    "shifted units": lambda m, x, g: m.down(g(m.left(x) * m.right(x)) + m.third(x)),
    "no map behind": lambda m, x, g: g(m.left(x) * m.right(x)),
    "a gate": lambda m, x, g: x + g(m.gate(x) * x),
    "a gate behind a map": lambda m, x, g: m.again(x + g(m.gate(x) * x)),
    "split in two": lambda m, x, g: m.down(g(_halves(m, x))),
    "some outputs": lambda m, x, g: m.down(g(m.left(x) * m.right(x)))[:, [2, 0]],
    "summed": lambda m, x, g: m.down(g(m.left(x) * m.right(x))).sum(-1),
    "turned and back": lambda m, x, g: m.down(g(m.left(x) * m.right(x)).reshape(-1, 2, 2).mT.flatten(1)),
    "an einsum behind": lambda m, x, g: (
        x - torch.einsum("oh,bh->bo", m.down.weight, g(m.left(x) * m.right(x)))
    ),
    "a mean": lambda m, x, g: x + g(m.left(x) * m.right(x)).mean(-1, keepdim=True),
    "rolled": lambda m, x, g: m.down(g(m.left(x) * m.right(x)).roll(1, -1).cumsum(-1)).flip(-1),
    "laid out": lambda m, x, g: m.down(g(m.left(x) * m.right(x)))[:, None, :].expand(-1, 2, -1),
    "side by side": lambda m, x, g: torch.cat([x, m.down(g(m.left(x) * m.right(x)))], -1),
}


def _halves(m, x):
    both = torch.cat([m.left(x), m.right(x)], -1)
    first, second = both.chunk(2, -1)
    return first * second


def _count(way):
    return 3 if "gate" in way else 4


def _distance(a, b, degree=6, mean=None):
    x, w = nodes(3, 2 * degree, mean)

    def value(gains):
        one, other = (m(x, gains).reshape(len(x), -1) for m in (a, b))
        return w @ ((one - other) ** 2).sum(1)

    return value


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_shares_are_the_integral_along_the_gains(way, bias):
    a, b = (Layer(WAYS[way], bias=bias).requires_grad_(False) for _ in "ab")
    n = _count(way)
    shares = tnsim.attribute(a, b, to="hidden", layer=tnsim.convert(a).names[0])
    assert shares.shape == (n,)
    value = _distance(a, b)
    ones = torch.ones(n).double()
    torch.testing.assert_close(shares.sum(), value(ones) - value(0 * ones), **TIGHT)
    torch.testing.assert_close(shares, _integral(value, n), **TIGHT)


def _integral(value, n):
    """The path integral of the gradient: quadratic in the gains, so the midpoint is exact."""
    half = torch.full((n,), 0.5, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(value(half), half)
    return gradient


class Deep(nn.Module):
    """Two layers of units with biases."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(3, 3), nn.Linear(3, 2)
        self.one = Layer(WAYS["residual"])
        self.two = Layer(WAYS["biases"])
        self.double().requires_grad_(False)

    def forward(self, x, one=1.0, two=1.0):
        return self.head(self.two(self.one(self.embed(x), one), two))


@pytest.mark.parametrize("layer", ["one", "two"])
def test_units_of_every_layer_of_a_deep_model(layer):
    a, b = Deep(), Deep()
    mean = rand(3, seed=1)
    x, w = nodes(3, 8, mean)
    shares = tnsim.attribute(a, b, to="hidden", layer=layer, under=Gaussian(mean=mean))
    expected = along(lambda g: w @ ((a(x, **{layer: g}) - b(x, **{layer: g})) ** 2).sum(1), 4)
    torch.testing.assert_close(shares, expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())


def _written(model, embed=None):
    """The same layer, written by hand from polynomials."""
    parts = [poly("W[out,in0]", W=part.weight) + part.bias for part in (model.left, model.right, model.down)]
    left, right, down = parts
    f = down @ (left * right)
    return f if embed is None else f @ embed


def test_it_does_not_matter_who_wrote_the_layer_or_moved_it():
    a, b = (Layer(WAYS["biases"]).requires_grad_(False) for _ in "ab")
    expected = tnsim.attribute(a, b, to="hidden")
    nets = [tnsim.convert(m) for m in (a, b)]
    run = tnsim.stack(nets)
    for pair in (
        nets,
        [Network((("f", _written(m)),)) for m in (a, b)],
        [run.pick(0), run.pick(1)],
        [net.to(dtype="float32").to(dtype=torch.float64) for net in nets],
        [Network((("f", net[0].tagged("f")),)) for net in nets],
    ):
        shares = tnsim.attribute(*pair, to="hidden")
        torch.testing.assert_close(shares, expected, rtol=1e-5, atol=1e-5)
    layer_by_layer = tnsim.attribute(*nets, to="hidden", method="layerwise")
    torch.testing.assert_close(layer_by_layer, expected, **TIGHT)


def test_a_layer_behind_a_map_keeps_its_units():
    a, b = (Layer(WAYS["biases"]).requires_grad_(False) for _ in "ab")
    embed = linear(3, 3, bias=True)
    apart = [Network((("e", embed), ("f", _written(m)))) for m in (a, b)]
    within = [Network((("f", _written(m, embed)),)) for m in (a, b)]
    expected = tnsim.attribute(*apart, to="hidden", layer="f")
    torch.testing.assert_close(tnsim.attribute(*within, to="hidden"), expected, **TIGHT)


def test_layers_of_several_products_have_no_units_of_one():
    both = lambda m, x, g: m.down(g(m.left(x) * m.right(x)) + m.third(x) ** 2)  # noqa: E731
    nets = [tnsim.convert(Layer(both)) for _ in "ab"]
    with pytest.raises(ValueError, match="needs one term of products"):
        tnsim.attribute(*nets, to="hidden", layer=nets[0].names[0])


def test_a_layer_that_forgot_its_units_is_refused_beside_one_that_has_them():
    a, b = (tnsim.convert(Layer(WAYS["residual"])) for _ in "ab")
    (name, f), *rest = b.layers
    other = Network(((name, tnsim.Poly(f.terms, f.domain, f.codomain)), *rest))
    with pytest.raises(ValueError, match="of b was rewritten term by term"):
        tnsim.attribute(a, other, to="hidden", layer=name)
