"""The exact law of hidden states, order by order, against quadrature and dense tensors."""

from dataclasses import replace
from itertools import product
from math import factorial, prod

import pytest
import torch
from oracle import matchings, nodes, second_moment
from zoo import KINDS, network, rand

from tnsim.algebra import Network, poly, stack
from tnsim.algebra.terms.symmetry import fixed, free
from tnsim.measure import Gaussian, Symmetric, expect
from tnsim.measure.chaos.diagram import diagrams
from tnsim.measure.chaos.graded import Graded

DEEP = {
    **{kind: KINDS[kind] for kind in KINDS if kind.startswith("two")},
    "three layers": dict(depth=3, d=2, width=2, hidden=3),
    "three layers, residual and bias": dict(depth=3, d=2, width=2, hidden=2, bias=True, residual=0.5),
}
SPLITS = [frozenset(), frozenset({0, 2, 3}), frozenset(range(17))]  # orders closed from coefficients


def spd(d):
    a = rand(d, d)
    return a @ a.T / d + 0.2 * torch.eye(d, dtype=torch.float64)


LAWS = {
    "standard": lambda d: {},
    "diagonal covariance": lambda d: dict(cov=rand(d) ** 2 + 0.1),
    "mean and covariance": lambda d: dict(mean=rand(d), cov=spd(d)),
}


def carried(nets, law):
    """The last layers, and the law of what they read."""
    first, law = law.bound(nets[0].domain, nets[0].polys[0].like).centred([net.polys[0] for net in nets])
    state = Graded.at_input(law, first)
    for layers in zip(*((f, *net.polys[1:-1]) for f, net in zip(first, nets, strict=True)), strict=True):
        state = state.pushed(layers)
    return [net.polys[-1] for net in nets], state


def close(actual, expected, tolerance=1e-9):
    error = ((actual - expected).abs().max() / expected.abs().max()).item()
    assert error < tolerance, f"off by {error:.1e} of the largest entry"


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", DEEP)
def test_moments_equal_quadrature_however_the_orders_are_closed(kind, law):
    a, b = network(**DEEP[kind]), network(**{**DEEP[kind], "hidden": 2})
    d = a.in_shape[0]
    args = LAWS[law](d)
    factors, state = carried((a, b), Gaussian(**args))
    expected = second_moment(a, b, d, a.degree + b.degree, **args)
    own = second_moment(a, a, d, 2 * a.degree, **args)
    for orders in SPLITS:
        split = replace(state, coefficients=orders)
        close(expect(factors, split), expected)
        close(expect(factors, split, "sum"), expected.trace())
        close(expect([factors[0]] * 2, split, "diagonal", (0, 0)), own.diagonal())


def symmetric(f, g, d, degree):
    """Inner products of symmetrised coefficient tensors, from the coefficients of monomials fitted to values.

    The coefficient of a monomial is one entry of the symmetric tensor times the number of entries equal to it.
    """
    powers = [p for p in product(range(degree + 1), repeat=d) if sum(p) <= degree]
    points = torch.cos(torch.pi * (torch.arange(degree + 2, dtype=torch.float64) + 0.5) / (degree + 2))
    x = torch.cartesian_prod(*[points] * d)
    table = torch.stack([(x ** torch.tensor(p)).prod(1) for p in powers], 1)
    equal = torch.tensor([factorial(sum(p)) / prod(map(factorial, p)) for p in powers]).double()
    c, e = (torch.linalg.lstsq(table, h(x)).solution for h in (f, g))
    return c.T @ (e / equal[:, None])


@pytest.mark.parametrize("kind", DEEP)
def test_symmetric_equals_the_dense_symmetrised_tensors(kind):
    a, b = (network(**DEEP[kind]) for _ in range(2))
    d = a.in_shape[0]
    expected = symmetric(a, b, d, a.degree)
    factors, state = carried((a, b), Symmetric())
    for orders in SPLITS:
        close(expect(factors, replace(state, coefficients=orders)), expected)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", ["two layers", "two layers, bias"])
def test_quadratic_parts_in_factors_equal_those_in_full(kind, law):
    a, b = network(**KINDS[kind]), network(**{**KINDS[kind], "hidden": 2})
    args = LAWS[law](3)
    factors, state = carried((a, b), Gaussian(**args))
    assert all(p.factors is not None for p in state.states.parts)
    expected = second_moment(a, b, 3, 8, **args)
    for flags in product((False, True), repeat=2):
        close(expect(factors, replace(state, factored=flags)), expected)
    factors, state = carried((a, b), Symmetric())
    for flags in product((False, True), repeat=2):
        close(expect(factors, replace(state, factored=flags)), expect(factors, state))


def test_means_and_covariances():
    a, b = (network(**DEEP["two layers, residual and bias"]) for _ in range(2))
    x, w = nodes(3, 8)
    means = [w @ net(x) for net in (a, b)]
    factors, state = carried((a, b), Gaussian())
    assert state.splits
    covariance = second_moment(a, b, 3, 8) - torch.outer(*means)
    for orders in SPLITS:
        split = replace(state, coefficients=orders)
        for side in range(2):
            close(expect((factors[side],), split, sides=(side,)), means[side])
        close(expect(factors, split, connected=True), covariance)


def test_each_order_is_a_part_of_the_whole():
    a, b = (network(**DEEP["two layers, bias"]) for _ in range(2))
    factors, state = carried((a, b), Gaussian())
    for k in range(5):
        one = replace(state, orders=frozenset({k}))
        by_legs, by_coefficients = (
            expect(factors, replace(one, coefficients=frozenset(c))) for c in ((), (k,))
        )
        assert by_legs.abs().max() > 1e-6
        close(by_legs, by_coefficients)


def test_a_run_behind_a_layer_that_differs_from_model_to_model():
    """Their inputs have covariances of their own, so a bond carries the run index of either side."""
    kind = {**KINDS["two layers, bias"], "embed": True, "width": 2}
    runs = [[network(**kind) for _ in range(n)] for n in (2, 3)]
    cov = spd(3)

    def moments(nets, orders):
        law = Gaussian(cov=cov).bound(nets[0].domain, nets[0].polys[0].like)
        law = law.push([net.polys[0] for net in nets])
        factors, law = law.centred([net.polys[1] for net in nets])
        state = Graded.at_input(law, factors).pushed(factors)
        last = [net.polys[2] for net in nets]
        assert torch.allclose(expect(last, replace(state, factored=(True, True))), expect(last, state))
        return expect(last, replace(state, coefficients=orders))

    for orders in SPLITS:
        got = moments([stack(nets) for nets in runs], orders)
        for (i, a), (j, b) in product(enumerate(runs[0]), enumerate(runs[1])):
            close(got[i, j], second_moment(a, b, 3, 8, cov=cov))


def test_diagrams_stand_for_all_pairings_that_join_no_part_with_itself():
    orders, owner = (2, 3, 1, 2), (0, 0, 0, 0, 0, 1, 1, 1)
    part = [i for i, k in enumerate(orders) for _ in range(k)]
    expected = {}
    for pairs in matchings(tuple(range(8))):
        if all(part[i] != part[j] for i, j in pairs):
            k = sum(owner[i] != owner[j] for i, j in pairs)
            expected[k] = expected.get(k, 0) + 1
    found = {}
    for d in diagrams((fixed(2), fixed(2)), ((2, 3), (1, 2)), True, frozenset(range(9))):
        if d.orders == orders:
            found[d.crossings] = found.get(d.crossings, 0) + d.weight
    assert found == expected


def test_exchanges_merge_diagrams_and_keep_their_number():
    def total(tree, exchange=False):
        found = diagrams((tree, tree), ((0, 1, 2),) * 2, True, frozenset(range(5)), exchange=exchange)
        return len(found), sum(d.weight for d in found)

    plain, merged, exchanged = total(fixed(2)), total(free(2)), total(free(2), exchange=True)
    assert plain[1] == merged[1] == exchanged[1]
    assert plain[0] > merged[0] > exchanged[0]


@pytest.mark.parametrize("law", [Gaussian(), Symmetric()])
@pytest.mark.parametrize("depth", [2, 3])
def test_gradients_equal_finite_differences(depth, law):
    def product(*weights):
        layers = [poly("D[out,hid] L[hid,in0] R[hid,in1]", D=d, L=w, R=w[[1, 0]]) for d, w in pairs(weights)]
        net = Network(tuple((f"{i}", f) for i, f in enumerate(layers)))
        factors, state = carried((net, other), law)
        return expect(factors, replace(state, coefficients=frozenset({2, 4})), "sum")

    def pairs(weights):
        return list(zip(weights[::2], weights[1::2], strict=True))

    other = network(depth, d=2, width=2, hidden=2)
    weights = [rand(2, 2).requires_grad_() for _ in range(2 * depth)]
    assert torch.autograd.gradcheck(product, weights)
