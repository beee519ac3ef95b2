"""Gaussian components: how likely a point is under one, as a multiple of the standard normal density, and points of it."""

import math
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Component", "clustered"]

_LEAST = 1e-3  # of a variance
_ROUNDS = 20  # of assigning points to centres


@dataclass(frozen=True, eq=False)
class Component:
    """N(mean, R Rᵀ) in n coordinates.

    Attributes:
        mean: shape ``(n,)``.
        root: R, shape ``(n, n)``: columns are principal axes, from long to short.
        inverse: of the root.
        volume: log det R.
    """

    mean: torch.Tensor
    root: torch.Tensor
    inverse: torch.Tensor
    volume: float

    @classmethod
    def of(cls, mean: torch.Tensor, cov: torch.Tensor) -> "Component":
        """From mean and covariance."""
        values, vectors = torch.linalg.eigh(cov)
        roots, vectors = values.flip(0).clamp_min(_LEAST).sqrt(), vectors.flip(1)
        return cls(mean, vectors * roots, (vectors / roots).T, float(roots.log().sum()))

    @property
    def mirrored(self) -> "Component":
        """The same about −mean."""
        return Component(-self.mean, self.root, self.inverse, self.volume)

    def points(self, z: torch.Tensor) -> torch.Tensor:
        """Points of the component from standard normal ones."""
        return self.mean + z @ self.root.T

    def log_ratio(self, z: torch.Tensor) -> torch.Tensor:
        """log of its density over that of N(0, 1), shape ``(N,)``."""
        own = ((z - self.mean) @ self.inverse.T).square().sum(1)
        return (z.square().sum(1) - own) / 2 - self.volume


def clustered(z: torch.Tensor, count: int) -> list[tuple[float, torch.Tensor, torch.Tensor]]:
    """Points as clusters about pairs of opposite centres ±μ: for each its share, μ and the covariance about it.

    Models made of even and odd parts of like size have such a density; Lloyd's algorithm from the longest principal axes.

    Args:
        z: shape ``(N, n)``.
        count: how many pairs are tried; those with too few points for a covariance are left out.
    """
    values, vectors = torch.linalg.eigh(z.T @ z / len(z))
    count = min(count, len(values))
    centres = (vectors[:, -count:] * values[-count:].clamp_min(0).sqrt()).T
    home = torch.zeros(len(z), dtype=torch.long, device=z.device)
    for _ in range(_ROUNDS):
        inner = z @ centres.T
        home = (centres.square().sum(1) - 2 * inner.abs()).argmin(1)
        moved = []
        for k, centre in enumerate(centres):
            own = z[home == k]
            side = torch.where(own @ centre < 0, -1.0, 1.0).to(z.dtype)
            moved.append(centre if len(own) <= z.shape[1] else side @ own / len(own))
        centres = torch.stack(moved)
    found: list[tuple[float, Any, Any]] = []
    for k, centre in enumerate(centres):
        own = z[home == k]
        if len(own) <= z.shape[1]:
            continue
        side = torch.where(own @ centre < 0, -1.0, 1.0).to(z.dtype)
        away = own * side[:, None] - centre
        found.append((len(own) / len(z), centre, away.T @ away / len(own)))
    total = math.fsum(share for share, *_ in found)
    return [(share / total, centre, cov) for share, centre, cov in found]
