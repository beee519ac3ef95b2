"""Tensor inner products: legs of one model are closed with legs of the other only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import factorial
from typing import ClassVar

from tnsim.algebra.terms.term import Term
from tnsim.measure.pairings.measure import Bridge, Closure, Measure
from tnsim.measure.pairings.orbit import count_pairings, pairings_of

__all__ = ["Frobenius", "Symmetric"]


@dataclass(frozen=True)
class Symmetric(Measure):
    """Inner product of the symmetrised coefficient tensors, degree by degree.

    A polynomial's terms of degree n have one symmetric coefficient tensor between them; this is the sum over n
    of the Frobenius inner products of those tensors: n! closures, each of weight 1/n!. What does not reach the
    output (the antisymmetric part of a weight) does not count. For one bilinear layer it is Σ_k tr(M¹_k M²_k).

    References:
        Tensor similarity, arXiv 2605.15183.

    Example:
        >>> import torch, tnsim
        >>> one = torch.ones(1, 1)
        >>> square = tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=one, L=one, R=one)
        >>> [tnsim.inner(square, under=law).item() for law in (tnsim.Symmetric(), tnsim.Gaussian())]
        [1.0, 3.0]
    """

    within = False

    def closures(
        self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False
    ) -> Iterator[Closure]:
        """Pairings between the two factors, up to exchanges."""
        if _same_degree(factors):
            for weight, pairs, _ in pairings_of(factors, across=True, exchange=exchange):
                yield Closure(weight / factorial(factors[0].degree), tuple(_wire(factors, *p) for p in pairs))

    def count(self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False) -> int:
        """At most n! for equal degrees n, else 0."""
        return count_pairings(factors, across=True, exchange=exchange) if _same_degree(factors) else 0


@dataclass(frozen=True)
class Frobenius(Measure):
    """Inner product of the tensors as they are stored: leg i with leg i.

    It depends on how a function is written down (swapping L and R changes it), so it compares *networks*, not
    functions. Terms of different degree do not meet.

    Example:
        >>> import torch, tnsim
        >>> L, R = torch.eye(2)[:1], torch.eye(2)[1:]
        >>> f = tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=torch.ones(1, 1), L=L, R=R)
        >>> g = tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=torch.ones(1, 1), L=R, R=L)  # the same function
        >>> [tnsim.similarity(f, g, under=law).item() for law in (tnsim.Frobenius(), tnsim.Symmetric())]
        [0.0, 1.0]
    """

    as_functions: ClassVar[bool] = False

    def closures(
        self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False
    ) -> Iterator[Closure]:
        """One pairing: leg i with leg i."""
        if _same_degree(factors):
            pairs = (((0, k), (1, k)) for k in range(factors[0].degree))
            yield Closure(1.0, tuple(_wire(factors, *p) for p in pairs))

    def count(self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False) -> int:
        """1 for equal degrees, else 0."""
        return int(_same_degree(factors))


def _same_degree(factors: Sequence[Term]) -> bool:
    return len(factors) == 2 and factors[0].degree == factors[1].degree


def _wire(factors: Sequence[Term], p: tuple[int, int], q: tuple[int, int]) -> Bridge:
    left, right = (factors[f].legs[k] for f, k in (p, q))
    return Bridge((p, q), tuple(zip(left, right, strict=True)))
