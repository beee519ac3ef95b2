"""Sequences of one-hot tokens as two models see them behind linear layers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import autoray as ar

from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term
from tnsim.measure.attention.links.onehot import front_of, read_behind
from tnsim.measure.laws.gaussian import JointGaussian
from tnsim.measure.pairings.expectation import expect
from tnsim.measure.pairings.measure import Block, Closure, Keep, Measure, unchecked

__all__ = ["HalfTokens", "JointTokens"]

Array = Any


@dataclass(frozen=True, eq=False)
class JointTokens(Measure):
    """Tokens as two models see them behind linear layers, which are composed with whatever reads them.

    Attributes:
        base: the law of the tokens.
        fronts: for every side the layers so far; none at the input.
    """

    base: Measure
    fronts: tuple[Poly, ...] = ()

    @property
    def frequencies(self) -> Array:
        """How often every token stands at every position, shape ``(n_ctx, n_vocab)``."""
        return getattr(self.base, "p" if hasattr(self.base, "p") else "laws")

    def closures(
        self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False
    ) -> Iterator[Closure]:
        """As those of the tokens, at the input."""
        return self.base.closures(factors, sides, exchange)

    def count(self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False) -> int:
        """As that of the tokens, at the input."""
        return self.base.count(factors, sides, exchange)

    def at_once(
        self, factors: Sequence[Poly], keep: Keep, sides: Sequence[int], connected: bool
    ) -> Array | None:
        """Behind layers: these are composed with the factors."""
        made: dict[tuple[int, int], Poly] = {}
        for f, side in zip(factors, sides, strict=False):
            if (id(f), side) not in made:
                made[id(f), side] = self._behind(f, side)
        whole = tuple(made[id(f), side] for f, side in zip(factors, sides, strict=False))
        return expect(whole, self.base, keep, sides, connected)

    def _behind(self, f: Poly, side: int) -> Poly:
        """A layer of one side as a polynomial of the tokens."""
        return read_behind(f, self.fronts[side] if self.fronts else None)

    def carries(self, layers: Sequence[Poly]) -> bool:
        """Linear layers are composed with whatever reads them, in any case."""
        return all(f.degree <= 1 for f in layers)

    def run_of(self, side: int) -> int | None:
        """Models stacked on one side."""
        return self.fronts[side].models if self.fronts else None

    def push(
        self, layers: Sequence[Poly], known: Sequence[Measure | None] = (), apart: Sequence[int] = ()
    ) -> Measure:
        """The law of the outputs: tokens still, behind linear layers; else the Gaussian of the same mean and covariance."""
        behind = tuple(self._behind(f, side) for side, f in enumerate(layers))
        own = unchecked(type(self.base), **{k: x * 1.0 for k, x in vars(self.base).items()})
        linear = {side: f for side, f in enumerate(behind) if f.degree <= 1}
        fronts = {
            side: front_of(f).mapped(lambda x: x * 1.0) for side, f in linear.items()
        }  # arrays of its own
        if len(fronts) == len(behind):
            return JointTokens(own, tuple(fronts.values()))
        joint = self._gaussian(behind, known)
        if not fronts:
            return joint
        return HalfTokens(
            joint.means, joint.covs, {side: JointTokens(own, (f,)) for side, f in fronts.items()}
        )

    @property
    def gaussian(self) -> JointGaussian:
        """The Gaussian of the same mean and covariance."""
        return self._gaussian(self.fronts, ())

    def _gaussian(self, behind: Sequence[Poly], known: Sequence[Measure | None]) -> JointGaussian:
        """The Gaussian of the same mean and covariance as layers that read tokens."""
        means: list[Block | None] = []
        covs = {}
        for a, f in enumerate(behind):
            run = (a,) if f.models else ()
            alone = known[a] if a < len(known) else None
            if isinstance(alone, JointGaussian):
                mean, cov = alone.means[0], alone.covs[0, 0]
                means.append(None if mean is None else Block(mean.data, run))
                covs[a, a] = Block(cov.data, run, cov.joined)
                continue
            means.append(Block(expect((f,), self.base, sides=(a,)), run))
            own = Block(self._covariance(f, f, means[a], means[a], (a, a)), run)
            covs[a, a] = own.symmetrised(len(f.codomain))
        if len(behind) > 1:
            runs = tuple(a for a, f in enumerate(behind) if f.models)
            covs[0, 1] = Block(self._covariance(behind[0], behind[1], means[0], means[1], (0, 1)), runs)
        return JointGaussian(tuple(means), covs)

    def _covariance(
        self, f: Poly, g: Poly, mean: Block | None, other: Block | None, sides: tuple[int, int]
    ) -> Array:
        """E[f gᵀ] − E[f] E[g]ᵀ."""
        assert mean is not None and other is not None
        second = expect((f, g), self.base, sides=sides)
        n, m = len(f.codomain), len(g.codomain)
        u = ar.do("reshape", mean.data, (*ar.shape(mean.data), *(1,) * m))
        v = other.data
        if f.models and sides[0] != sides[1]:
            front = 1 if g.models else 0
            u = ar.do("reshape", u, (ar.shape(u)[0], *(1,) * front, *ar.shape(u)[1:]))
            v = ar.do("reshape", v, (*(1,) * (1 - front), *ar.shape(v)))
        at = ar.ndim(v) - m
        v = ar.do("reshape", v, (*ar.shape(v)[:at], *(1,) * n, *ar.shape(v)[at:]))
        return second - u * v


@dataclass(frozen=True, eq=False)
class HalfTokens(JointGaussian):
    """Two models' hidden states of which one is linear in the tokens still.

    What is asked of that model alone is answered from the tokens, as if there were no other; both together are Gaussian.

    Attributes:
        alone: for a model that is linear so far its law alone, of which it is side 0.
    """

    alone: Mapping[int, JointTokens]

    def at_once(
        self, factors: Sequence[Poly], keep: Keep, sides: Sequence[int], connected: bool
    ) -> Array | None:
        """From the tokens, for a model that is linear so far."""
        used = set(sides[: len(factors)])
        if len(used) == 1 and (law := self.alone.get(*used)) is not None:
            return law.at_once(factors, keep, (0,) * len(factors), connected)
        return super().at_once(factors, keep, sides, connected)

    @property
    def splits(self) -> bool:
        """Pairings that do not connect two factors are no product of means, where it is tokens that they share."""
        return False

    def several(
        self, factors: Sequence[Poly], asked: Sequence[tuple[int, int]], keep: Keep
    ) -> list[Array] | None:
        """As :meth:`at_once`."""
        values = super().several(factors, asked, keep)
        if values is None:
            return None
        for k, (i, j) in enumerate(asked):
            if i == j and i in self.alone:
                values[k] = expect((factors[i], factors[i]), self, keep, (i, i))
        return values

    def centred(self, layers: Sequence[Poly]) -> tuple[tuple[Poly, ...], "HalfTokens"]:
        """The mean stays: tokens have none to move."""
        return tuple(layers), self

    def eased(self, layers: Sequence[Poly]) -> tuple[tuple[Poly, ...], "HalfTokens"]:
        """As :meth:`centred`."""
        return tuple(layers), self

    def exponents(self) -> tuple[Array, ...]:
        """What every model alone has: of tokens zero."""
        return tuple(e * 0 if side in self.alone else e for side, e in enumerate(super().exponents()))

    def scaled(self, exponents: Sequence[Array]) -> "HalfTokens":
        """As Gaussians; tokens have no units."""
        other = super().scaled(exponents)
        return replace(self, means=other.means, covs=other.covs)

    def push(
        self, layers: Sequence[Poly], known: Sequence[Measure | None] = (), apart: Sequence[int] = ()
    ) -> JointGaussian:
        """As that of Gaussians, with what a model that was linear so far becomes alone."""
        given = [law for law, _ in zip_longest(known, layers)]
        linear: dict[int, JointTokens] = {}
        for side, law in self.alone.items():
            behind = law.push((layers[side],))
            if isinstance(behind, JointTokens):
                linear[side] = behind
                behind = behind.gaussian
            given[side] = behind
        joint = super().push(layers, given, apart)
        return HalfTokens(joint.means, joint.covs, linear) if linear else joint
