"""Pairs: one block of a Gram matrix, priced for models of some structure, and what either side of it decides alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import autoray as ar

from tnsim.algebra.networks.network import Network
from tnsim.analysis.asking.problem import Method, Problem, hidden_laws
from tnsim.analysis.tracing.recipes import Answer, Stages, answer
from tnsim.measure.pairings.measure import Measure
from tnsim.measure.pairings.outputs import Keep

__all__ = ["How", "Pair", "own_laws"]

Array = Any
How = tuple[Method, Keep]


@dataclass(frozen=True, eq=False)
class Pair:
    """A block: two stacks of models, or one with itself.

    Attributes:
        own: the laws of the hidden states of the first.
        block: the inner products and their units, shape ``(P, Q, n_out + 2)``.
        given: outlines of what the block is made of.
    """

    own: Answer
    block: Answer
    given: tuple[Any, ...]

    @classmethod
    def of(
        cls,
        nets: tuple[Network, Network],
        law: Measure,
        how: How,
        laws: tuple[Answer, Any],
        other: Any,
        budget: float,
    ) -> "Pair":
        """A block; ``laws`` are the answer for those of the first and their outline, ``other`` those of the second."""
        given = _given(nets, (laws[1], other), law, how)
        return cls(laws[0], answer(_block, given, budget), given)

    @cached_property
    def stages(self) -> Stages | None:
        """The block in stages, where it is one of two stacks: what either decides alone, and the rest."""
        nets, laws, law, _ = self.given
        if len(nets) < 2 or nets[0] is nets[1]:
            return None
        parts = ((net, known, law) for net, known in zip(nets, laws, strict=True))
        stages = self.block.split(self.given, *parts)
        return stages if stages is not None and any(piece.results for piece in stages.pieces) else None


def own_laws(net: Network, law: Measure, method: Method) -> list[Measure]:
    """What every pair with these models shares."""
    return hidden_laws(net, law, "diagonal") if method == "layerwise" else []


def _given(
    nets: tuple[Network, Network], laws: tuple[list[Measure], list[Measure]], law: Measure, how: How
) -> tuple[Any, ...]:
    """What a block is made of: a pair, or the first alone where it is a single model with itself."""
    one = nets[0] is nets[1] and not nets[0].models
    return (nets[:1], laws[:1], law, how) if one else (nets, laws, law, how)


def _block(nets: Sequence[Network], laws: Sequence[Sequence[Measure]], law: Measure, how: How) -> Array:
    """Inner products of two stacks, or of a single model with itself, and exponents of both, ``(P, Q, n_out + 2)``."""
    method, keep = how
    problem = Problem.of(nets, law, method, laws, keep)
    rows, columns = nets[0].models or 1, nets[-1].models or 1
    product = ar.do("reshape", problem.product(0, len(nets) - 1, keep).mantissa, (rows, columns, -1))
    blank = ar.do("zeros", (rows, columns, 1), like=product)
    ends = ((0, (-1, 1, 1)), (len(nets) - 1, (1, -1, 1)))
    mine, other = (ar.do("reshape", problem.units[k], x) if problem.units else blank for k, x in ends)
    return ar.do("concatenate", (product, blank + mine, blank + other), axis=2)
