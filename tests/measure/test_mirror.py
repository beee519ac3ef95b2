"""A network that is its own mirror image is contracted by halves, with the same value."""

from dataclasses import replace

import pytest
import quimb.tensor as qtn
import torch
from oracle import second_moment
from zoo import network, rand

from tnsim.analysis.asking.problem import Problem
from tnsim.engine.contract import Contraction
from tnsim.measure import Symmetric, expect
from tnsim.measure.pairings import mirrors as mirror
from tnsim.measure.pairings.expectation import plan


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(mirror, "_DEAR", 0.0)
    monkeypatch.setattr(mirror, "_WORTH", 1e9)


def ring(second=None):
    """Σ A[i,a,b] B[i,c,d] A[j,a,c] B[j,b,d], with i on the ket's side and j on the bra's."""
    a, b = rand(5, 3, 3), rand(5, 3, 3)
    legs = [("ket/i:h", "a", "b"), ("ket/i:h", "c", "d"), ("bra/i:h", "a", "c"), ("bra/i:h", "b", "d")]
    arrays = (a, b, a if second is None else second, b)
    return Contraction(tuple(qtn.Tensor(x, inds) for x, inds in zip(arrays, legs, strict=True)), ())


def test_the_mirror_exchanges_ket_and_bra_and_what_hangs_between_them():
    found = mirror.mirror(ring())
    assert found["ket/i:h"] == "bra/i:h" and found["b"] == "c"
    assert all(found[found[ix]] == ix for ix in found)


def test_other_arrays_have_no_mirror_image(always):
    c = ring(rand(5, 3, 3))
    assert mirror.mirror(c) is None
    assert list(mirror.halved(c)) == [c]


def test_a_kept_index_must_stay_in_place(always):
    c = ring()
    kept = Contraction(c.tensors, ("ket/i:h",))
    assert mirror.mirror(kept) is None
    assert mirror.mirror(Contraction(c.tensors, ("a",))) is not None


def test_halves_have_the_sum_of_the_whole(always):
    c = Contraction(ring().tensors, (), weight=0.3)
    halves = list(mirror.halved(c))
    assert len(halves) in (6, 10)  # of 9 pairs of blocks of b and c, or 16 of the two i
    assert {x.weight for x in halves} == {0.3, 0.6}
    torch.testing.assert_close(sum(x.value() for x in halves), c.value())


def test_small_networks_stay_whole():
    c = ring()
    assert list(mirror.halved(c)) == [c]


@pytest.mark.parametrize("keep", ["sum", "diagonal"])
def test_squared_norms_by_halves_equal_quadrature(always, keep):
    a = network(3, d=2, width=2, hidden=4)
    problem = Problem.of((a, a), None, "exact")
    law = replace(problem.law, coefficients=frozenset())  # every order leg by leg
    pair = [problem.factors[0]] * 2
    weights = [c.weight for c in plan(pair, law, keep, (0, 0))]
    assert len(weights) > 3 * len(set(weights)), "nothing was cut"
    expected = second_moment(a, a, 2, 16).diagonal()
    got = expect(pair, law, keep, (0, 0))
    torch.testing.assert_close(
        got, expected if keep == "diagonal" else expected.sum(), rtol=1e-10, atol=1e-10
    )


def test_symmetric_norms_by_halves(always):
    a = network(3, d=2, width=2, hidden=4)
    problem = Problem.of((a, a), Symmetric(), "exact")
    pair = [problem.factors[0]] * 2
    halves = expect(pair, problem.law, "sum", (0, 0))
    other = expect(pair, problem.law, "all", (0, 0)).trace()  # no exchange of the factors is made use of
    torch.testing.assert_close(halves, other, rtol=1e-12, atol=0)
