"""Tensor inner products: legs of one model are closed with legs of the other only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import factorial

from tnsim.algebra.wires import Leg
from tnsim.measure.measure import Closure, Measure

__all__ = ["Frobenius", "Symmetric"]


@dataclass(frozen=True)
class Symmetric(Measure):
    """Inner product of the symmetrised coefficient tensors, degree by degree.

    A polynomial's terms of degree n have one symmetric coefficient tensor between them; this is the sum over n
    of the Frobenius inner products of those tensors: n! closures, each of weight 1/n!. What does not reach the
    output (the antisymmetric part of a weight) does not count. For one bilinear layer it is Σ_k tr(M¹_k M²_k).

    References:
        Tensor similarity, arXiv 2605.15183.
    """

    def closures(
        self, legs: Sequence[Leg], factors: Sequence[int], sides: Sequence[int]
    ) -> Iterator[Closure]:
        """All pairings between the two models."""
        ket, bra = _split(legs, factors)
        if len(ket) == len(bra):
            for order in permutations(bra):
                yield Closure(1 / factorial(len(ket)), _joined(ket, order), (), len(ket))

    def count(self, ket: int, bra: int) -> int:
        """n! for equal degrees, else 0."""
        return factorial(ket) if ket == bra else 0


@dataclass(frozen=True)
class Frobenius(Measure):
    """Inner product of the tensors as they are stored: leg i with leg i.

    It depends on how a function is written down (swapping L and R changes it), so it compares *networks*, not
    functions. Terms of different degree do not meet.
    """

    def closures(
        self, legs: Sequence[Leg], factors: Sequence[int], sides: Sequence[int]
    ) -> Iterator[Closure]:
        """One pairing: leg i with leg i."""
        ket, bra = _split(legs, factors)
        if len(ket) == len(bra):
            yield Closure(1.0, _joined(ket, bra), (), len(ket))

    def count(self, ket: int, bra: int) -> int:
        """1 for equal degrees, else 0."""
        return int(ket == bra)


def _split(legs: Sequence[Leg], factors: Sequence[int]) -> tuple[list[Leg], list[Leg]]:
    ket, bra = ([leg for leg, f in zip(legs, factors, strict=True) if f == factor] for factor in (0, 1))
    return ket, bra


def _joined(ket: Sequence[Leg], bra: Sequence[Leg]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for a, b in zip(ket, bra, strict=True) for pair in zip(a, b, strict=True))
