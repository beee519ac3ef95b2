from itertools import product
from math import factorial, prod

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermeval
from oracle import nodes
from zoo import KINDS, bilinear, network, rand

import tnsim
from tnsim.algebra import CostError, Network, stack
from tnsim.analysis.compare.degrees import orders
from tnsim.measure import Empirical, Gaussian, MeasureError, Symmetric

CLOSE = dict(rtol=1e-9, atol=1e-9)
LAWS = {
    "standard": {},
    "mean": dict(mean=rand(2, seed=1)),
    "diagonal covariance": dict(cov=rand(2, seed=2) ** 2 + 0.1),
    "mean and covariance": dict(mean=rand(2, seed=3), cov=torch.tensor([[1.0, 0.6], [0.6, 0.8]]).double()),
}


def coefficients(f, d, degree, mean=None, cov=None):
    """E[f(x) h_α(z)] for the orthonormal Hermite polynomials h_α of the whitened input z; α → shape (o,)."""
    z, w = nodes(d, 2 * degree)
    x, _ = nodes(d, 2 * degree, mean, cov)
    values, found = f(x), {}
    for alpha in product(range(degree + 1), repeat=d):
        if sum(alpha) <= degree:
            columns = [
                hermeval(z[:, i].numpy(), np.eye(degree + 1)[n]) / factorial(n) ** 0.5
                for i, n in enumerate(alpha)
            ]
            found[alpha] = (w * torch.as_tensor(prod(columns))) @ values
    return found


def by_projection(f, g, d, degree, keep=slice(None), **law):
    u, v = (coefficients(h, d, degree, **law) for h in (f, g))
    result = torch.zeros(degree + 1, dtype=torch.float64)
    for alpha in u:
        result[sum(alpha)] += (u[alpha][keep] * v[alpha][keep]).sum()
    return result


def close(actual, expected, tolerance=1e-9):
    error = ((actual - expected).abs().max() / expected.abs().max()).item()
    assert error < tolerance, f"off by {error:.1e} of the largest order"


def pair(kind, d=2):
    return tuple(network(**{**KINDS[kind], "d": d, "width": 2, "hidden": h}) for h in (3, 4))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", KINDS)
def test_equal_the_projection_on_hermite_polynomials(kind, law):
    a, b = pair(kind)
    args = LAWS[law]
    degree = a.degree
    got = orders(a, b, under=Gaussian(**args))
    assert got.shape == (degree + 1,)
    close(got, by_projection(a, b, 2, degree, **args))
    close(got.sum(), tnsim.inner(a, b, under=Gaussian(**args)))
    close(orders(a, under=Gaussian(**args)), by_projection(a, a, 2, degree, **args))


@pytest.mark.parametrize("d", [1, 2])
def test_degree_eight(d):
    a, b = (network(3, d=d, width=2, hidden=2) for _ in range(2))
    close(orders(a, b), by_projection(a, b, d, 8))


def test_the_order_survives_affine_layers_that_are_pushed_through():
    a, b = (network(1, d=3, width=2, embed=True, bias=True) for _ in range(2))
    cov = torch.diag(torch.tensor([0.5, 1.0, 2.0])).double()
    cov[0, 1] = cov[1, 0] = 0.3
    args = dict(mean=rand(3), cov=cov)
    close(orders(a, b, under=Gaussian(**args)), by_projection(a, b, 3, 2, **args))


def test_constant_order_is_the_product_of_means_and_the_rest_the_covariance():
    a, b = pair("two layers, residual and bias")
    x, w = nodes(2, 8)
    means = w @ a(x), w @ b(x)
    got = orders(a, b)
    torch.testing.assert_close(got[0], means[0] @ means[1], **CLOSE)
    covariance = w @ ((a(x) - means[0]) * (b(x) - means[1])).sum(1)
    torch.testing.assert_close(got[1:].sum(), covariance, **CLOSE)


@pytest.mark.parametrize("depth", [1, 2])
def test_the_top_order_of_a_homogeneous_pair_is_the_symmetric_inner_product(depth):
    a, b = (network(depth, d=3) for _ in range(2))
    n = 2**depth
    got = orders(a, b)
    torch.testing.assert_close(got[n], factorial(n) * tnsim.inner(a, b, under=Symmetric()), **CLOSE)
    assert got[1::2].abs().max() == 0  # even functions have no odd orders


def test_a_power_spectrum_is_not_negative():
    for kind in KINDS:
        a = network(**KINDS[kind])
        assert (orders(a) > -1e-12 * tnsim.inner(a)).all()


def test_symmetric_and_bounded_order_by_order():
    a, b = pair("two layers, residual and bias")
    ab = orders(a, b)
    torch.testing.assert_close(ab, orders(b, a), **CLOSE)
    assert (ab.abs() <= (orders(a) * orders(b)).sqrt() * (1 + 1e-9) + 1e-12).all()


def test_one_output_or_a_slice():
    a, b = pair("two layers, bias")
    close(orders(a, b, output=1), by_projection(a, b, 2, 4, keep=slice(1, 2)))
    close(orders(a, b, output=slice(0, 1)) + orders(a, b, output=1), orders(a, b))


def test_models_of_different_degree_share_the_lower_orders():
    a, b = network(2, d=2, width=2, bias=True), network(1, d=2, bias=True)
    got = orders(a, b)
    assert got.shape == (3,)
    expected = by_projection(a, b, 2, 4)
    close(got, expected[:3])
    assert expected[3:].abs().max() < 1e-9 * expected.abs().max()


def test_stacked_networks_put_their_run_axes_in_front():
    run = [network(1, bias=True) for _ in range(3)]
    b = network(1, bias=True)
    table = orders(stack(run), stack([b, run[0]]))
    assert table.shape == (3, 2, 3)
    spectra = orders(stack(run))
    assert spectra.shape == (3, 3)
    for i, a in enumerate(run):
        torch.testing.assert_close(table[i, 0], orders(a, b), **CLOSE)
        torch.testing.assert_close(table[i, 1], orders(a, run[0]), **CLOSE)
        torch.testing.assert_close(spectra[i], orders(a), **CLOSE)


def test_gradients_flow_into_every_order():
    module = tnsim.nn.BilinearLayer(3, 4, 2)
    got = orders(module)
    for k in (0, 2):
        (grad,) = torch.autograd.grad(got[k], module.l.weight, retain_graph=True)
        assert grad.abs().max() > 0


def test_polynomials_are_accepted():
    f = bilinear(2, 3, 2, bias=True)
    torch.testing.assert_close(orders(f), orders(Network((("f", f),))), **CLOSE)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: orders(network(1), under=Symmetric()),
            MeasureError,
            "those of a Gaussian law; got Symmetric",
        ),
        (lambda: orders(network(1), under=Empirical(rand(4, 3))), MeasureError, "those of a Gaussian law"),
        (lambda: orders(network(1), network(1, out=3)), ValueError, "needs the same outputs"),
        (lambda: orders(network(1), network(1, d=4)), ValueError, "has input"),
        (lambda: orders("a"), TypeError, "a is a str"),
        (lambda: orders(network(1), budget=10), CostError, "orders of interaction takes"),
        (lambda: orders(network(4), budget=1e5), CostError, "orders of interaction takes"),
        (lambda: orders(network(1), output=2), IndexError, "output 2 of 2"),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
