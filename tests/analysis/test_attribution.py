import pytest
import torch
from oracle import nodes
from zoo import KINDS, network, rand

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
    with pytest.raises(ValueError, match='write "outputs" or "inputs"'):
        tnsim.attribute(a, a, to="heads")
    with pytest.raises(ValueError, match='goes with to="inputs"'):
        tnsim.attribute(a, a, to="outputs", output=1)
