"""Closing legs in pairs (Isserlis 1918, Wick 1950), and the Gaussian law of hidden states: layer by layer is `push`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import autoray as ar
import numpy as np
import quimb.tensor as qtn

from tnsim.algebra.polys.axes import is_local
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.polys.writing import identity
from tnsim.algebra.terms.term import Term
from tnsim.common.wires import MODEL, output_leg
from tnsim.measure.attention.links.ends import Moments
from tnsim.measure.attention.products.linked import has_links, linked_moments
from tnsim.measure.pairings.bridges import Bridges
from tnsim.measure.pairings.expectation import expect
from tnsim.measure.pairings.measure import Block, Bridge, Closure, Keep, Measure
from tnsim.measure.pairings.orbit import count_pairings, pairings_of

__all__ = ["JointGaussian", "Wick"]

Array = Any


class Wick(Measure):
    """Closing legs in pairs: what all Gaussian laws share. Leftover legs carry the mean."""

    within = True

    def mean_of(self, side: int) -> Block | None:
        """The mean of one side's input; ``None`` is zero."""
        raise NotImplementedError

    def cov_of(self, a: int, b: int) -> Block | None:
        """The covariance between two sides' inputs; ``None`` is the identity."""
        raise NotImplementedError

    def closures(
        self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False
    ) -> Iterator[Closure]:
        """Pairings up to exchanges; with a mean, partial pairings."""
        meant = [self.mean_of(side) for side in sides]
        leave = any(mean is not None for mean in meant)
        for weight, pairs, alone in pairings_of(factors, leave=leave, exchange=exchange):
            if any(meant[f] is None for f, _ in alone):
                continue
            bridges = [self._bridge(factors, sides, *pair) for pair in pairs]
            for place in alone:
                mean = meant[place[0]]
                assert mean is not None
                bridges.append(Bridge((place,), (), (mean.tensor(factors[place[0]].legs[place[1]], "MEAN"),)))
            yield Closure(weight, tuple(bridges))

    def count(self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False) -> int:
        """Pairings up to exchanges."""
        leave = any(self.mean_of(side) is not None for side in sides)
        return count_pairings(factors, leave=leave, exchange=exchange)

    def _bridge(
        self, factors: Sequence[Term], sides: Sequence[int], p: tuple[int, int], q: tuple[int, int]
    ) -> Bridge:
        """Two legs joined by the covariance: by identification where that is the identity or diagonal."""
        if sides[p[0]] > sides[q[0]]:
            p, q = q, p
        left, right = (factors[f].legs[leg] for f, leg in (p, q))
        cov = self.cov_of(sides[p[0]], sides[q[0]])
        if cov is None:
            return Bridge((p, q), tuple(zip(left, right, strict=True)), symmetric=True)
        shared = cov.shared(len(left))
        joins = tuple((left[k], right[k]) for k in shared)
        second = tuple(ix for k, ix in enumerate(right) if k not in shared)
        own = self.cov_of(0, 0)
        alike = sides[p[0]] == sides[q[0]] or not second or (own is not None and cov.data is own.data)
        return Bridge((p, q), joins, (cov.tensor((*left, *second), "COV"),), alike)

    def at_once(
        self, factors: Sequence[Poly], keep: Keep, sides: Sequence[int], connected: bool
    ) -> Array | None:
        """Where terms have scores, chains and loops of links instead of single pairings."""
        if not any(map(has_links, factors)):
            return None
        return self._linked(factors, sides[: len(factors)], [tuple(range(len(factors)))], keep, connected)[0]

    def _linked(
        self,
        factors: Sequence[Poly],
        sides: Sequence[int],
        asked: Sequence[tuple[int, ...]],
        keep: Keep,
        connected: bool,
    ) -> list[Array]:
        """Moments of several pairs of factors, or means, at once."""
        pairs = {(min(a, b), max(a, b)) for a in sides for b in sides}
        law = Moments(
            {side: len(f.domain) for f, side in zip(factors, sides, strict=True)},
            {side: self.mean_of(side) for side in sides},
            {pair: self.cov_of(*pair) for pair in sorted(pairs)},
        )
        models = [f.models or self.run_of(side) for f, side in zip(factors, sides, strict=True)]
        return linked_moments(factors, sides, asked, law, models, keep, connected)

    def several(
        self, factors: Sequence[Poly], asked: Sequence[tuple[int, int]], keep: Keep
    ) -> list[Array] | None:
        """As :meth:`at_once`, for several pairs of factors, which share what single factors need."""
        if not any(map(has_links, factors)):
            return None
        return self._linked(factors, range(len(factors)), asked, keep, False)

    def centred(self, layers: Sequence[Poly]) -> tuple[tuple[Poly, ...], "Wick"]:
        """f(μ + z) as a polynomial in z, and the law of z; where scores make many terms of it, the mean stays."""
        if any(map(has_links, layers)):
            return tuple(layers), self
        moved = []
        for side, f in enumerate(layers):
            mean = self.mean_of(side)
            moved.append(f if mean is None else f @ _shift(mean, f))
        return tuple(moved), self._without_mean()

    def eased(self, layers: Sequence[Poly]) -> tuple[tuple[Poly, ...], "Wick"]:
        """With the mean where it costs least: moved into the layers, or left to the law.

        Partial pairings of two bilinear terms differ in one matrix and are added up first; other layers have too many.
        """
        single = all(len(f.terms) == 1 and f.degree <= 2 for f in layers)
        return (tuple(layers), self) if single else self.centred(layers)

    def _without_mean(self) -> "Wick":
        raise NotImplementedError

    def carries(self, layers: Sequence[Poly]) -> bool:
        """Affine maps of a Gaussian are Gaussian; worth it unless they widen the space."""
        return all(f.degree <= 1 and np.prod(f.out_shape) <= np.prod(f.in_shape) for f in layers)

    def push(
        self, layers: Sequence[Poly], known: Sequence[Measure | None] = (), apart: Sequence[int] = ()
    ) -> "JointGaussian":
        """The Gaussian with the exact mean and covariance of the outputs.

        Mean and covariance are kept apart: the covariance is the sum of the closures that connect the two factors,
        never a difference of large numbers. Exact for affine layers; pushed further, an approximation. Along axes
        that are ``apart``, and along those of independent places that every layer maps for itself, it is diagonal.
        """
        joined = tuple(sorted({*apart, *self._independent(layers)}))
        axes = len(layers[0].codomain)  # of all, if any are joined
        keep: Keep = tuple("diagonal" if k in joined else "all" for k in range(axes)) if joined else "all"
        layers, law = self.eased(layers)
        if any(map(has_links, layers)):
            return law._behind_links(layers, known, keep, joined)
        bridges = Bridges()
        means: list[Block | None] = []
        covs = {}
        for a, (f, alone) in enumerate(zip_longest(layers, known)):
            run = (a,) if f.models or law.run_of(a) else ()
            if isinstance(alone, JointGaussian):
                mean, cov = alone.means[0], alone.covs[0, 0]
                means.append(None if mean is None else Block(mean.data, run))
                covs[a, a] = Block(cov.data, run, cov.joined)
            else:
                none = law._vanishes(f, a)
                means.append(None if none else Block(expect((f,), law, sides=(a,), bridges=bridges), run))
                own = expect((f, f), law, keep, (a, a), connected=True, bridges=bridges)
                covs[a, a] = Block(own, run, joined).symmetrised(len(f.codomain))
            for b, g in enumerate(layers[a + 1 :], start=a + 1):
                other = (b,) if g.models or law.run_of(b) else ()
                across = expect((f, g), law, keep, (a, b), connected=True, bridges=bridges)
                covs[a, b] = Block(across, (*run, *other), joined)
        return JointGaussian(tuple(means), covs)

    def _behind_links(
        self, layers: Sequence[Poly], known: Sequence[Measure | None], keep: Keep, joined: tuple[int, ...]
    ) -> "JointGaussian":
        """As :meth:`push`, for layers of which one has scores: everything that is not known is asked for at once."""
        sides = range(len(layers))
        alone = [law if isinstance(law, JointGaussian) else None for law, _ in zip_longest(known, sides)]
        asked = [(a, b) for a in sides for b in sides if a < b or (a == b and alone[a] is None)]
        own = [(a,) for a in sides if alone[a] is None and not self._vanishes(layers[a], a)]
        found = dict(zip(asked, self._linked(layers, sides, asked, keep, True), strict=True))
        values = dict(zip(own, self._linked(layers, sides, own, "all", False), strict=True)) if own else {}
        run = [(a,) if f.models or self.run_of(a) else () for a, f in enumerate(layers)]
        means: list[Block | None] = []
        covs = {
            (a, b): Block(x, (*run[a], *run[b]) if a < b else run[a], joined) for (a, b), x in found.items()
        }
        for a, law in enumerate(alone):
            if law is not None:
                mean, cov = law.means[0], law.covs[0, 0]
                means.append(None if mean is None else replace(mean, models=run[a]))
                covs[a, a] = replace(cov, models=run[a])
            else:
                means.append(Block(values[a,], run[a]) if (a,) in values else None)
                covs[a, a] = covs[a, a].symmetrised(len(layers[a].codomain))
        return JointGaussian(tuple(means), covs)

    def _vanishes(self, f: Poly, side: int) -> bool:
        """Whether the mean of a layer is zero: an odd function of what has no mean."""
        return self.mean_of(side) is None and all(t.degree % 2 for t in f.terms)

    def _independent(self, layers: Sequence[Poly]) -> tuple[int, ...]:
        """Axes of independent places that every layer maps for itself."""
        axes = len(layers[0].domain)
        every = range(len(layers))
        blocks = [self.cov_of(a, b) for a in every for b in every if a <= b]
        shared = set(range(axes)).intersection(*(block.shared(axes) for block in blocks if block is not None))
        return tuple(k for k in sorted(shared) if all(is_local(f, k) for f in layers))


@dataclass(frozen=True, eq=False)
class JointGaussian(Wick):
    """The joint Gaussian law of two models' hidden states: what :meth:`Wick.push` returns.

    Attributes:
        means: for every side its mean, or ``None``.
        covs: for every pair of sides ``(a, b)``, a ≤ b, their covariance.
    """

    means: tuple[Block | None, ...]
    covs: Mapping[tuple[int, int], Block]

    def mean_of(self, side: int) -> Block | None:
        """The mean of one side's hidden state."""
        return self.means[side]

    def cov_of(self, a: int, b: int) -> Block | None:
        """The covariance of two sides' hidden states."""
        return self.covs[a, b]

    def run_of(self, side: int) -> int | None:
        """Models stacked on one side."""
        cov = self.covs[side, side]
        return int(ar.shape(cov.data)[0]) if cov.models else None

    def exponents(self) -> tuple[Array, ...]:
        """The root mean square of hidden states, rounded to a power of two."""
        return tuple(self._exponent(side) for side in range(len(self.means)))

    def scaled(self, exponents: Sequence[Array]) -> "JointGaussian":
        """Hidden states in other units."""

        def scaled(block: Block, *sides: int) -> Block:
            gain = 2.0 ** -exponents[sides[0]]
            if len(sides) > 1:
                other = 2.0 ** -exponents[sides[1]]
                apart = sides[0] != sides[1] and block.models == sides
                gain = gain[:, None] * other[None, :] if apart else gain * other
            axes = ar.ndim(block.data) - ar.ndim(gain)
            return replace(block, data=block.data * ar.do("reshape", gain, (*ar.shape(gain), *(1,) * axes)))

        means = tuple(None if m is None else scaled(m, side) for side, m in enumerate(self.means))
        covs = {sides: scaled(block, *sides) for sides, block in self.covs.items()}
        return JointGaussian(means, covs)

    def _exponent(self, side: int) -> Array:
        """Half the logarithm of the mean square of the entries, to base 2, as a whole number."""
        cov = self.covs[side, side]
        front = len(cov.models)
        variances = cov.diagonal((ar.ndim(cov.data) - front + len(cov.joined)) // 2)
        n = int(np.prod(ar.shape(variances)[front:]))
        square = ar.do("sum", ar.do("reshape", variances, (*ar.shape(variances)[:front], n)), axis=-1)
        mean = self.means[side]
        if mean is not None:
            flat = ar.do("reshape", mean.data, (*ar.shape(mean.data)[:front], n))
            square = square + ar.do("sum", flat * flat, axis=-1)
        size = ar.stop_gradient(square) / n
        tiny = ar.do("where", size > 0, size, ar.do("ones_like", size))
        return ar.do("round", ar.do("log2", tiny) / 2)

    def _without_mean(self) -> "JointGaussian":
        return replace(self, means=(None,) * len(self.means))


def _shift(mean: Block, f: Poly) -> Poly:
    """x ↦ x + mean, with one mean for every model if the block has a run axis."""
    out = output_leg([s for s, _ in f.domain])
    run = (MODEL,) if mean.models else ()
    term = Term((qtn.Tensor(mean.data, (*run, *out), tags="MEAN"),), (), out)
    return identity(f.domain, f.like) + Poly((term,), f.domain, f.domain)
