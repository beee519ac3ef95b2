import math

import numpy as np
import pytest
import torch
from oracle import nodes, second_moment
from scipy.linalg import sqrtm
from zoo import KINDS, linear, network, rand

import tnsim
from tnsim.algebra import CostError, Network, poly, stack
from tnsim.analysis.compare.indices import cca, cka, procrustes
from tnsim.measure import Empirical, Frobenius, Gaussian, MeasureError, Symmetric

CLOSE = dict(rtol=1e-9, atol=1e-9)
INDICES = [cka, procrustes, cca]


def pair(kind):
    """Two models with different hidden widths and numbers of outputs."""
    return network(**KINDS[kind]), network(**{**KINDS[kind], "hidden": 6, "out": 3})


def moments_by_quadrature(a, b, centred, mean=None, cov=None, degree=8):
    x, w = nodes(3, degree, mean, cov)
    f, g = a(x), b(x)
    if centred:
        f, g = f - w @ f, g - w @ g
    return [torch.einsum("b,bi,bj->ij", w, u, v) for u, v in ((f, g), (f, f), (g, g))]


def by_hand(index, ab, aa, bb):
    """The three formulas as they are written, in numpy and scipy."""
    ab, aa, bb = (m.detach().numpy() for m in (ab, aa, bb))
    if index is cka:
        value = (ab**2).sum() / np.sqrt((aa**2).sum() * (bb**2).sum())
    elif index is procrustes:
        value = np.linalg.norm(ab, "nuc") / np.sqrt(aa.trace() * bb.trace())
    else:
        roots = [np.linalg.inv(np.real(sqrtm(m))) for m in (aa, bb)]
        value = np.linalg.svd(roots[0] @ ab @ roots[1], compute_uv=False)
    return torch.as_tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("kind", KINDS)
def test_equal_quadrature(kind, index, centred):
    a, b = pair(kind)
    expected = by_hand(index, *moments_by_quadrature(a, b, centred))
    got = index(a, b, centred=centred)
    torch.testing.assert_close(got, expected, **CLOSE)
    torch.testing.assert_close(index(b, a, centred=centred), got, **CLOSE)
    assert (got >= 0).all() and (got <= 1).all()


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("kind", ["one layer, residual and bias", "two layers, bias"])
def test_equal_quadrature_under_a_law_with_mean_and_covariance(kind, index, centred):
    a, b = pair(kind)
    root = rand(3, 3)
    args = dict(mean=rand(3), cov=root @ root.T / 3 + 0.2 * torch.eye(3, dtype=torch.float64))
    expected = by_hand(index, *moments_by_quadrature(a, b, centred, **args))
    torch.testing.assert_close(index(a, b, centred=centred, under=Gaussian(**args)), expected, **CLOSE)


@pytest.mark.parametrize("index", INDICES)
def test_models_of_different_depth(index):
    a, b = network(2, out=2), network(1, hidden=7, out=3, bias=True)
    torch.testing.assert_close(
        index(a, b), by_hand(index, *moments_by_quadrature(a, b, centred=True)), **CLOSE
    )


@pytest.mark.parametrize("index", INDICES)
def test_hidden_layers_of_different_width(index):
    a = network(2, width=2, embed=True, residual=0.5)
    b = network(2, width=3, hidden=5, bias=True)
    for k, j in ((2, 1), (1, 2), (2, 2)):
        f, g = a[:k], b[:j]
        expected = by_hand(index, *moments_by_quadrature(f, g, centred=True))
        torch.testing.assert_close(index(f, g), expected, **CLOSE)


@pytest.mark.parametrize("kind", ["one layer, residual and bias", "two layers, residual and bias"])
def test_cka_on_data_is_the_baseline(kind):
    a, b = pair(kind)
    x = 0.5 * rand(3000, 3) + rand(3)
    f, g = a(x), b(x)
    torch.testing.assert_close(cka(a, b, under=Empirical(x)), tnsim.linear_cka(f, g), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        cka(a[:1], b[:2], under=Empirical(x)), tnsim.linear_cka(a[:1](x), b[:2](x)), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("index", INDICES)
def test_on_data_means_are_subtracted_before_they_can_cancel(index):
    """A mean a million times the spread: a difference of second moments would keep four digits of the variance."""
    a, b = (network(1, out=o) for o in (2, 3))
    x = rand(400, 3)
    f, g = a(x), b(x)
    far = [
        Network((("f", m.collapse() + 1e6 * torch.ones(o, dtype=torch.float64)),))
        for m, o in ((a, 2), (b, 3))
    ]
    f, g = f - f.mean(0), g - g.mean(0)
    expected = by_hand(index, f.T @ g, f.T @ f, g.T @ g)
    torch.testing.assert_close(index(*far, under=Empirical(x)), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("index", INDICES)
def test_the_data_index_tends_to_the_exact_one(index):
    a, b = pair("one layer, bias")
    sampled = index(a, b, under=Empirical(rand(200_000, 3)))
    torch.testing.assert_close(sampled, index(a, b), rtol=0.02, atol=0.02)


def test_procrustes_is_the_cosine_after_the_best_rotation():
    a, b = network(1, out=3), network(1, out=3)
    value = procrustes(a, b, centred=False)
    u, _, v = torch.linalg.svd(tnsim.moments(a, b))
    best = poly("Q[out,in0]", Q=u @ v) @ b.collapse()
    torch.testing.assert_close(tnsim.similarity(a, best), value, **CLOSE)
    for _ in range(20):
        other = poly("Q[out,in0]", Q=torch.linalg.qr(rand(3, 3)).Q) @ b.collapse()
        assert tnsim.similarity(a, other) < value


def mapped(matrix, net, shift=0.0):
    f = poly("W[out,in0]", W=matrix) @ net.collapse()
    return f + shift * torch.ones(len(matrix), dtype=torch.float64)


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("kind", ["one layer, residual and bias", "two layers, bias"])
def test_invariances_and_what_is_not_one(kind, index):
    a, b = pair(kind)
    expected = index(a, b)
    rotation, skew = torch.linalg.qr(rand(2, 2)).Q, torch.tensor([[1.0, 2.0], [0.0, 0.3]]).double()
    torch.testing.assert_close(index(mapped(-3.0 * rotation, a, shift=5.0), b), expected, **CLOSE)
    changed = (index(mapped(skew, a), b) - expected).abs().max()
    assert changed < 1e-9 if index is cca else changed > 1e-3
    uncentred = (index(mapped(rotation, a, shift=5.0), b, centred=False) - expected).abs().max()
    assert uncentred > 1e-3


@pytest.mark.parametrize("centred", [True, False])
def test_a_model_is_fully_correlated_with_every_invertible_map_of_itself(centred):
    a = network(2, out=3)
    values = cca(mapped(rand(3, 3), a), a, centred=centred)
    torch.testing.assert_close(values, torch.ones(3).double(), rtol=0, atol=1e-7)
    assert values.max() <= 1
    rotated = mapped(torch.linalg.qr(rand(3, 3)).Q, a)
    for index in (cka, procrustes):
        assert index(rotated, a, centred=centred).item() == pytest.approx(1, abs=1e-12)


def test_dependent_outputs_have_fewer_canonical_correlations():
    a, b = network(1, out=2), network(1, out=4)
    wide = mapped(rand(5, 2), a)
    torch.testing.assert_close(cca(wide, b), cca(a, b), rtol=1e-7, atol=1e-7)
    assert cca(wide, wide).shape == (2,)


def test_the_tolerance_says_which_directions_count():
    a = network(1, out=2)
    faint = mapped(torch.diag(torch.tensor([1.0, 1e-3])).double(), a)
    assert len(cca(faint, a)) == 2
    assert len(cca(faint, a, tolerance=1e-3)) == 1
    with pytest.raises(ValueError, match="between 0 and 1"):
        cca(a, a, tolerance=1.0)


@pytest.mark.parametrize("law", [Symmetric(), Frobenius()])
@pytest.mark.parametrize("index", INDICES)
def test_tensors_have_no_mean_to_subtract(law, index):
    a, b = network(1, bias=True), network(1, out=3)
    with pytest.raises(MeasureError, match=r"no mean to subtract. Write centred=False"):
        index(a, b, under=law)
    moments = [tnsim.moments(u, v, under=law) for u, v in ((a, b), (a, a), (b, b))]
    torch.testing.assert_close(index(a, b, under=law, centred=False), by_hand(index, *moments), **CLOSE)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("index", INDICES)
def test_layer_by_layer_uses_the_gaussian_closure(index, centred):
    a, b = pair("two layers, bias")
    moments = [tnsim.moments(u, v, method="layerwise") for u, v in ((a, b), (a, a), (b, b))]
    if centred:
        one = Network(tuple((n, linear(k, k) * 0.0 + rand(k) ** 0) for n, k in (("0", 3), ("1", 3))))
        means = [tnsim.moments(m, one, method="layerwise")[:, 0] for m in (a, b)]
        for m, (i, j) in zip(moments, ((0, 1), (0, 0), (1, 1)), strict=True):
            m -= torch.outer(means[i], means[j])
    got = index(a, b, method="layerwise", centred=centred)
    torch.testing.assert_close(got, by_hand(index, *moments), rtol=1e-8, atol=1e-8)
    assert (got - index(a, b, centred=centred)).abs().max() > 1e-4


@pytest.mark.parametrize("law", [Gaussian(), Empirical(rand(40, 3, seed=1))], ids=repr)
@pytest.mark.parametrize("index", [cka, procrustes])
def test_stacked_networks_give_all_pairs(index, law):
    run = [network(1, bias=True, residual=0.5) for _ in range(3)]
    other = [network(1, hidden=5, out=3) for _ in range(2)]
    table = index(stack(run), stack(other), under=law)
    assert table.shape == (3, 2)
    for i, a in enumerate(run):
        for j, b in enumerate(other):
            torch.testing.assert_close(table[i, j], index(a, b, under=law), **CLOSE)
    torch.testing.assert_close(index(stack(run), other[1], under=law), table[:, 1], **CLOSE)
    torch.testing.assert_close(index(run[2], stack(other), under=law), table[2], **CLOSE)
    with pytest.raises(ValueError, match=r"net.pick\(i\)"):
        cca(stack(run), other[0])


def test_outputs_with_several_axes_are_one_vector():
    """Linear maps of a sequence, so covariances are J Jᵀ with the matrix J of values on unit inputs."""
    f, g = (
        poly("O[out@q,v] V[v,in0@k] S[q,k]", O=rand(o, 2), V=rand(2, 3), S=rand(q, 2))
        for o, q in ((2, 3), (3, 1))
    )
    assert (f.out_shape, g.out_shape) == ((3, 2), (1, 3))
    eye = torch.eye(6, dtype=torch.float64).reshape(6, 2, 3)
    u, v = (h(eye).reshape(6, -1).T for h in (f, g))
    for index in (cka, procrustes):
        expected = by_hand(index, u @ v.T, u @ u.T, v @ v.T)
        torch.testing.assert_close(index(f, g), expected, **CLOSE)
    bases = [torch.linalg.svd(m, full_matrices=False) for m in (u, v)]
    p, q = (s.Vh[s.S > 1e-9] for s in bases)
    torch.testing.assert_close(cca(f, g), torch.linalg.svdvals(p @ q.T), **CLOSE)


def test_one_selected_output_is_a_vector_of_one():
    a, b = network(1, out=4).collapse(), network(1, hidden=5)
    for index in INDICES:
        torch.testing.assert_close(index(a[1], b), index(a[1:2], b), **CLOSE)


@pytest.mark.parametrize("index", INDICES)
def test_gradients_equal_finite_differences(index):
    b = network(1, out=3)
    D, L, R = rand(2, 4), rand(4, 3), rand(4, 3)

    def value(L):
        return index(poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D, L=L, R=R), b).sum()

    assert torch.autograd.gradcheck(value, (L.requires_grad_(),), atol=1e-6)


def test_gradients_of_cca_where_eigenvalues_coincide_and_outputs_depend_on_each_other():
    b = network(1, out=2, residual=0.5)
    W = torch.eye(3, dtype=torch.float64).requires_grad_()
    copies = torch.cat([torch.eye(3), torch.ones(1, 3)]).double()

    def value(W):
        return cca(poly("W[out,in0]", W=copies @ W), b).sum()

    assert torch.autograd.gradcheck(value, (W,), atol=1e-6)
    value(W).backward()
    assert torch.isfinite(W.grad).all()


def test_large_outputs_in_single_precision():
    a, b = (m.to(dtype="float32") for m in pair("one layer"))
    big = [Network((("f", m.collapse() * 1e12),)) for m in (a, b)]
    for index in INDICES:
        torch.testing.assert_close(index(*big), index(a, b), rtol=1e-3, atol=1e-3)
    huge = [Network((("f", m.collapse() * 1e25),)) for m in (a, b)]
    for index in INDICES:
        torch.testing.assert_close(index(*huge), index(a, b), rtol=1e-3, atol=1e-3)


def constant(value, out=2):
    f = linear(3, out) * 0.0 + torch.full((out,), value, dtype=torch.float64)
    return Network((("f", f),))


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("law", [Gaussian(), Empirical(rand(1001, 3, seed=7))], ids=repr)
def test_constants_and_zero_have_no_index(index, law):
    b = network(1, bias=True)
    for value in (0.0, 0.1, 1e6):
        with pytest.raises(ValueError, match="model b is constant"):
            index(b, constant(value), under=law)
    with pytest.raises(ValueError, match="model a is the zero function"):
        index(constant(0.0), b, under=law, centred=False)
    assert torch.isfinite(index(constant(0.1), b, under=law, centred=False)).all()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda f: f(network(1), network(1, d=4)), ValueError, "has input"),
        (lambda f: f(network(1), network(1).to(dtype="float32")), ValueError, "has dtype"),
        (lambda f: f(network(1), "b"), TypeError, "b is a str"),
        (lambda f: f(network(1), network(1), method="fast"), ValueError, 'write "exact" or "layerwise"'),
        (lambda f: f(network(1), network(1), budget=10), CostError, r"\(exact\) takes .* Raise budget=, or"),
        (lambda f: f(network(1), network(1), memory=10), CostError, "the budget is 10 B"),
    ],
)
@pytest.mark.parametrize("index", INDICES)
def test_bad_input(index, call, kind, message):
    with pytest.raises(kind, match=message):
        call(index)


def test_second_moments_are_those_of_the_oracle():
    """The helper above against the oracle's own formula."""
    a, b = pair("one layer, bias")
    torch.testing.assert_close(
        moments_by_quadrature(a, b, centred=False)[0], second_moment(a, b, 3, 8), **CLOSE
    )
    assert math.isclose(nodes(3, 8)[1].sum().item(), 1.0)
