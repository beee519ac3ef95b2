"""Every law against an exact oracle: quadrature, or the dense symmetrised tensors."""

import pytest
import torch
from oracle import dense, second_moment
from zoo import KINDS, bilinear, network, rand, space

from tnsim.algebra import identity, poly, stack
from tnsim.measure import Empirical, Frobenius, Gaussian, MeasureError, Symmetric, expect

TIGHT = dict(rtol=1e-10, atol=1e-10)


def spd(d):
    a = rand(d, d)
    return a @ a.T / d + 0.2 * torch.eye(d, dtype=torch.float64)


LAWS = {
    "standard": lambda d: {},
    "mean": lambda d: dict(mean=rand(d)),
    "covariance": lambda d: dict(cov=spd(d)),
    "diagonal covariance": lambda d: dict(cov=rand(d) ** 2 + 0.1),
    "mean and covariance": lambda d: dict(mean=rand(d), cov=spd(d)),
}


def whole(kind):
    return network(**KINDS[kind]).collapse()


def close_ratio(actual, expected, tolerance=1e-10):
    scale = expected.abs().max()
    error = ((actual - expected).abs().max() / scale).item()
    assert error < tolerance, f"off by {error:.1e} of the largest entry"


@pytest.mark.parametrize("kind", [k for k in KINDS if k.startswith("one")])
@pytest.mark.parametrize("law", LAWS)
def test_gaussian_moments_equal_quadrature(kind, law):
    f, g = whole(kind), whole(kind)
    args = LAWS[law](3)
    got = expect((f, g), Gaussian(**args).bound(f.domain, f.like))
    close_ratio(got, second_moment(f, g, 3, f.degree + g.degree, **args))


@pytest.mark.parametrize("kind", [k for k in KINDS if k.startswith("two")])
@pytest.mark.parametrize("law", LAWS)
def test_gaussian_moments_of_two_layers_equal_quadrature(kind, law):
    f, g = whole(kind), whole(kind)
    args = LAWS[law](3)
    (f0, g0), centred = Gaussian(**args).bound(f.domain, f.like).centred((f, g))
    close_ratio(expect((f0, g0), centred), second_moment(f, g, 3, 8, **args))


def test_carrying_the_mean_on_leftover_legs_equals_moving_it_into_the_layer():
    f, g = bilinear(2, 3, 2, bias=True), bilinear(2, 3, 2, bias=True) @ bilinear(2, 3, 2)
    law = Gaussian(rand(2), spd(2)).bound(f.domain, f.like)
    moved, centred = law.centred((f, g))
    close_ratio(expect((f, g), law), expect(moved, centred))


@pytest.mark.parametrize("kind", KINDS)
def test_symmetric_is_the_inner_product_of_the_dense_symmetrised_tensors(kind):
    f, g = whole(kind), whole(kind)
    expected = sum(
        a.reshape(2, -1) @ b.reshape(2, -1).T for a, b in zip(dense(f, 3, 4), dense(g, 3, 4), strict=True)
    )
    close_ratio(expect((f, g), Symmetric()), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_frobenius_is_the_inner_product_of_the_tensors_as_stored(kind):
    f, g = whole(kind), whole(kind)
    expected = 0.0
    for s in f.terms:
        for t in g.terms:
            if s.degree == t.degree:
                expected = expected + stored(s) @ stored(t).T
    close_ratio(expect((f, g), Frobenius()), expected)


def stored(term):
    """The dense tensor of a term as stored, legs in order, flattened to (2, 3ⁿ); by torch.einsum alone."""
    eye = torch.eye(3, dtype=torch.float64)
    letters = {ix: chr(97 + k) for k, ix in enumerate(term.sizes)}
    ports = [chr(65 + k) for k in range(term.degree)]
    inputs = ["".join(letters[ix] for ix in t.inds) for t in term.tensors]
    inputs += [letters[leg[0]] + p for leg, p in zip(term.legs, ports, strict=True)]
    arrays = [t.data for t in term.tensors] + [eye] * term.degree
    dense = torch.einsum(",".join(inputs) + "->" + letters[term.out[0]] + "".join(ports), *arrays)
    return term.coefficient * dense.reshape(2, -1)


@pytest.mark.parametrize("kind", KINDS)
def test_empirical_is_the_average_over_samples(kind):
    f, g = whole(kind), whole(kind)
    x = rand(11, 3)
    law = Empirical(x).bound(f.domain, f.like)
    close_ratio(expect((f, g), law), f(x).T @ g(x) / 11)


@pytest.mark.parametrize("law", [Gaussian(), Symmetric(), Empirical(rand(9, 3, seed=5))])
@pytest.mark.parametrize("kind", ["one layer, residual and bias", "two layers"])
def test_diagonal_sum_and_output_slices_agree_with_the_full_matrix(kind, law):
    f, g = whole(kind), whole(kind)
    law = law.bound(f.domain, f.like)
    full = expect((f, g), law)
    torch.testing.assert_close(expect((f, g), law, "diagonal"), full.diagonal(), **TIGHT)
    torch.testing.assert_close(expect((f, g), law, "sum"), full.trace(), **TIGHT)
    torch.testing.assert_close(expect((f[1], g[0]), law), full[1, 0], **TIGHT)
    torch.testing.assert_close(expect((f[:1], g), law), full[:1], **TIGHT)


def test_two_closed_numbers():
    """E[x⁴] = 3 and E[(1+x)⁶] = 76: constants need all partial pairings, not only the all-mean term."""
    x = identity(space(1), rand(1))
    assert expect((x**2, x**2), Gaussian()).item() == pytest.approx(3)
    assert expect(((x + 1.0) ** 3, (x + 1.0) ** 3), Gaussian()).item() == pytest.approx(76)
    one = Gaussian(mean=torch.ones(1)).bound(x.domain, x.like)
    assert expect((x**3, x**3), one).item() == pytest.approx(76)


def test_odd_moments_of_a_centred_law_are_zero():
    f, g = bilinear(2, 3, 2), poly("W[out,in0]", W=rand(2, 2))
    assert torch.equal(expect((f, g), Gaussian()), torch.zeros(2, 2, dtype=torch.float64))


def test_pushing_gives_the_exact_mean_and_covariance_of_one_layer():
    f, g = bilinear(3, 4, 2, bias=True), bilinear(3, 5, 3, bias=True)
    args = dict(mean=rand(3), cov=spd(3))
    law = Gaussian(**args).bound(f.domain, f.like).push((f, g))

    def one(x):
        return torch.ones(len(x), 1, dtype=torch.float64)

    means = [second_moment(h, one, 3, 4, **args)[:, 0] for h in (f, g)]
    for side, mean in enumerate(means):
        close_ratio(law.mean_of(side).data, mean)
    for (a, b), (u, v) in {(0, 0): (f, f), (0, 1): (f, g), (1, 1): (g, g)}.items():
        expected = second_moment(u, v, 3, 4, **args) - torch.outer(means[a], means[b])
        close_ratio(law.cov_of(a, b).data, expected)
    assert torch.equal(law.cov_of(0, 0).data, law.cov_of(0, 0).data.T)


@pytest.mark.parametrize(
    "args", [{}, dict(cov=spd(2)), dict(mean=rand(2))], ids=["standard", "covariance", "mean"]
)
def test_a_mean_that_is_zero_is_not_carried_on(args):
    cubic = poly(
        "D[out,h] A[h,in0] B[h,in1] C[h,in2]", D=rand(2, 3), A=rand(3, 2), B=rand(3, 2), C=rand(3, 2)
    )
    odd = {"linear": poly("W[out,in0]", W=rand(2, 2)), "cubic": cubic + poly("W[out,in0]", W=rand(2, 2))}
    even = {"bilinear": bilinear(2, 3, 2), "affine": bilinear(2, 3, 2, bias=True)}
    law = Gaussian(**args).bound(cubic.domain, cubic.like)
    for name, f in (odd | even).items():
        behind = law.push((f, f))
        none = behind.mean_of(0) is None
        assert none == (name in odd and "mean" not in args), name
        mean = second_moment(f, lambda x: torch.ones(len(x), 1, dtype=torch.float64), 2, 4, **args)[:, 0]
        torch.testing.assert_close(torch.zeros(2).double() if none else behind.mean_of(0).data, mean, **TIGHT)


def test_stacked_factors_give_all_pairs():
    nets = [network(1, bias=True, residual=0.5) for _ in range(3)]
    run = stack(nets).collapse()
    full = expect((run, run), Gaussian(), "diagonal")
    assert full.shape == (3, 3, 2)
    for i, a in enumerate(nets):
        for j, b in enumerate(nets):
            pair = expect((a.collapse(), b.collapse()), Gaussian(), "diagonal")
            torch.testing.assert_close(full[i, j], pair, **TIGHT)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(cov=torch.tensor([[1.0, 2.0], [0.0, 1.0]])), "not symmetric"),
        (lambda: Gaussian(cov=torch.tensor([1.0, -1.0])), "negative variance"),
        (lambda: Gaussian(cov=torch.tensor([[1.0, 2.0], [2.0, 1.0]])), "not positive semidefinite: .* -1"),
        (lambda: Gaussian(cov=torch.ones(2, 3)), "for a diagonal covariance"),
        (lambda: Gaussian(mean=torch.tensor([float("nan")])), "not finite"),
        (lambda: Empirical(torch.tensor([[float("inf")]])), "not finite"),
        (lambda: Empirical(torch.zeros(0, 3)), "needs samples"),
        (
            lambda: Gaussian(mean=torch.zeros(4)).bound(space(3), rand(1)),
            r"mean has shape .*4.*input is \(3,\)",
        ),
        (lambda: Gaussian(cov=torch.ones(4)).bound(space(3), rand(1)), r"cov has shape .*4.*input is \(3,\)"),
        (lambda: Empirical(rand(5, 4)).bound(space(3), rand(1)), "samples have shape"),
        (lambda: Symmetric().push(()), "cannot be pushed through a layer"),
    ],
)
def test_bad_laws_are_refused(make, message):
    with pytest.raises(MeasureError, match=message):
        make()
