"""Proposal: a mixture that draws come from, half of it the law itself."""

from dataclasses import dataclass

import torch

from tnsim.sampling.components import Component, clustered
from tnsim.sampling.points import generator, normal
from tnsim.sampling.temper import MEMBERS, TOP, Norms, Population, Tempered, tempered

__all__ = ["UNIT", "Proposal"]

UNIT = 64  # draws are made in units: so many hold every component as often as its share says

_WIDER = 1.1  # variances of components: a little more than those of the population
_SHRUNK = 0.02  # towards the identity
_CENTRES = 6
_WIDE, _INSIDE, _BEYOND = (
    0.1,
    0.5,
    0.3,
)  # shares of the two wide ones, of clusters at β = 1, and of those beyond


@dataclass(frozen=True, eq=False)
class Proposal:
    """m(z) = ½ N(z; 0, 1) + Σ_k a_k N(z; μ_k, S_k). No weight N(z; 0, 1) / m(z) exceeds 2.

    Attributes:
        size: coordinates of z.
        components: those beside N(0, 1).
        counts: of every component, N(0, 1) first: how many of a unit's draws are its own.
    """

    size: int
    components: tuple[Component, ...] = ()
    counts: tuple[int, ...] = (UNIT,)

    @classmethod
    def fitted(cls, norms: Norms, size: int, key: tuple[int, ...]) -> "Proposal":
        """One that suits functions of so many standard normal coordinates; see :func:`tempered`.

        Draws of a first one, moved on, make the second: what the population on its way has missed, its draws may find.
        """
        stages = tempered(norms, size, key)
        if not stages:
            return cls(size)
        first = cls.of(stages, size)
        z, weights = first.draw(0, 2 * MEMBERS // UNIT, (*key, 1), 0)
        again = Population(norms, z, weights, generator(*key, 3))
        if again.is_zero:
            return first
        return cls.of([*stages[: len(stages) // 2], *again.to(1.0, 0.0), *again.to(TOP)], size)

    def refitted(self, norms: Norms, units: int, key: tuple[int, ...], replicates: int) -> "Proposal":
        """Another one, from a population that starts where this one's draws hold most of the norms.

        Args:
            norms: as before.
            units: how many of every replicate are looked at.
            key: of these draws.
            replicates: how many there are.
        """
        held: list[torch.Tensor] = []
        points: list[tuple[torch.Tensor, torch.Tensor]] = []
        for r in range(replicates):
            z, weights = self.draw(0, units, key, r)
            held.append(weights[:, None] * norms(z))
            points.append((z, weights))
        sizes = torch.cat(held)
        most = (sizes / sizes.mean(0).clamp_min(1e-300)).sum(1).topk(min(len(sizes), 2 * MEMBERS)).indices
        z, weights = (torch.cat(x)[most] for x in zip(*points, strict=True))
        again = Population(norms, z, weights, generator(*key, 4))
        return self if again.is_zero else self.of([*again.to(1.0, 0.0), *again.to(TOP)], self.size)

    @classmethod
    def of(cls, stages: list[Tempered], size: int) -> "Proposal":
        """From populations: two Gaussians of their second moments, clusters at β = 1, and clusters beyond."""
        upto = [x for x in stages if x.power <= 1]
        zero = torch.zeros(size, dtype=torch.float64, device="cpu")
        parts = [
            (_WIDE, Component.of(zero, _widened(x.members.T @ x.members / len(x.members))))
            for x in (upto[len(upto) // 2], upto[-1])
        ]
        for share, x in ((_INSIDE, upto[-1]), (_BEYOND, stages[-1])):
            found = clustered(x.members, _CENTRES)
            parts += [(share * own, Component.of(centre, _widened(cov))) for own, centre, cov in found]
        counts = _whole([share for share, _ in parts], UNIT // 2)
        return cls(size, tuple(x for _, x in parts), (UNIT // 2, *counts))

    def draw(
        self, start: int, stop: int, key: tuple[int, ...], replicate: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Units number ``start`` to ``stop`` of a replicate.

        Returns:
            z, shape ``(N, size)``, and the weights N(z; 0, 1) / m(z), shape ``(N,)``.
        """
        found = []
        for k, count in enumerate(self.counts):
            x = normal(start * count, stop * count, self.size, (*key, k), replicate)
            found.append(self.components[k - 1].points(x) if k else x)
        z = torch.cat(found)
        shares = (torch.tensor(self.counts, dtype=z.dtype, device="cpu") / UNIT).log()
        logs = [torch.zeros_like(z[:, 0]), *(x.log_ratio(z) for x in self.components)]
        return z, (-torch.logsumexp(torch.stack(logs, 1) + shares, 1)).exp()


def _widened(cov: torch.Tensor) -> torch.Tensor:
    return _WIDER * ((1 - _SHRUNK) * cov + _SHRUNK * torch.eye(len(cov), dtype=cov.dtype, device="cpu"))


def _whole(shares: list[float], total: int) -> list[int]:
    """Whole numbers that add up to a total, none of them zero, in proportion to shares.

    Example:
        >>> _whole([0.7, 0.28, 0.02], 10)
        [6, 3, 1]
    """
    counts = [max(1, round(total * share / sum(shares))) for share in shares]
    while sum(counts) != total:
        counts[counts.index(max(counts))] += 1 if sum(counts) < total else -1
    return counts
