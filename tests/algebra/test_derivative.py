import pytest
import torch
from zoo import KINDS, network, rand

from tnsim.algebra import Network, identity, poly, stack
from tnsim.algebra.networks.subtraction import fuse, subtract
from tnsim.algebra.polys.derivative import jacobian, openings
from tnsim.algebra.polys.symmetrising import check_symmetry, symmetrise
from tnsim.algebra.terms.symmetry import Branch, free


def by_autodiff(f, x):
    return torch.func.vmap(torch.func.jacrev(lambda y: f(y[None])[0]))(x)


@pytest.mark.parametrize("form", ["polarised", "dense", None])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_automatic_differentiation(kind, form):
    net, x = network(**KINDS[kind]), rand(5, 3)
    whole = Network(tuple((n, symmetrise(f, form) if form else f) for n, f in net.layers)).collapse()
    jac = jacobian(whole)
    torch.testing.assert_close(jac(x), by_autodiff(net, x), rtol=1e-10, atol=1e-11)
    assert jac.codomain == (("d", 2 if net.codomain[0][1] == 2 else 3), ("gd", 3))
    for t in jac.terms:
        check_symmetry(t)


def test_legs_that_may_be_exchanged_are_opened_once():
    deep = Branch((free(2), Branch((2, 3), free=True)), free=True)
    assert [(leg, count) for leg, count, _ in openings(deep)] == [(0, 4)]
    net = network(2)
    whole = Network(tuple((n, symmetrise(f)) for n, f in net.layers)).collapse()
    assert len(jacobian(whole).terms) == 1 and len(jacobian(net.collapse()).terms) == 4


def test_legs_that_share_an_index_are_opened_apart():
    """Two legs at one position: x[s]·x[s], and a mask over positions."""
    f = poly("M[out,s] A[s,hid,in0@s] B[s,hid,in1@s]", M=rand(2, 4), A=rand(4, 5, 3), B=rand(4, 5, 3))
    x = rand(6, 4, 3)
    torch.testing.assert_close(jacobian(f)(x), by_autodiff(f, x))


def test_of_a_constant_and_of_the_identity():
    f = identity((("d", 3),), rand(1)) + rand(3)
    torch.testing.assert_close(jacobian(f)(rand(4, 3)), torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
    constant = jacobian(jacobian(f))
    assert not constant(rand(4, 3)).any()


def test_a_run_has_its_axis_in_front():
    nets = [network(2, residual=0.5) for _ in range(3)]
    x = rand(4, 3)
    both = jacobian(stack(nets).collapse())(x)
    torch.testing.assert_close(both, torch.stack([by_autodiff(net, x) for net in nets]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_difference_is_one_network(kind):
    a, b, x = network(**KINDS[kind]), network(**KINDS[kind]), rand(5, 3)
    both = subtract(a, b)
    torch.testing.assert_close(both(x), a(x) - b(x), rtol=1e-11, atol=1e-12)
    assert [len(f.terms) for f in both.polys] == [len(f.terms) for f in a.polys]  # one term for each degree


def test_depths_and_widths_may_differ_and_runs_are_subtracted_in_pairs():
    run = [network(2, hidden=5) for _ in range(3)]
    b, x = network(1, hidden=7), rand(5, 3)
    torch.testing.assert_close(subtract(stack(run), b)(x), torch.stack([a(x) - b(x) for a in run]))
    torch.testing.assert_close(subtract(b, stack(run))(x), torch.stack([b(x) - a(x) for a in run]))
    other = [network(2, hidden=4) for _ in range(3)]
    pairs = torch.stack([a(x) - b(x) for a, b in zip(run, other, strict=True)])
    torch.testing.assert_close(subtract(stack(run), stack(other))(x), pairs)


def test_fusing_multiplies_linear_maps_into_a_layer():
    f = poly("D[out,hid] L[hid,in0] R[hid,in1]", D=rand(2, 4), L=rand(4, 6), R=rand(4, 6))
    inside, outside = poly("V[out,in0]", V=rand(6, 3)), poly("W[out,in0]", W=rand(5, 2))
    g, x = fuse(outside @ f @ inside), rand(7, 3)
    assert [t.shape for t in g.terms[0].tensors] == [(5, 4), (4, 3), (4, 3)]
    torch.testing.assert_close(g(x), outside(f(inside(x))))


@pytest.mark.parametrize("kind", KINDS)
def test_fusing_changes_the_form_and_not_the_function(kind):
    f, x = network(**KINDS[kind]).polys[0], rand(4, 3)
    for g in (f, f[1], f + f @ f @ f if f.in_shape == f.out_shape else f + f):
        torch.testing.assert_close(fuse(g)(x), g(x), rtol=1e-10, atol=1e-10)
