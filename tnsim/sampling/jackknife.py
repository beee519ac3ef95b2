"""Errors of what is made of averages, from independent replicates of these."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.special import stdtrit

__all__ = ["Replicates", "jackknifed", "jointly"]

Means = Sequence[torch.Tensor]

_TWO = 0.97725  # of a normal law lies below two standard deviations


@dataclass(frozen=True, eq=False)
class Replicates:
    """Sums over the draws of every replicate.

    Attributes:
        sums: arrays of shape ``(R, …)``: Σ w · (whatever is averaged).
        weights: shape ``(R,)``: Σ w.
    """

    sums: tuple[torch.Tensor, ...]
    weights: torch.Tensor

    def __len__(self) -> int:
        return len(self.weights)

    def __add__(self, other: "Replicates") -> "Replicates":
        sums = (a + b for a, b in zip(self.sums, other.sums, strict=True))
        return Replicates(tuple(sums), self.weights + other.weights)

    def means(self) -> tuple[torch.Tensor, ...]:
        """Averages over all draws."""
        total = self.weights.sum()
        return tuple(x.sum(0) / total.to(x) for x in self.sums)

    def without(self, r: int) -> tuple[torch.Tensor, ...]:
        """Averages without one replicate."""
        total = self.weights.sum() - self.weights[r]
        return tuple((x.sum(0) - x[r]) / total.to(x) for x in self.sums)


def jackknifed(parts: Replicates, of: Callable[[Means], Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """A function of averages, and its standard error.

    Leaving out one replicate at a time tells how the value varies, whatever the function; of so few replicates the
    error is widened as Student's law says, so that two of them hold 95 of 100 cases.

    Args:
        parts: sums of all replicates.
        of: averages to a tensor.

    References:
        Efron and Stein, The jackknife estimate of variance (1981).
    """
    return jointly([parts], lambda means: of(means[0]))


def jointly(
    several: Sequence[Replicates], of: Callable[[Sequence[Means]], Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """As :func:`jackknifed`, of the averages of several runs with as many replicates each."""
    value = of([parts.means() for parts in several])
    count = len(several[0])
    mean, spread = torch.zeros_like(value), torch.zeros_like(value)
    for r in range(count):
        away = of([parts.without(r) for parts in several]) - value
        mean, spread = mean + away, spread + away.square()
    variance = (spread - mean.square() / count) * (count - 1) / count
    return value, variance.clamp_min(0).sqrt() * float(stdtrit(count - 1, _TWO) / 2)
