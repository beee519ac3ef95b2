import pytest
import torch
from oracle import nodes, second_moment
from zoo import KINDS, bilinear, network, rand

import tnsim
from tnsim.algebra import CostError, Network, poly
from tnsim.measure import Empirical, Frobenius, Gaussian, Symmetric

TIGHT = dict(rtol=1e-10, atol=1e-10)
LAWS = {"gaussian": Gaussian(), "symmetric": Symmetric(), "empirical": Empirical(rand(20, 3, seed=1))}


def pair(kind):
    return network(**KINDS[kind]), network(**KINDS[kind])


def cosine(m_ab, m_aa, m_bb):
    return m_ab.trace() / (m_aa.trace() * m_bb.trace()).sqrt()


@pytest.mark.parametrize("kind", KINDS)
def test_similarity_and_its_moments_equal_quadrature(kind):
    a, b = pair(kind)
    exact = {k: second_moment(u, v, 3, 8) for k, (u, v) in dict(ab=(a, b), aa=(a, a), bb=(b, b)).items()}
    torch.testing.assert_close(tnsim.moments(a, b), exact["ab"], **TIGHT)
    torch.testing.assert_close(tnsim.inner(a, b), exact["ab"].trace(), **TIGHT)
    torch.testing.assert_close(tnsim.similarity(a, b), cosine(exact["ab"], exact["aa"], exact["bb"]), **TIGHT)
    for k in range(2):
        expected = exact["ab"][k, k] / (exact["aa"][k, k] * exact["bb"][k, k]).sqrt()
        torch.testing.assert_close(tnsim.similarity(a, b, output=k), expected, **TIGHT)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", KINDS)
def test_similarity_is_symmetric_and_bounded(kind, law):
    a, b = pair(kind)
    ab, ba = tnsim.similarity(a, b, under=LAWS[law]), tnsim.similarity(b, a, under=LAWS[law])
    torch.testing.assert_close(ab, ba, **TIGHT)
    assert -1 <= ab <= 1


@pytest.mark.parametrize("kind", [k for k in KINDS if k.startswith("one")])
def test_layer_by_layer_is_exact_for_one_layer(kind):
    a, b = pair(kind)
    torch.testing.assert_close(tnsim.similarity(a, b, method="layerwise"), tnsim.similarity(a, b), **TIGHT)
    torch.testing.assert_close(tnsim.moments(a, b, method="layerwise"), tnsim.moments(a, b), **TIGHT)


def test_layer_by_layer_differs_for_two_layers_by_what_it_should():
    """Two scalar squarings: E[x⁸] = 105; a Gaussian of the same mean 1 and variance 2 gives E[y⁴] = 25."""
    one = torch.ones(1, 1, dtype=torch.float64)
    square = poly("D[out,hid] L[hid,in0] R[hid,in1]", D=one, L=one, R=one)
    net = Network((("0", square), ("1", square)))
    assert tnsim.inner(net).item() == pytest.approx(105)
    assert tnsim.inner(net, method="layerwise").item() == pytest.approx(25)


def test_layer_by_layer_is_the_recursion_over_gaussian_hidden_states():
    """By quadrature over the joint Gaussian of both models' hidden states."""
    a, b = pair("two layers, bias")
    (_, fa), (_, ga) = a.layers
    (_, fb), (_, gb) = b.layers

    def both(x):
        return torch.cat([fa(x), fb(x)], 1)

    x, w = nodes(3, 4)
    mean = w @ both(x)
    cov = second_moment(both, both, 3, 4) - torch.outer(mean, mean)
    cov = cov + 1e-13 * torch.eye(6, dtype=torch.float64)
    expected = second_moment(lambda h: ga(h[:, :3]), lambda h: gb(h[:, 3:]), 6, 4, mean, cov)
    got = tnsim.moments(a, b, method="layerwise")
    torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8 * expected.abs().max().item())


def test_gain_changes_the_cosine_of_a_residual_model_as_quadrature_says():
    a, b = pair("one layer, residual")
    values = []
    for gain in (1.0, 10.0):
        embed = gain * torch.eye(3, dtype=torch.float64)
        nets = [
            Network((("embed", poly("E[out,in0]", E=embed)), *((n, f) for n, f in net.layers)))
            for net in (a, b)
        ]
        exact = [second_moment(u, v, 3, 4) for u, v in ((nets[0], nets[1]), (nets[0],) * 2, (nets[1],) * 2)]
        values.append(tnsim.similarity(*nets))
        torch.testing.assert_close(values[-1], cosine(*exact), **TIGHT)
    assert abs(values[0] - values[1]) > 0.01


def weights(o, h, d):
    return rand(o, h), rand(h, d), rand(h, d)


def layer(D, L, R):
    return Network((("f", poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D, L=L, R=R)),))


@pytest.mark.parametrize("law", [Gaussian(), Symmetric()])
def test_invariances_of_the_function(law):
    D, L, R = weights(2, 4, 3)
    a, b = layer(D, L, R), layer(*weights(2, 4, 3))
    expected = tnsim.similarity(a, b, under=law)
    order, c = torch.randperm(4), rand(4).abs() + 0.5
    for same in (
        layer(D[:, order], L[order], R[order]),
        layer(D, c[:, None] * L, R / c[:, None]),
        layer(D, R, L),
    ):
        torch.testing.assert_close(tnsim.similarity(same, b, under=law), expected, **TIGHT)


@pytest.mark.parametrize("above", [0, 1])
def test_frobenius_sees_the_order_of_the_legs(above):
    D, L, R = weights(3, 4, 3)
    top = [layer(*weights(3, 4, 3)).layers[0][1]] * above
    b = network(1 + above, out=3)
    one, other = (
        tnsim.similarity(Network((*layer(D, *lr).layers, *(("top", f) for f in top))), b, under=Frobenius())
        for lr in ((L, R), (R, L))
    )
    assert abs(one - other) > 1e-3


def test_frobenius_of_two_layers_compares_the_tensors_as_stored():
    """By einsum: T[o, i, j, k, l] with the legs of the inner layers in order."""
    (D1, L1, R1), (D2, L2, R2) = weights(3, 4, 3), weights(2, 5, 3)
    inner = torch.einsum("oh,hi,hj->oij", D1, L1, R1)
    dense = torch.einsum("oh,ha,hb,aij,bkl->oijkl", D2, L2, R2, inner, inner)
    net = Network((*layer(D1, L1, R1).layers, ("g", layer(D2, L2, R2)[0])))
    torch.testing.assert_close(tnsim.inner(net, under=Frobenius()), (dense**2).sum(), **TIGHT)


def test_rotating_the_residual_stream_changes_nothing():
    E, D, L, R, H = rand(4, 3), rand(4, 5), rand(5, 4), rand(5, 4), rand(2, 4)
    Q = torch.linalg.qr(rand(4, 4)).Q

    def model(E, D, L, R, H):
        block = poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D, L=L, R=R)
        wire = tnsim.identity(block.domain, E)
        return Network(
            (("embed", poly("E[out,in0]", E=E)), ("b", wire + block), ("head", poly("H[out,in0]", H=H)))
        )

    b = network(1, width=4, residual=0.5, embed=True)
    torch.testing.assert_close(
        tnsim.similarity(model(Q @ E, Q @ D, L @ Q.T, R @ Q.T, H @ Q.T), b),
        tnsim.similarity(model(E, D, L, R, H), b),
        **TIGHT,
    )


def closed_forms(a, b):
    """maths of one bilinear layer, by hand."""
    (D1, L1, R1), (D2, L2, R2) = a, b
    same, cross = (L1 @ L2.T) * (R1 @ R2.T), (L1 @ R2.T) * (R1 @ L2.T)
    dd = D1.T @ D2
    symmetric = ((same + cross) / 2 * dd).sum()
    traces = (D1 @ (L1 * R1).sum(1)) @ (D2 @ (L2 * R2).sum(1))
    return {Symmetric(): symmetric, Gaussian(): 2 * symmetric + traces, Frobenius(): (same * dd).sum()}


def test_mnist_sized_models_give_the_closed_forms():
    a, b = ([x / x.shape[1] ** 0.5 for x in weights(10, 128, 784)] for _ in range(2))
    b = [0.5 * x + 0.5 * y for x, y in zip(a, b, strict=True)]
    ab, aa, bb = closed_forms(a, b), closed_forms(a, a), closed_forms(b, b)
    for (law, x), y, z in zip(ab.items(), aa.values(), bb.values(), strict=True):
        got = tnsim.similarity(layer(*a), layer(*b), under=law)
        torch.testing.assert_close(got, x / (y * z).sqrt(), **TIGHT)


def test_models_of_different_width_and_depth():
    a = network(2, hidden=3)
    b = network(1, hidden=6, bias=True)
    exact = [second_moment(u, v, 3, 8) for u, v in ((a, b), (a, a), (b, b))]
    torch.testing.assert_close(tnsim.similarity(a, b), cosine(*exact), **TIGHT)
    with pytest.raises(ValueError, match="same number of layers"):
        tnsim.similarity(a, b, method="layerwise")


@pytest.mark.parametrize("order", [1, -1])
def test_deep_models_of_unlike_parts(order):
    """With and without residual: hidden states have parts of other orders, each model's its own."""
    kinds = (dict(d=2, width=2, hidden=2, residual=0.5), dict(d=2, width=2, hidden=2))[::order]
    a, b = (network(3, **kind) for kind in kinds)
    exact = [second_moment(u, v, 2, 16) for u, v in ((a, b), (a, a), (b, b))]
    torch.testing.assert_close(tnsim.similarity(a, b), cosine(*exact), rtol=1e-9, atol=1e-9)


def test_gradients_equal_finite_differences():
    D, L, R = weights(2, 3, 3)
    b = network(1)
    L.requires_grad_()
    tnsim.similarity(layer(D, L, R), b).backward()
    step = torch.zeros_like(L)
    step[1, 2] = 1e-6
    with torch.no_grad():
        up, down = (tnsim.similarity(layer(D, L + s * step, R), b) for s in (1, -1))
    assert L.grad[1, 2].item() == pytest.approx(((up - down) / 2e-6).item(), rel=1e-6)


def test_cost_is_known_before_and_refused_when_too_dear():
    a, b = network(2), network(2)
    price = tnsim.cost(a, b)
    with pytest.raises(CostError, match=r"similarity \(exact\) takes .* contr.*Raise budget=, or"):
        tnsim.similarity(a, b, budget=price.flops / 2)
    with pytest.raises(CostError, match="the budget is 10 B"):
        tnsim.similarity(a, b, memory=10)
    deep = network(3)
    with pytest.raises(CostError, match=r"similarity \(exact\) takes .* flops .*; the budget is"):
        tnsim.similarity(deep, deep, budget=1e4)
    assert tnsim.cost(deep, deep, method="layerwise").flops > 0


def test_three_layers_equal_quadrature():
    a, b = (network(3, d=2, width=2, hidden=3) for _ in range(2))
    exact = second_moment(a, b, 2, 16)
    error = (tnsim.moments(a, b) - exact).abs().max() / exact.abs().max()
    assert error < 1e-10


def test_price_is_counted_by_the_code_that_computes():
    """One layer 8 → 16 → 4 by hand: pairings × the matrix products they need, within a factor of two."""
    a = layer(*weights(4, 16, 8))
    by_hand = 3 * (2 * 2 * (2 * 16 * 16 * 8) + 2 * 2 * 16 * 16 * 4)
    assert by_hand / 2 < tnsim.cost(a, a).flops < by_hand * 2


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: tnsim.similarity(network(1), network(1, out=3)), ValueError, "needs the same outputs"),
        (lambda: tnsim.similarity(network(1), network(1, d=4)), ValueError, "has input"),
        (
            lambda: tnsim.similarity(network(1), network(1).to(dtype="float32")),
            ValueError,
            "b.to\\(dtype='float64'\\)",
        ),
        (
            lambda: tnsim.similarity(network(1), network(1), method="fast"),
            ValueError,
            'write "exact" or "layerwise"',
        ),
        (lambda: tnsim.similarity(network(1), "b"), TypeError, "b is a str; pass a torch.nn.Module"),
        (
            lambda: tnsim.similarity(network(2), network(2), under=Symmetric(), method="layerwise"),
            ValueError,
            "not defined",
        ),
        (
            lambda: tnsim.similarity(layer(*(0 * w for w in weights(2, 3, 3))), network(1)),
            ValueError,
            "zero function",
        ),
        (lambda: tnsim.moments(network(1), network(1, d=4)), ValueError, "has input"),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("method", ["exact", "layerwise"])
def test_stacks_give_every_pair(method):
    run, other = ([network(2, bias=True) for _ in range(n)] for n in (3, 2))
    matrix = tnsim.similarity(tnsim.stack(run), tnsim.stack(other), method=method)
    row = tnsim.similarity(run[1], tnsim.stack(other), method=method)
    column = tnsim.similarity(tnsim.stack(run), other[0], method=method)
    for i, a in enumerate(run):
        for j, b in enumerate(other):
            torch.testing.assert_close(matrix[i, j], tnsim.similarity(a, b, method=method), **TIGHT)
    torch.testing.assert_close(row, matrix[1], **TIGHT)
    torch.testing.assert_close(column, matrix[:, 0], **TIGHT)
    with pytest.raises(ValueError, match=r"pick them from the stack"):
        tnsim.attribute(tnsim.stack(run), run[0])


def test_polynomials_and_modules_are_accepted():
    f = bilinear(3, 4, 2)
    torch.testing.assert_close(tnsim.inner(f), tnsim.inner(Network((("f", f),))), **TIGHT)
    module = tnsim.nn.BilinearLayer(3, 4, 2)
    torch.testing.assert_close(tnsim.inner(module), tnsim.inner(tnsim.convert(module)), **TIGHT)
