"""Sources: a law as draws with weights, in independent replicates."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Axes
from tnsim.common.values import numbers
from tnsim.engine.constants import as_like
from tnsim.measure.laws.empirical import Empirical
from tnsim.measure.laws.gaussian import Gaussian
from tnsim.measure.laws.mixture import Mixture
from tnsim.measure.laws.tensorial import Frobenius, Symmetric
from tnsim.measure.laws.token_laws import MarkovChain, Tokens
from tnsim.measure.pairings.measure import Measure, MeasureError
from tnsim.sampling.points import generator, uniform
from tnsim.sampling.proposal import UNIT, Proposal
from tnsim.sampling.rows import directions

__all__ = ["Draw", "GivenSource", "Source", "plain_source", "source_of"]

Array = Any
Draw = tuple[torch.Tensor, torch.Tensor]
Norms = Callable[[torch.Tensor], torch.Tensor]  # of inputs as the models read them


_REPLICATES = 32


class Source(ABC):
    """Draws of a law, by units; replicates are independent, and further units of one go on where it ended."""

    @property
    def unit(self) -> int:
        """How many draws a unit has."""
        return UNIT

    @property
    def replicates(self) -> int:
        """How many there are."""
        return _REPLICATES

    def refitted(self, units: int) -> "Source":
        """A source that also reaches where so many units of this one found most of the norms; this one, if it cannot."""
        return self

    def batches(self, start: int, stop: int, replicate: int, memory: float) -> Iterator[Draw]:
        """The same units, as many at once as fit into memory."""
        x, _ = self.draw(start, start + 1, replicate)
        some = int(max(1, memory // (8 * x.numel())))
        for first in range(start, stop, some):
            yield self.draw(first, min(stop, first + some), replicate)

    @abstractmethod
    def draw(self, start: int, stop: int, replicate: int) -> Draw:
        """Units number ``start`` to ``stop``: x, shape ``(N, *in)`` or ids ``(N, n_ctx)``, and weights of mean 1."""


@dataclass(frozen=True, eq=False)
class NormalSource(Source):
    """x = mean + F (Q z + z'), with z from a proposal and z' normal where no model looks.

    Attributes:
        mean: shape ``(D,)``.
        factor: F, shape ``(D, r)``; ``None`` for the identity.
        basis: Q, shape ``(r, n)``: the directions that models read; ``None`` where these are all.
        proposal: in the n coordinates z.
        shape: of one input.
        key: of the random numbers.
        like: a tensor of the models' dtype and device.
        norms: the functions of z that the proposal suits, if there are some.
    """

    mean: torch.Tensor
    factor: torch.Tensor | None
    basis: torch.Tensor | None
    proposal: Proposal
    shape: tuple[int, ...]
    key: tuple[int, ...]
    like: torch.Tensor
    norms: Norms | None = None

    def draw(self, start: int, stop: int, replicate: int) -> Draw:
        """See :class:`Source`."""
        z, weights = self.proposal.draw(start, stop, self.key, replicate)
        y = z
        if self.basis is not None:
            random = generator(*self.key, replicate, start, 1)
            rest = torch.randn(len(z), len(self.basis), dtype=torch.float64, generator=random, device="cpu")
            y = rest + (z - rest @ self.basis) @ self.basis.T
        return self.placed(y), as_like(weights, self.like)

    def refitted(self, units: int) -> "NormalSource":
        """See :class:`Source`."""
        if self.norms is None:
            return self
        proposal = self.proposal.refitted(self.norms, units, self.key, self.replicates)
        return self if proposal is self.proposal else replace(self, proposal=proposal, key=(*self.key, 1))

    def placed(self, y: torch.Tensor) -> torch.Tensor:
        """Inputs of standard normal coordinates."""
        x = self.mean + (y if self.factor is None else y @ self.factor.T)
        return as_like(x.reshape(-1, *self.shape), self.like)


@dataclass(frozen=True, eq=False)
class TokenSource(Source):
    """Sequences of tokens, every one from the row of a table that the one before names.

    Attributes:
        tables: for every position cumulative frequencies: shape ``(n_vocab,)``, or ``(n_vocab, n_vocab)`` with a row for
            every token before.
        key: of the random numbers.
        like: a tensor of the models' dtype and device.
    """

    tables: tuple[torch.Tensor, ...]
    key: tuple[int, ...]
    like: torch.Tensor

    def draw(self, start: int, stop: int, replicate: int) -> Draw:
        """See :class:`Source`."""
        u = uniform(start * UNIT, stop * UNIT, len(self.tables), self.key, replicate)
        ids: list[torch.Tensor] = []
        for k, table in enumerate(self.tables):
            here = u[:, k].contiguous() * table[..., -1].max()
            if table.ndim == 1:
                found = torch.searchsorted(table, here)
            else:
                found = torch.searchsorted(table[ids[-1]], here[:, None])[:, 0]
            ids.append(found.clamp_max(table.shape[-1] - 1))
        x = torch.stack(ids, 1).to(self.like.device)
        return x, torch.ones(len(x), dtype=self.like.dtype, device=self.like.device)


@dataclass(frozen=True, eq=False)
class MixedSource(Source):
    """One of several sources; each has as many draws as the others, whatever its weight."""

    parts: tuple[Source, ...]
    weights: tuple[float, ...]

    @property
    def unit(self) -> int:
        """Of all parts."""
        return sum(part.unit for part in self.parts)

    def refitted(self, units: int) -> "MixedSource":
        """See :class:`Source`."""
        parts = tuple(part.refitted(units) for part in self.parts)
        same = all(a is b for a, b in zip(parts, self.parts, strict=True))
        return self if same else replace(self, parts=parts)

    def draw(self, start: int, stop: int, replicate: int) -> Draw:
        """See :class:`Source`."""
        found = [part.draw(start, stop, replicate) for part in self.parts]
        gains = [w * self.unit / part.unit for w, part in zip(self.weights, self.parts, strict=True)]
        return torch.cat([x for x, _ in found]), torch.cat(
            [g * w for g, (_, w) in zip(gains, found, strict=True)]
        )


@dataclass(frozen=True, eq=False)
class GivenSource(Source):
    """Draws that are there, in one unit: those of a law with replicates.

    Attributes:
        law: the draws.
        net: one of the models that read them.
    """

    law: Empirical
    net: Network

    @property
    def replicates(self) -> int:
        """Those of the law."""
        return int(numbers(self.law.replicates).max()) + 1

    def draw(self, start: int, stop: int, replicate: int) -> Draw:
        """All draws of a replicate."""
        (own,) = (numbers(self.law.replicates) == replicate).nonzero()
        return self.law.picked(own, self.net.domain, self.net.polys[0].like)

    def batches(self, start: int, stop: int, replicate: int, memory: float) -> Iterator[Draw]:
        """All of them."""
        yield self.draw(start, stop, replicate)


def source_of(
    given: Measure, law: Measure, nets: Sequence[Network], norms: Norms, key: tuple[int, ...]
) -> Source:
    """Draws of a law that suit networks.

    Args:
        given: the law, as the user gave it.
        law: the same, bound to the models and in units of its size.
        nets: networks that read it.
        norms: the functions whose tails the draws have to reach: squared norms at inputs ``(N, *in)``, shape ``(N, k)``.
        key: of the random numbers.

    Raises:
        MeasureError: for what is no law of inputs, or one that nobody has said how to draw from.
    """

    def suited(plain: NormalSource) -> NormalSource:
        count = plain.proposal.size
        basis = directions(nets, plain.placed, count, plain.key)
        read = count if basis is None else basis.shape[1]

        def of_coordinates(z: torch.Tensor) -> torch.Tensor:
            y = z if basis is None else z @ basis.T
            return _double(norms(plain.placed(y)))

        proposal = Proposal.fitted(of_coordinates, read, plain.key)
        return replace(plain, basis=basis, proposal=proposal, norms=of_coordinates)

    return _source(given, law, nets[0].domain, nets[0].polys[0].like, key, suited)


def plain_source(given: Measure, domain: Axes, like: Array, key: tuple[int, ...]) -> Source:
    """Draws of a law as it is; arguments as of :func:`source_of`.

    Args:
        given: the law.
        domain: the axes of an input.
        like: a tensor of the dtype and device to use.
        key: of the random numbers.

    Raises:
        MeasureError: as :func:`source_of`, and if the law does not fit the domain.
    """
    return _source(given, given.bound(domain, like), domain, like, key, lambda plain: plain)


def _source(
    given: Measure,
    law: Measure,
    domain: Axes,
    like: Array,
    key: tuple[int, ...],
    suited: "Callable[[NormalSource], NormalSource]",
) -> Source:
    if isinstance(given, Mixture) and isinstance(law, Mixture):
        assert given.weights is not None
        pairs = enumerate(zip(given.laws, law.laws, strict=True))
        parts = [_source(one, bound, domain, like, (*key, k), suited) for k, (one, bound) in pairs]
        return MixedSource(tuple(parts), tuple(given.weights))
    if isinstance(law, Gaussian):
        return suited(_normal(law, domain, like, key))
    if isinstance(given, Tokens | MarkovChain):
        return TokenSource(_tables(given, domain[0][1]), key, like)
    if isinstance(given, Symmetric | Frobenius):
        raise MeasureError(
            f"{given!r} compares tensors and is no law of inputs, so there is nothing to draw. Use Gaussian()."
        )
    if isinstance(given, Empirical):
        raise MeasureError("Empirical(x) is made of draws; pass it as it is, under=law.")
    raise MeasureError(
        f"nobody has said how to draw from a {type(given).__name__}. Draw yourself, and pass Empirical(x, weights)."
    )


def _tables(law: Tokens | MarkovChain, n_ctx: int) -> tuple[torch.Tensor, ...]:
    def summed(p: Array) -> torch.Tensor:
        return torch.tensor(numbers(p), dtype=torch.float64, device="cpu").cumsum(-1)

    if isinstance(law, Tokens):
        p = summed(law.p)
        return tuple(p) if p.ndim > 1 else (p,) * n_ctx
    return (summed(law.p0), *(summed(law.P),) * (n_ctx - 1))


def _double(x: Array) -> torch.Tensor:
    return torch.tensor(numbers(x), dtype=torch.float64, device="cpu")


def _normal(law: Gaussian, domain: Axes, like: Array, key: tuple[int, ...]) -> NormalSource:
    """The law as it is."""
    shape = tuple(n for _, n in domain)
    size = prod(shape)
    nothing = torch.zeros(size, dtype=torch.float64, device="cpu")
    mean = nothing if law.mean is None else _double(law.mean).reshape(size)
    factor = None if law.cov is None else _factor(_double(law.cov), size)
    count = size if factor is None else factor.shape[1]
    return NormalSource(mean, factor, None, Proposal(count), shape, key, like)


def _factor(cov: torch.Tensor, size: int) -> torch.Tensor:
    """F with F Fᵀ = cov, of as many columns as it has rank."""
    if cov.numel() == size:
        return cov.reshape(size).clamp_min(0).sqrt().diag()
    values, vectors = torch.linalg.eigh(cov.reshape(size, size))
    kept = values > 1e-14 * values.max()
    return vectors[:, kept] * values[kept].sqrt()
