"""Segment: a run cut into phases by optimal change points."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np

from tnsim.analysis.asking.problem import Model, is_models
from tnsim.analysis.asking.questions import question
from tnsim.analysis.grams.grams import Gram, gram
from tnsim.common.values import numbers

__all__ = ["Phases", "segment"]

Array = Any


@dataclass(frozen=True)
class Phases:
    """A run in contiguous phases: the result of :func:`segment`.

    Attributes:
        boundaries: where phases 2, 3, … begin, as :func:`tnsim.heatmap` takes them.
        cost: Σ over phases of Σ_{i,j in the phase} (1 − s_ij) / 2.
        labels: those of the models.

    Example:
        >>> import torch, tnsim
        >>> a, b = tnsim.nn.BilinearLayer(4, 8, 3), tnsim.nn.BilinearLayer(4, 8, 3)
        >>> phases = tnsim.segment(tnsim.gram([a, a, a, b, b], progress=False), 2)
        >>> phases.boundaries
        (3,)
    """

    boundaries: tuple[int, ...]
    cost: float
    labels: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.boundaries) + 1

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """First position and one past the last of every phase."""
        return tuple(pairwise((0, *self.boundaries, len(self.labels))))

    def __repr__(self) -> str:
        spans = ", ".join(f"{self.labels[i]}–{self.labels[j - 1]}" for i, j in self.spans)
        return f"Phases({spans}; cost {self.cost:.4g})"


@question
def segment(run: Gram | Array | Sequence[Model], k: int, *, output: int | None = None) -> Phases:
    """Cut a run into k phases within which the models are most alike. Optimal, by dynamic programming.

    Minimises Σ_phases Σ_{i,j in the phase} (1 − s_ij) / 2 over all ways of cutting the run into k contiguous
    phases, where s is the similarity. The cost of a phase comes from a table of sums, so it takes O(k N²) steps.
    More phases never cost more; where the cost stops falling steeply, there are enough.

    Args:
        run: :func:`tnsim.gram` of the checkpoints in order, or a matrix of similarities, shape ``(N, N)``; or the
            checkpoints themselves, such as :func:`tnsim.checkpoints`, whose Gram matrix is then computed exactly under
            the standard normal law.
        k: how many phases.
        output: with a Gram matrix: one output; all by default.

    Returns:
        The phases. Of equally good ones, those that begin earliest.

    Raises:
        ValueError: if there are fewer than k models, or the matrix is not square, finite and symmetric.

    References:
        Bellman, On the approximation of curves by line segments using dynamic programming (1961).

    Example:
        >>> import numpy as np
        >>> s = np.kron(np.eye(2), np.ones((3, 3)))  # two blocks of three
        >>> segment(s, 2)
        Phases(0–2, 3–5; cost 0)
    """
    labels: tuple[Any, ...]
    if is_models(run):
        run = gram(cast(Sequence[Model], run), slices=output is not None)
    if isinstance(run, Gram):
        matrix, labels = run.similarity(output), run.labels
    else:
        if output is not None:
            raise ValueError(
                "output= goes with a Gram matrix; pass gram.similarity(output) or the Gram itself."
            )
        matrix, labels = run, tuple(range(len(run)))
    s = numbers(matrix).astype(float)
    n = len(labels)
    if not np.isfinite(s).all():
        raise ValueError("segment needs similarities that are finite; some model is zero.")
    if not 1 <= k <= n:
        raise ValueError(f"{n} models cannot be cut into {k} phases; write 1 to {n}.")
    return Phases(*_best(_within((1 - s) / 2), k), labels)


def _within(d: np.ndarray) -> np.ndarray:
    """cost[i, j]: the sum of d over rows and columns i … j − 1, for i < j."""
    table = np.zeros((len(d) + 1,) * 2)
    table[1:, 1:] = d.cumsum(0).cumsum(1)
    corner = table.diagonal()
    return corner[None, :] - table - table.T + corner[:, None]


def _best(cost: np.ndarray, k: int) -> tuple[tuple[int, ...], float]:
    """The boundaries of the k cheapest phases, and their cost."""
    n = len(cost) - 1
    best = cost[0].copy()  # of the first j models in one phase
    best[0] = np.inf
    origins = []
    for _ in range(k - 1):
        through = best[:, None] + np.where(np.arange(n + 1)[:, None] < np.arange(n + 1), cost, np.inf)
        origins.append(through.argmin(0))
        best = through.min(0)
    boundaries: list[int] = []
    at = n
    for origin in reversed(origins):
        at = int(origin[at])
        boundaries.insert(0, at)
    return tuple(boundaries), float(best[n])
