from dataclasses import replace

import pytest
import torch
from oracle import along, nodes
from zoo import KINDS, bilinear, linear, network, rand

import tnsim
from tnsim.algebra import Network, identity, poly
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
    expected = along(lambda gains: squared_distance(a, b, gains).sum(), 3)
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
        if f.degree > 1 and not KINDS[kind].get("bias"):  # with biases: test_hidden_units.py
            off = [
                Network((*net.layers[:k], (name, lower(net[name])), *net.layers[k + 1 :])) for net in (a, b)
            ]
            shares = tnsim.attribute(a, b, to="hidden", layer=name)
            assert shares.shape == (4,)
            torch.testing.assert_close(shares.sum(), (total - squared_distance(*off)).sum(), **close)


def lower(f):
    """A layer without its products, whose factors have no biases."""
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
