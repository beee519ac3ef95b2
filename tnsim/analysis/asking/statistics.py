"""Statistics: what is averaged over draws for a question about two models, and what is made of the averages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tnsim.sampling.run import Ask, Means

__all__ = ["COSINE", "INNER", "MOMENTS", "Of", "Statistic", "cosines", "gram_of", "index_of"]

Of = Callable[[Means], Any]


@dataclass(frozen=True)
class Statistic:
    """A question to draws.

    Attributes:
        name: for messages.
        sums: x, weights and outputs of the models to what is added up over draws; see :class:`Asked`.
        of: averages to the answer, in units of the models.
        unit: averages to the number that an error is a share of.
        size: with which power of either model's size the answer grows.
        narrow: whether only inner products of outputs matter.
    """

    name: str
    sums: Ask
    of: Of
    unit: Of
    size: int = 0
    narrow: bool = True

    @property
    def asked(self) -> tuple[str, Ask, Of, Of]:
        """Its name, what is added up, what is made of it, and in which unit."""
        return self.name, self.sums, self.of, self.unit


def _products(x: torch.Tensor, weights: torch.Tensor, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Σ w ⟨a, b⟩, Σ w ⟨a, a⟩ and Σ w ⟨b, b⟩."""
    a, b = (v.reshape(len(v), -1) for v in values)
    return [torch.stack([weights @ (f * g).sum(1) for f, g in ((a, b), (a, a), (b, b))])]


def _cosine(means: Means) -> torch.Tensor:
    ab, aa, bb = means[0].unbind(-1)
    return ab / _root(aa, bb)


def _root(aa: torch.Tensor, bb: torch.Tensor) -> torch.Tensor:
    """√(aa · bb), exact where both are the same number, and in range where the product is not."""
    least = torch.finfo(aa.dtype).tiny
    s, t = (torch.exp2(torch.floor(torch.log2(x.clamp_min(least)) / 2)) for x in (aa, bb))
    return (aa / s / s * (bb / t / t)).sqrt() * s * t


def _one(means: Means) -> float:
    return 1.0


COSINE = Statistic("this similarity", _products, _cosine, _one)
INNER = Statistic(
    "this inner product", _products, lambda means: means[0][0], lambda means: _root(*means[0][1:]), 1
)


def _outer(x: torch.Tensor, weights: torch.Tensor, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Σ w a bᵀ, and Σ w |a|² and Σ w |b|²."""
    a, b = (v.reshape(len(v), -1) for v in values)
    shape = (*values[0].shape[1:], *values[1].shape[1:])
    own = torch.stack([weights @ f.square().sum(1) for f in (a, b)])
    return [((a.T * weights) @ b).reshape(shape), own]


MOMENTS = Statistic(
    "these moments", _outer, lambda means: means[0], lambda means: _root(*means[1]), 1, narrow=False
)


def index_of(name: str, of: Callable[..., torch.Tensor], centred: bool) -> Statistic:
    """An index made of the second moments of two models' outputs, or of their covariances.

    Args:
        name: for messages.
        of: M_ab, M_aa and M_bb, scaled to traces of one, to the index.
        centred: whether means are subtracted.
    """

    def sums(x: torch.Tensor, weights: torch.Tensor, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        a, b = (v.reshape(len(v), -1) for v in values)
        pairs = [(f.T * weights) @ g for f, g in ((a, b), (a, a), (b, b))]
        return [*pairs, *(weights @ f for f in (a, b))]

    def index(means: Means) -> torch.Tensor:
        ab, aa, bb, a, b = means
        if centred:
            ab, aa, bb = ab - torch.outer(a, b), aa - torch.outer(a, a), bb - torch.outer(b, b)
        left, right = (m.diagonal().sum() for m in (aa, bb))
        return of(ab / _root(left, right), aa / left, bb / right)

    return Statistic(name, sums, index, _one)


def gram_of(slices: bool) -> Statistic:
    """All inner products of several models, and what their cosines are.

    Args:
        slices: of every output apart: shape ``(n_out, N, N)`` instead of ``(1, N, N)``.
    """

    def sums(x: torch.Tensor, weights: torch.Tensor, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        f = torch.stack([v.reshape(len(v), -1) for v in values])  # (N, draws, out)
        if slices:
            f = f.permute(2, 0, 1)
            return [(f * weights) @ f.mT]
        rows = (f * weights[:, None]).flatten(1)
        return [(rows @ f.flatten(1).T)[None]]

    return Statistic("this Gram matrix", sums, lambda means: cosines(means[0].sum(0)), _one)


def cosines(g: torch.Tensor) -> torch.Tensor:
    """Of inner products; those with a zero function are zero."""
    norms = g.diagonal()
    some = norms > 0
    unit = torch.where(some, norms, 1.0)
    return torch.where(some[:, None] & some, g / _root(unit[:, None], unit), 0.0)
