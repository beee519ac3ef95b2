"""What is asked of products of links: expectations of terms and of pairs of terms."""

from collections.abc import Sequence
from dataclasses import dataclass

from tnsim.measure.attention.links.batch import Linked
from tnsim.measure.pairings.outputs import Keep, each_axis

__all__ = ["Expected", "distinct", "shared_outputs"]


@dataclass(frozen=True, eq=False)
class Expected:
    """An expectation of the links of one term, or of two.

    Attributes:
        f: a term.
        g: another; ``None`` for the mean of the first.
        mirrored: the two are one and the same, so half of the products tell the other half.
    """

    f: Linked
    g: Linked | None
    mirrored: bool = False

    @property
    def terms(self) -> list[Linked]:
        """The factors."""
        return [self.f] if self.g is None else [self.f, self.g]

    @property
    def combinations(self) -> int:
        """How many models, or pairs of models."""
        f, g = self.f, self.g
        return (f.models or 1) * (1 if g is None or f.side == g.side else g.models or 1)


def distinct(asked: Sequence[Expected], k: int) -> list[Linked]:
    """The terms that are the k-th factors, each once."""
    return list({id(t): t for t in (one.terms[k] for one in asked)}.values())


def shared_outputs(f: Linked, g: Linked, keep: Keep) -> list[tuple[str, str]]:
    """Outputs of which only equal ones are kept, and that number products of both."""
    kept = each_axis(keep, len(f.term.out))
    pairs = zip(f.term.out, g.term.out, kept, strict=False)
    return [(a, b) for a, b, k in pairs if k != "all" and a in f.kept and b in g.kept]
