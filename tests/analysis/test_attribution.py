from dataclasses import replace

import pytest
import torch
from attention import Attention
from oracle import nodes
from zoo import KINDS, bilinear, linear, network, rand

import tnsim
from tnsim.algebra import Network, identity, poly
from tnsim.analysis.heads import head_gained, heads
from tnsim.measure import Empirical, Gaussian, Symmetric


def squared_distance(a, b, gains=None):
    x, w = nodes(3, 8)
    x = x if gains is None else x * gains
    return w @ (a(x) - b(x)) ** 2


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_share_the_squared_distance(kind):
    a, b = network(**KINDS[kind]), network(**KINDS[kind])
    torch.testing.assert_close(
        tnsim.attribute(a, b, to="outputs"), squared_distance(a, b), rtol=1e-10, atol=1e-9
    )


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_share_what_inputs_are_responsible_for(kind):
    a, b = network(**KINDS[kind]), network(**KINDS[kind])
    total = squared_distance(a, b)
    zero = torch.zeros(1, 3, dtype=torch.float64)
    constant = ((a(zero) - b(zero)) ** 2)[0]
    shares = tnsim.attribute(a, b, to="inputs", output=1)
    torch.testing.assert_close(shares.sum(), (total - constant)[1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        tnsim.attribute(a, b, to="inputs").sum(), (total - constant).sum(), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("kind", ["one layer, residual and bias", "two layers, bias"])
def test_each_share_is_the_integral_of_the_gradient_along_the_gains(kind):
    """Against quadrature over inputs, and Simpson's rule over the path: nothing shared with the code."""
    a, b = network(**KINDS[kind]), network(**KINDS[kind])
    values = []
    for s in torch.linspace(0, 1, 101, dtype=torch.float64):
        gains = torch.full((3,), float(s), dtype=torch.float64, requires_grad=True)
        values.append(torch.autograd.grad(squared_distance(a, b, gains).sum(), gains)[0])
    values = torch.stack(values)
    weights = torch.ones(len(values), dtype=torch.float64)
    weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0  # Simpson
    expected = (weights / (3 * (len(values) - 1))) @ values
    torch.testing.assert_close(
        tnsim.attribute(a, b, to="inputs"), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item()
    )


def test_an_input_that_neither_model_reads_gets_nothing():
    D, L, R = rand(2, 4), rand(4, 3), rand(4, 3)
    L[:, 1] = R[:, 1] = 0
    a = Network((("f", poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D, L=L, R=R)),))
    b = Network((("f", poly("D[out,hid] L[hid,in0] R[hid,in1]", D=rand(2, 4), L=L, R=R)),))
    shares = tnsim.attribute(a, b, to="inputs")
    assert abs(shares[1]) < 1e-12 < shares[0].abs()


@pytest.mark.parametrize("law", [Symmetric(), Empirical(rand(12, 3, seed=1)), Gaussian(mean=rand(3, seed=2))])
def test_every_law_can_be_split(law):
    a, b = network(1), network(1)
    difference = a.collapse() - b.collapse()
    total = tnsim.inner(difference, under=law)
    torch.testing.assert_close(tnsim.attribute(a, b, under=law).sum(), total, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        tnsim.attribute(a, b, to="inputs", under=law).sum(), total, rtol=1e-9, atol=1e-9
    )


def test_shares_come_in_the_shape_of_the_input():
    f, g = (identity((("d", 6),), rand(1)) * rand(6) for _ in range(2))
    a, b = (Network((("f", h),), (1, 2, 3)) for h in (f, g))
    assert tnsim.attribute(a, b, to="inputs").shape == (1, 2, 3)


def test_bad_words():
    a = network(1)
    with pytest.raises(ValueError, match='write "outputs", "inputs"'):
        tnsim.attribute(a, a, to="colours")
    with pytest.raises(ValueError, match="goes with the other splits"):
        tnsim.attribute(a, a, to="outputs", output=1)
    with pytest.raises(ValueError, match='goes with to="hidden" or to="heads"'):
        tnsim.attribute(a, a, to="inputs", layer="blocks.0")
    deep = network(2)
    with pytest.raises(ValueError, match="needs two models with the same layers"):
        tnsim.attribute(a, deep, to="layers")
    with pytest.raises(ValueError, match=r"layers with hidden units are \['blocks.0', 'blocks.1'\]"):
        tnsim.attribute(deep, deep, to="hidden")
    with pytest.raises(ValueError, match="4 hidden units in a and 5 in b"):
        tnsim.attribute(network(1), network(1, hidden=5), to="hidden")
    with pytest.raises(ValueError, match="embed has no hidden units"):
        tnsim.attribute(network(1, embed=True), network(1, embed=True), to="hidden", layer="embed")


# ---------------------------------------------------------------------- directions, layers, hidden units


def along(value, parts):
    """∫ ∂E/∂g (s, …, s) ds by automatic differentiation of ``value`` and Simpson's rule."""
    rows = []
    for s in torch.linspace(0, 1, 101, dtype=torch.float64):
        gains = torch.full((parts,), float(s), dtype=torch.float64, requires_grad=True)
        rows.append(torch.autograd.grad(value(gains), gains)[0])
    weights = torch.ones(101, dtype=torch.float64)
    weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0
    return (weights / 300) @ torch.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_every_split_adds_up_to_what_it_splits(kind):
    a, b = network(**KINDS[kind]), network(**KINDS[kind])
    total = squared_distance(a, b)
    zero = torch.zeros(1, 3, dtype=torch.float64)
    constant = ((a(zero) - b(zero)) ** 2)[0]
    close = dict(rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(tnsim.attribute(a, b, to="layers").sum(), total.sum(), **close)
    torch.testing.assert_close(tnsim.attribute(a, b, to="layers", output=1).sum(), total[1], **close)
    directions = tnsim.attribute(a, b, to="directions", output=1)
    torch.testing.assert_close(directions.values.sum(), (total - constant)[1], **close)
    for k, (name, f) in enumerate(a):
        if f.degree > 1:
            off = [
                Network((*net.layers[:k], (name, lower(net[name])), *net.layers[k + 1 :])) for net in (a, b)
            ]
            shares = tnsim.attribute(a, b, to="hidden", layer=name)
            assert shares.shape == (4,)
            torch.testing.assert_close(shares.sum(), (total - squared_distance(*off)).sum(), **close)


def lower(f):
    """A layer without its products."""
    rest = tuple(t for t in f.terms if t.degree < 2)
    return replace(f, terms=rest) if rest else 0.0 * f


@pytest.mark.parametrize("kind", ["one layer, residual and bias", "two layers, bias"])
def test_layers_share_the_integral_along_the_way_from_one_to_the_other(kind):
    a, b = network(**KINDS[kind]), network(**KINDS[kind])
    x, w = nodes(3, 8)

    def value(t):
        h = x
        for k in range(len(a)):
            h = (1 - t[k]) * a[k](h) + t[k] * b[k](h)
        return w @ ((h - a(x)) ** 2).sum(1)

    shares = tnsim.attribute(a, b, to="layers")
    torch.testing.assert_close(shares, along(value, len(a)), rtol=1e-4, atol=1e-4 * shares.abs().max().item())


def test_layers_that_are_the_same_in_both_share_nothing():
    a, b = network(2, embed=True), network(2, embed=True)
    b = replace(b, layers=(a.layers[0], b.layers[1], a.layers[2]))
    shares = tnsim.attribute(a, b, to="layers")
    assert abs(shares[0]) < 1e-9 * shares[1] and abs(shares[2]) < 1e-9 * shares[1]


def test_layers_do_not_mind_how_hidden_units_are_written():
    D, L, R = rand(2, 4), rand(4, 3), rand(4, 3)
    order = [2, 0, 3, 1]
    equation = "D[out,hid] L[hid,in0] R[hid,in1]"
    a = network(2)
    b = [Network((a.layers[0], ("blocks.1", poly(equation, D=d, L=p, R=q)))) for d, p, q in (
        (D, L, R), (D[:, order] / 3, R[order], 3 * L[order])
    )]  # fmt: skip
    one, other = (tnsim.attribute(a, net, to="layers") for net in b)
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_hidden_units_share_the_integral_along_their_gains():
    models = [[rand(2, 4), rand(4, 3), rand(4, 3), rand(2, 2), rand(2, 2), rand(2, 2)] for _ in range(2)]
    equation = "D[out,hid] L[hid,in0] R[hid,in1]"
    nets = []
    for D, L, R, d, p, q in models:
        one = poly(equation, D=D, L=L, R=R) + 0.5 * linear(3, 2)
        nets.append(Network((("one", one), ("two", poly(equation, D=d, L=p, R=q)))))
    x, w = nodes(3, 8)

    def value(gains):
        total = 0.0
        for sign, net, (D, L, R, d, p, q) in zip((1, -1), nets, models, strict=True):
            rest = net["one"](x) - ((x @ L.T) * (x @ R.T)) @ D.T
            h = rest + ((x @ L.T) * (x @ R.T) * gains) @ D.T
            total = total + sign * ((h @ p.T) * (h @ q.T)) @ d.T
        return w @ (total**2).sum(1)

    shares = tnsim.attribute(*nets, to="hidden", layer="one")
    torch.testing.assert_close(shares, along(value, 4), rtol=1e-5, atol=1e-5 * shares.abs().max().item())


HEADS = {
    "plain": dict(),
    "rotary, residual": dict(rotary=True, residual=0.5),
    "tied": dict(tied=True, residual=0.5),
    "biased": dict(bias=("Q1", "O"), residual=0.5),
}


def scaled(layer, gains, x):
    """The layer with a gain on every head, computed by hand."""
    kept, layer.O = layer.O, layer.O * gains[None, :, None]
    y = layer(x)
    layer.O = kept
    return y


@pytest.mark.parametrize("kind", HEADS)
def test_heads_share_the_integral_along_their_gains(kind):
    layers = [Attention(n=2, **HEADS[kind]) for _ in range(2)]
    tail = rand(2, 2)
    nets = [
        Network(
            (("attn", f.poly()), ("head", poly("U[out@p,in0@p] one[p]", U=tail, one=torch.ones(2).double())))
        )
        for f in layers
    ]
    x, w = nodes(4, 10)
    x = x.reshape(-1, 2, 2)

    def value(gains):
        a, b = (scaled(f, gains, x) @ tail.T for f in layers)
        return w @ (a - b).square()[:, 1].sum(-1)

    shares = tnsim.attribute(*nets, to="heads", layer="attn", output=1)  # of the second position
    torch.testing.assert_close(shares, along(value, 2), rtol=1e-9, atol=1e-9 * shares.abs().max().item())
    gap = value(torch.ones(2).double()) - value(torch.zeros(2).double())
    torch.testing.assert_close(shares.sum(), gap, rtol=1e-9, atol=1e-9)


def test_a_head_that_is_the_same_and_alone_in_its_outputs_shares_nothing():
    a, b = (Attention(n=2, d=2, bias=("Q1",)) for _ in range(2))
    for name in a.w:
        b.w[name][0] = a.w[name][0]
    b.b["Q1"][0] = a.b["Q1"][0]
    b.O[:, 0] = a.O[:, 0]
    for f in (a, b):
        f.O[0, 1] = f.O[1, 0] = 0  # head 0 writes output 0, head 1 output 1
    shares = tnsim.attribute(*(Network((("attn", f.poly()),)) for f in (a, b)), to="heads")
    assert abs(shares[0]) < 1e-12 * shares[1]


def test_heads_below_other_layers_layer_by_layer():
    """Degree five in the gains twice over: the rule of integration is exact there too."""
    nets = [
        Network((("one", Attention(n=2, residual=0.5).poly()), ("two", Attention(residual=0.5).poly())))
        for _ in range(2)
    ]

    def value(gains):
        a, b = (head_gained(net, "one", gains) for net in nets)
        ask = dict(method="layerwise")
        return tnsim.inner(a, **ask) - 2 * tnsim.inner(a, b, **ask) + tnsim.inner(b, **ask)

    shares = tnsim.attribute(*nets, to="heads", layer="one", method="layerwise")
    gap = value(torch.ones(2).double()) - value(torch.zeros(2).double())
    torch.testing.assert_close(shares.sum(), gap, rtol=1e-9, atol=0)


def test_layers_without_heads_are_named():
    def net(**kw):
        return Network((("attn", Attention(**kw).poly()),))

    with pytest.raises(ValueError, match="attn has no heads: it needs attention with several heads"):
        tnsim.attribute(net(n=1), net(n=1), to="heads", layer="attn")
    with pytest.raises(ValueError, match=r"layers with heads are \[\]"):
        tnsim.attribute(network(1), network(1), to="heads")
    with pytest.raises(ValueError, match="2 heads in a and 3 in b"):
        tnsim.attribute(net(n=2), net(n=3), to="heads")


@pytest.mark.parametrize("more", [dict(), dict(base=None), dict(tied=True, residual="lerp", norm=True)])
def test_heads_of_a_converted_transformer(more):
    ids = torch.tensor([[0, 1]])
    models = [tnsim.nn.Transformer(3, 4, 2, 2, ("attn",), scale=0.5, **more).double().eval() for _ in "ab"]
    nets = [tnsim.convert(m, ids) for m in models]
    shares = tnsim.attribute(*nets, to="heads")
    total = tnsim.attribute(*nets).sum()
    with torch.no_grad():
        for m in models:
            m.blocks[0].o.weight.zero_()  # no head writes
    rest = tnsim.attribute(*(tnsim.convert(m, ids) for m in models)).sum()
    torch.testing.assert_close(shares.sum(), total - rest, rtol=1e-9, atol=1e-9 * total.item())


@pytest.mark.parametrize(
    "more", [dict(), dict(bias=True), dict(bias="qk", tied=True), dict(mask=None, base=None)]
)
def test_a_gain_on_a_head_is_one_on_its_output(more):
    model = tnsim.nn.Transformer(3, 6, 3, 2, ("attn",), scale=0.5, **more).double()
    ids = torch.tensor([[0, 1], [2, 2]])
    net, gains = tnsim.convert(model, ids[:1]), rand(3)
    assert heads(net["blocks.0"]) == 3
    found = head_gained(net, "blocks.0", gains)(ids)
    with torch.no_grad():
        model.blocks[0].o.weight *= gains.repeat_interleave(2)
    torch.testing.assert_close(found, model(ids), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["one layer, residual and bias", "two layers, bias"])
@pytest.mark.parametrize("law", [None, Gaussian(mean=rand(3, seed=2)), Empirical(rand(12, 3, seed=1))])
def test_a_direction_has_the_share_of_that_input_in_its_own_basis(kind, law):
    a, b = network(**KINDS[kind]), network(**KINDS[kind])
    modes = tnsim.attribute(a, b, to="directions", under=law)
    V = modes.readers
    torch.testing.assert_close(V @ V.T, torch.eye(3, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    turn = poly("V[out,in0]", V=V.T)  # x = Vᵀz, so that input i of the turned model is direction i
    turned = [Network((("turn", turn), *net.layers)) for net in (a, b)]
    if isinstance(law, Gaussian):
        law = Gaussian(mean=V @ law.mean)
    if isinstance(law, Empirical):
        law = Empirical(law.x @ V.T)
    torch.testing.assert_close(
        tnsim.attribute(*turned, to="inputs", under=law), modes.values, rtol=1e-8, atol=1e-8
    )


def test_a_planted_direction_is_found():
    v = torch.nn.functional.normalize(rand(6), dim=0)
    a = bilinear(6, 4, 2)
    b = a + poly("D[out,hid] L[hid,in0] R[hid,in1]", D=rand(2, 1), L=v[None], R=v[None])
    modes = tnsim.attribute(Network((("f", a),)), Network((("f", b),)), to="directions")
    assert abs(modes.patterns[0] @ v) > 1 - 1e-9
    assert modes.values[1:].abs().max() < 1e-9 * modes.values[0]
