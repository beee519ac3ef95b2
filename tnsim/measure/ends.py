"""Moments of the ends of links: covariances of linear forms of the input, each made once for all products."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import autoray as ar
import numpy as np
import quimb.tensor as qtn

from tnsim.algebra.contract import Contraction
from tnsim.algebra.wires import identify
from tnsim.measure.batch import Linked
from tnsim.measure.chains import Chains, chain_flops
from tnsim.measure.links import End, entries
from tnsim.measure.measure import Block

__all__ = ["CHUNK", "Ends", "Moments", "bytes_of_one", "product_flops", "rows_of"]

Array = Any

CHUNK = 2.0**28  # bytes of small matrices that are alive at once
_LARGEST = 4096  # products in a chunk
_SPLIT = 3e7  # flops; below, sorting products by what is zero takes longer than it saves


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of the input of two models, as arrays on its axes.

    Attributes:
        means: one for every side, shape ``in_shape``, or ``None`` for zero.
        covs: for sides (0, 0), (0, 1) and (1, 1), of one model; ``None`` for the identity.
    """

    means: tuple[Array | None, Array | None]
    covs: Mapping[tuple[int, int], Block | None]


class Ends:
    """Covariances and means of the ends of two products, and which of them are zero."""

    def __init__(self, f: Linked, g: Linked | None, law: Moments):
        self._terms = [f] if g is None else [f, g]
        self._law = law
        self._where = [(k, e) for k, t in enumerate(self._terms) for e in range(len(t.product.ends))]
        counts = [len(t.product.ends) for t in self._terms]
        self._offset = [0, counts[0]]
        self._made: dict[Any, Any] = {}

    def _end(self, e: int) -> tuple[Linked, End, int]:
        k, n = self._where[e]
        return self._terms[k], self._terms[k].product.ends[n], n

    def size(self, e: int) -> int:
        """How many entries an end has."""
        t, end, _ = self._end(e)
        return t.sizes[end.inner] if end.inner else 1

    def chains(self, left: np.ndarray, right: np.ndarray) -> Chains:
        """The chains of some products."""
        tables = (left, right)
        n = len(left)
        like = self._terms[0].term.tensors[0].data
        pairs, singles = [], []
        for k, t in enumerate(self._terms):
            pairs += [(u + self._offset[k], w + self._offset[k]) for u, w in t.product.pairs]
            singles += [e + self._offset[k] for e in t.product.singles]
        blocks: dict[Any, Any] = {}

        def cov(e: int, f: int) -> Array | None:
            key = (min(e, f), max(e, f))
            if key not in blocks:
                blocks[key] = self._gathered(*key, tables)
            x = blocks[key]
            return x if x is None or e <= f else x.swapaxes(1, 2)

        def mean(e: int) -> Array | None:
            if e not in blocks:
                found = self._mean(e, tables)
                blocks[e] = None if found is None or not found[1][found[2]].any() else found[0][found[2]]
            return blocks[e]

        def zeros(shape: tuple[int, int]) -> Array:
            return ar.do("zeros", (n, *shape), like=like)

        sides = [k for k, _ in self._where]
        sizes = [self.size(e) for e in range(len(self._where))]
        return Chains(sides, pairs, singles, sizes, cov, mean, zeros)

    def alike(
        self, left: np.ndarray, right: np.ndarray, i: np.ndarray, j: np.ndarray, connected: bool
    ) -> Iterator[np.ndarray]:
        """Pairs of products in chunks in which the same covariances are zero."""
        n = len(self._where)
        bits: list[np.ndarray] = []
        crossing = np.zeros(len(i), dtype=bool)
        tables = (left[i], right[j])
        for e in range(n):
            found = self._mean(e, tables)
            if found is not None:
                bits.append(found[1][found[2]])
            for f in range(e, n):
                live = self._live(e, f, tables)
                bits.append(live)
                if self._where[e][0] != self._where[f][0]:
                    crossing |= live
        number = np.zeros(len(i), dtype=np.int64)
        for bit in bits:
            number = number * 2 + bit
            if number.max(initial=0) > 2**60:
                number = np.unique(number, return_inverse=True)[1].astype(np.int64)
        if product_flops(self._terms) < _SPLIT:
            number[:] = 0
        number[~crossing & connected] = -1
        step = self._chunk()
        for value in np.unique(number):
            if value >= 0 or not connected:
                some = np.flatnonzero(number == value)
                for at in range(0, len(some), step):
                    yield some[at : at + step]

    def _chunk(self) -> int:
        """How many products fit into memory at once."""
        return max(1, min(_LARGEST, int(CHUNK / bytes_of_one(self._terms))))

    def _gathered(self, e: int, f: int, tables: Sequence[np.ndarray]) -> Array | None:
        """The covariance of two ends for every pair of products; ``None`` if all are zero."""
        live = self._live(e, f, tables)
        if not live.any():
            return None
        (s, x, _), (t, *_) = self._end(e), self._end(f)
        a, b = self._where[e][0], self._where[f][0]
        own = self._own(e, f)
        if (e, f) not in self._made:
            self._made[e, f] = self._covariance(e, f)
        rows = s.address(tables[a], x.batch) * entries(own, t.sizes) + t.address(tables[b], own)
        data = self._made[e, f][rows]
        if live.all():
            return data
        return data * ar.do("asarray", live[:, None, None].astype(float), like=data)

    def _places(self, e: int, f: int) -> list[int]:
        """Axes of the input that number the forms of both ends: positions."""
        x, y = self._end(e)[1], self._end(f)[1]
        return [k for k, (i, j) in enumerate(zip(x.leg, y.leg, strict=True)) if i in x.batch and j in y.batch]

    def _live(self, e: int, f: int, tables: Sequence[np.ndarray]) -> np.ndarray:
        """For which pairs of products the law joins two ends: which positions they read decides."""
        (s, x, _), (t, y, _) = self._end(e), self._end(f)
        places = self._places(e, f)
        left = [s.address(tables[self._where[e][0]], (x.leg[k],)) for k in places]
        right = [t.address(tables[self._where[f][0]], (y.leg[k],)) for k in places]
        _, shared = self._law_cov(s.side, t.side)
        live = np.ones(len(tables[0]), dtype=bool)
        for u, v in (
            pair for pair, k in zip(zip(left, right, strict=True), places, strict=True) if k in shared
        ):
            live &= u == v
        free = [n for n, k in enumerate(places) if k not in shared]
        joins = self._support(s.side, t.side, tuple(places[n] for n in free))
        if joins is not None:
            live &= joins[(*(left[n] for n in free), *(right[n] for n in free))]
        return live

    def _support(self, a: int, b: int, places: tuple[int, ...]) -> np.ndarray | None:
        """Which positions the covariance joins, along axes on which it is not diagonal; ``None`` for all."""
        cov, _ = self._law_cov(a, b)
        if cov is None or not places:
            return None
        key = ("support", a, b, places)
        if key not in self._made:
            first, second = cov.places(self._axes)
            kept = [*(first[k] for k in places), *(second[k] for k in places)]
            data = np.asarray(ar.to_numpy(ar.stop_gradient(cov.data)))
            data = np.any(data != 0, axis=tuple(k for k in range(data.ndim) if k not in kept))
            self._made[key] = data.transpose(np.argsort(np.argsort(kept)))
        found: np.ndarray = self._made[key]
        return found

    def _apart(self, e: int, f: int) -> list[int]:
        """Positions that are independent: axes of the input along which the covariance is diagonal."""
        a, b = self._end(e)[0].side, self._end(f)[0].side
        found = []
        _, shared = self._law_cov(a, b)
        for k in self._places(e, f):
            joins = None if k in shared else self._support(a, b, (k,))
            if k in shared or (joins is not None and not joins[~np.eye(len(joins), dtype=bool)].any()):
                found.append(k)
        return found

    def _own(self, e: int, f: int) -> tuple[str, ...]:
        """Indices that number the forms of the second end, besides those of the first."""
        x, y = self._end(e)[1], self._end(f)[1]
        same = self._where[e][0] == self._where[f][0]
        joined = {y.leg[k] for k in self._apart(e, f)}
        return tuple(ix for ix in y.batch if ix not in joined and not (same and ix in x.batch))

    def _covariance(self, e: int, f: int) -> Array:
        """Shape ``(batch, c, c')``: numbered by the batch of the first end, then by what the second's has besides."""
        (s, x, _), (t, y, q) = self._end(e), self._end(f)
        n = len(y.leg)
        second = {ix: f"~{ix}" for z in t.form(q) for ix in z.inds} | {ix: f"~{ix}" for ix in y.leg}
        joins: list[tuple[str, str]] = []
        if self._where[e][0] == self._where[f][0]:
            joins += [(ix, second[ix]) for ix in x.batch if ix in y.batch]
        cov, shared = self._law_cov(s.side, t.side)
        leg = tuple(second[ix] for ix in y.leg)
        if len(shared) == n:
            joins += list(zip(x.leg, leg, strict=True))
            tensors = [*s.form(e - self._offset[self._where[e][0]])]
            tensors += [] if cov is None else [qtn.Tensor(cov.data, x.leg)]
        else:
            apart = self._apart(e, f)
            joins += [(x.leg[k], leg[k]) for k in sorted({*apart, *shared})]
            tensors = [self._half(e, t.side, tuple(apart), leg)]
        tensors += [qtn.Tensor(z.data, tuple(second[ix] for ix in z.inds)) for z in t.form(q)]
        own = tuple(second[ix] for ix in self._own(e, f))
        inner = [x.inner, second[y.inner] if y.inner else None]
        output = (*x.batch, *own, *(ix for ix in inner if ix))
        value = Contraction(tuple(tensors), output, identify(joins)).value()
        return ar.do("reshape", value, (-1, self.size(e), self.size(f)))

    def _half(self, e: int, side: int, apart: tuple[int, ...], leg: Sequence[str]) -> qtn.Tensor:
        """A form with a full covariance on it, made once for all forms that it meets."""
        s, x, p = self._end(e)
        n = len(leg)
        key = ("half", e, side, apart)
        if key not in self._made:
            cov, shared = self._law_cov(s.side, side)
            assert cov is not None
            ports = tuple(f"port{k}" for k in range(n) if k not in apart and k not in shared)
            data, inds = cov.data, [*x.leg, *(f"port{k}" for k in range(n) if k not in shared)]
            for k in apart:
                if k not in shared:
                    first, other = inds.index(x.leg[k]), inds.index(f"port{k}")
                    data = ar.do("diagonal", data, axis1=first, axis2=other)
                    inds = [ix for ix in inds if ix not in (x.leg[k], f"port{k}")] + [x.leg[k]]
            own = (*x.batch, *((x.inner,) if x.inner else ()))
            output = (*own, *(x.leg[k] for k in shared if x.leg[k] not in own), *ports)
            value = Contraction((*s.form(p), qtn.Tensor(data, tuple(inds))), output).value()
            self._made[key] = qtn.Tensor(value, output)
        half = self._made[key]
        names = {f"port{k}": leg[k] for k in range(n)}
        return qtn.Tensor(half.data, tuple(names.get(ix, ix) for ix in half.inds))

    @property
    def _axes(self) -> int:
        """How many axes the input has."""
        return max(len(end.leg) for t in self._terms for end in t.product.ends)

    def _law_cov(self, a: int, b: int) -> tuple[Block | None, tuple[int, ...]]:
        """The covariance with the axes of side a first, and axes along which it is diagonal."""
        cov = self._law.covs[min(a, b), max(a, b)]
        if cov is None:
            return None, tuple(range(self._axes))
        return (cov if a <= b else cov.turned(self._axes)), cov.shared(self._axes)

    def _mean(self, e: int, tables: Sequence[np.ndarray]) -> tuple[Array, np.ndarray, np.ndarray] | None:
        s, x, p = self._end(e)
        mean = self._law.means[s.side]
        if mean is None and p not in s.offsets:
            return None
        if e not in self._made:
            output = (*x.batch, *((x.inner,) if x.inner else ()))
            whole = s.form(p)
            sums = [] if mean is None else [(*whole, qtn.Tensor(mean, x.leg))]
            if p in s.offsets:
                sums.append((s.offsets[p], *(z for z in whole if z is not s.term.tensors[x.parts[0]])))
            values = [Contraction(tensors, output).value() for tensors in sums]
            value = ar.do("reshape", sum(values[1:], start=values[0]), (-1, self.size(e)))
            size = ar.do("sum", ar.do("abs", ar.stop_gradient(value)), axis=1)
            self._made[e] = (value, np.asarray(ar.to_numpy(size)) != 0)
        return (*self._made[e], s.address(tables[self._where[e][0]], x.batch))


def bytes_of_one(terms: Sequence[Linked]) -> float:
    """Memory of the small matrices of one product with another."""
    c = max((t.sizes[e.inner] for t in terms for e in t.product.ends if e.inner), default=1)
    scalars = sum(len(t.product.pairs) for t in terms)
    singles = sum(len(t.product.singles) for t in terms)
    matrices = 8 + singles * singles + 4 * scalars * (singles + scalars) + 6 * scalars * 2**scalars
    return 8.0 * c * c * matrices


def product_flops(terms: Sequence[Linked]) -> float:
    """Floating-point operations of :func:`product_moment`, if no weight and no covariance is zero."""
    inner = max(
        [t.sizes[t.product.ends[u].inner or ""] for t in terms for u, _ in t.product.pairs], default=1
    )
    pairs = sum(len(t.product.pairs) for t in terms)
    count = float(np.prod([entries(t.product.batch, t.sizes) for t in terms]))
    return count * chain_flops(pairs, inner, max(map(rows_of, terms))) + _covariance_flops(terms)


def _covariance_flops(terms: Sequence[Linked]) -> float:
    """A full covariance on all forms of the first, and the forms of both against each other."""
    wide = [
        sum(
            entries([ix for ix in e.batch if ix not in e.leg], t.sizes) * t.sizes.get(e.inner or "", 1)
            for e in t.product.ends
        )
        for t in terms
    ]
    legs = [entries(t.term.legs[0], t.sizes) if t.term.legs else 0 for t in terms]
    places = [
        entries([ix for ix in t.term.legs[0] if ix in t.product.batch], t.sizes) if t.term.legs else 0
        for t in terms
    ]
    return 2.0 * wide[0] * legs[-1] * (legs[0] + places[0] * wide[-1])


def rows_of(t: Linked) -> int:
    """How many values the open index of a term takes."""
    return t.sizes[t.product.open] if t.product.open else 1
