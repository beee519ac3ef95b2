"""Gaussian components: how likely a point is under one, as a multiple of the standard normal density, and points of it."""

from dataclasses import dataclass

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

    def points(self, z: torch.Tensor) -> torch.Tensor:
        """Points of the component from standard normal ones."""
        return self.mean + z @ self.root.T

    def log_ratio(self, z: torch.Tensor) -> torch.Tensor:
        """log of its density over that of N(0, 1), shape ``(N,)``."""
        own = ((z - self.mean) @ self.inverse.T).square().sum(1)
        return (z.square().sum(1) - own) / 2 - self.volume


def clustered(z: torch.Tensor, count: int) -> list[tuple[float, torch.Tensor, torch.Tensor]]:
    """Points in clusters: for each its share, its mean and its covariance.

    Lloyd's algorithm, from centres at either end of the longest principal axes: norms come from far out along them.

    Args:
        z: shape ``(N, n)``.
        count: how many clusters are tried; those with too few points for a covariance are left out.
    """
    values, vectors = torch.linalg.eigh(z.T @ z / len(z))
    axes = (vectors * values.clamp_min(0).sqrt()).T.flip(0)[: count // 2]
    centres = torch.stack([axes, -axes], 1).flatten(0, 1)
    for _ in range(_ROUNDS):
        home = _nearest(z, centres)
        parts = [z[home == k] for k in range(len(centres))]
        centres = torch.stack([x.mean(0) if len(x) else c for x, c in zip(parts, centres, strict=True)])
    home = _nearest(z, centres)
    parts = [x for x in (z[home == k] for k in range(len(centres))) if len(x) > 2 * z.shape[1]]
    total = sum(map(len, parts))
    return [(len(x) / total, x.mean(0), torch.cov(x.T, correction=0).reshape(z.shape[1], -1)) for x in parts]


def _nearest(z: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    return (centres.square().sum(1) - 2 * z @ centres.T).argmin(1)
