"""Tempering: a population that moves, step by step, from a normal law to where the norms of models come from."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from tnsim.sampling.components import Component
from tnsim.sampling.points import generator, normal

__all__ = ["MEMBERS", "TOP", "Norms", "Population", "Tempered", "tempered"]

Norms = Callable[[torch.Tensor], torch.Tensor]

MEMBERS = 4096
_MOVES = 6  # between two temperatures
_KEPT = 0.6  # effective share of the population that a step may leave
_ACCEPTED = 0.3  # share of moves; their length follows it
_STEPS = 40
TOP = 1.5  # beyond 1, where the tails are
_LEAST = 0.05  # a model counts for at most so many times what it did


@dataclass(frozen=True, eq=False)
class Tempered:
    """The population at one power.

    Attributes:
        power: β: it follows N(0, 1) · w(z)^β.
        members: shape ``(N, n)``.
    """

    power: float
    members: torch.Tensor


class Population:
    """Members that follow N(z; 0, 1) w(z)^β with w = Σ_i |f_i(z)|² / c_i.

    Args:
        norms: |f_i(z)|² of every function, shape ``(N, k)``, at points of shape ``(N, n)``.
        z: the first members, shape ``(N, n)``.
        weights: of these, for them to follow N(0, 1).
        random: a generator.
    """

    def __init__(self, norms: Norms, z: torch.Tensor, weights: torch.Tensor, random: torch.Generator):
        self._norms, self._random = norms, random
        self.z, self.q = z, norms(z)
        self.power, self._length = 0.0, 0.7
        self._centres = weights @ self.q / weights.sum()
        self._some = self._centres > 0
        self._centres = torch.where(self._some, self._centres, 1.0)
        self._first = weights.clamp_min(1e-300).log()

    @property
    def is_zero(self) -> bool:
        """Whether all functions are zero on the first members."""
        return not bool(self._some.any())

    def to(self, goal: float, least: float = _KEPT) -> Iterator[Tempered]:
        """Raise β, by as much as leaves an effective sample size of ``least``, and move members after every step.

        Moves are preconditioned Crank–Nicolson steps about the Gaussian of the population's second moments. The c_i follow
        the shares that functions have in w, so that none is forgotten.
        """
        for _ in range(_STEPS):
            if self.power >= goal:
                return
            higher = self._next(goal, least)
            logs = (higher - self.power) * self._log_sum(self.q) + self._first
            chosen = _resampled(logs.softmax(0), self._random)
            self.z, self.q, self.power = self.z[chosen], self.q[chosen], higher
            self._first = torch.zeros_like(self._first)
            self._move()
            shares = self.q / self._centres
            shares = (shares / shares[:, self._some].sum(1, keepdim=True)).mean(0)
            balance = (shares * self._some.sum()).clamp_min(_LEAST) ** min(self.power, 1.0)
            self._centres = self._centres * balance
            yield Tempered(self.power, self.z)

    def _move(self) -> None:
        z, q = self.z, self.q
        count, size = z.shape
        eye = torch.eye(size, dtype=z.dtype, device="cpu")
        about = Component.of(z.new_zeros(size), z.T @ z / count + 0.02 * eye)
        here = self.power * self._log_sum(q) - about.log_ratio(z)
        for _ in range(_MOVES):
            fresh = torch.randn(z.shape, dtype=z.dtype, generator=self._random, device="cpu")
            there = math.sqrt(1 - self._length**2) * z + self._length * about.points(fresh)
            norm = self._norms(there)
            value = self.power * self._log_sum(norm) - about.log_ratio(there)
            chance = torch.rand(count, dtype=z.dtype, generator=self._random, device="cpu")
            taken = chance.log() < value - here
            z, q = torch.where(taken[:, None], there, z), torch.where(taken[:, None], norm, q)
            here = torch.where(taken, value, here)
            longer = self._length * math.exp(float(taken.double().mean()) - _ACCEPTED)
            self._length = min(0.99, max(0.02, longer))
        self.z, self.q = z, q

    def _log_sum(self, q: torch.Tensor) -> torch.Tensor:
        return (q[:, self._some] / self._centres[self._some]).sum(1).clamp_min(1e-300).log()

    def _next(self, goal: float, least: float) -> float:
        """The highest power, up to the goal, that leaves an effective share of the population."""
        logs = self._log_sum(self.q)

        def kept(to: float) -> float:
            w = ((to - self.power) * logs + self._first).softmax(0)
            return float(1 / w.square().sum()) / len(w)

        if kept(goal) >= least:
            return goal
        low, high = self.power, goal
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if kept(middle) >= least else (low, middle)
        return max(low, self.power + 1e-3)


def tempered(norms: Norms, size: int, key: tuple[int, ...]) -> list[Tempered]:
    """Populations from N(0, 1) to β = 1, where the norms come from, and somewhat beyond, where their tails are.

    Args:
        norms: as for :class:`Population`.
        size: n.
        key: of the random numbers.

    Returns:
        The stages, β growing; none if all functions are zero on the first population.

    References:
        Del Moral, Doucet and Jasra, Sequential Monte Carlo samplers (2006); Cotter et al., MCMC methods for functions
        (2013).
    """
    z = normal(0, MEMBERS, size, key, 0)
    own = Population(norms, z, torch.ones_like(z[:, 0]), generator(*key, 1))
    return [] if own.is_zero else [*own.to(1.0), *own.to(TOP)]


def _resampled(weights: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Numbers of members, each as often as its weight says (systematic resampling)."""
    n = len(weights)
    start = torch.rand(1, dtype=weights.dtype, generator=random, device="cpu")
    steps = (torch.arange(n, dtype=weights.dtype, device="cpu") + start) / n
    return torch.searchsorted(weights.cumsum(0), steps).clamp_max(n - 1)
