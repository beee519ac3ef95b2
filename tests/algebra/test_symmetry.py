"""Declared symmetries are verified numerically."""

from dataclasses import replace
from functools import reduce

import pytest
import torch
from zoo import KINDS, bilinear, network, rand

from tnsim.algebra import poly, stack
from tnsim.algebra.polys.symmetrising import SymmetryError, check_symmetry, symmetrise
from tnsim.algebra.terms.symmetry import free

close = torch.testing.assert_close


@pytest.mark.parametrize("kind", KINDS)
def test_symmetrising_changes_the_form_and_not_the_function(kind):
    net = network(**KINDS[kind])
    x = rand(5, 3)
    for _, f in net:
        g = symmetrise(f)
        y = rand(5, f.in_shape[0])
        close(g(y), f(y))
        assert all(t.tree.free for t in g.terms if t.degree == 2)
    whole = reduce(lambda inner, f: symmetrise(f) @ inner, net.polys[1:], symmetrise(net[0]))
    close(whole(x), net(x))
    for t in whole.terms:
        check_symmetry(t)


def test_symmetric_layers_compose_to_fewer_terms():
    net = network(2, residual=0.5, bias=True)
    f, g = net[0], net[1]
    assert len((symmetrise(g) @ symmetrise(f)).terms) < len((g @ f).terms)


def test_a_stack_is_symmetrised_as_its_models_are():
    nets = [network(1, bias=True) for _ in range(3)]
    x = rand(4, 3)
    close(symmetrise(stack(nets)[0])(x), torch.stack([net(x) for net in nets]))


def test_a_wrong_declaration_is_found():
    t = bilinear(3, 4, 2).terms[0]
    check_symmetry(t)
    with pytest.raises(SymmetryError, match=r"the declared leg symmetry \(1 0\) changes the value by \d+%"):
        check_symmetry(replace(t, symmetry=free(2)))


def test_powers_are_symmetric_by_construction():
    f = poly("W[out,in0]", W=rand(3, 3))
    for g in (f * f, (f * f) @ (f * f), (f**3)):
        for t in g.terms:
            check_symmetry(t)
    assert (f * f).terms[0].tree.free


def test_polarising_leaves_other_terms_alone():
    f = poly("W[out,in0]", W=rand(3, 3))
    g = bilinear(3, 4, 3) @ bilinear(3, 4, 3)
    for h in (f, g):
        assert symmetrise(h).terms[0] is h.terms[0]
