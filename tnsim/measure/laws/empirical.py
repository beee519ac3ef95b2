"""The average over samples, weighted or not: every leg hangs on one shared sample index."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import autoray as ar
import numpy as np
import quimb.tensor as qtn

from tnsim.algebra.networks.onehot_ids import is_ids, one_hot
from tnsim.algebra.polys.poly import Axes, Poly
from tnsim.algebra.terms.term import Term
from tnsim.common.values import numbers
from tnsim.common.wires import BATCH
from tnsim.measure.pairings.measure import Block, Bridge, Closure, Measure, MeasureError, as_like

__all__ = ["Empirical", "JointEmpirical"]

Array = Any


@dataclass(frozen=True, eq=False)
class Empirical(Measure):
    """The weighted average over samples: E[f ⊗ g] = Σ_b w_b f(x_b) ⊗ g(x_b).

    With equal weights that is behavioural similarity. With others, samples of one law stand for another:
    :func:`tnsim.draws` makes such samples.

    Args:
        x: shape ``(N, d)`` (images may come as ``(N, …)``, they are flattened), ``(N, n_ctx, d)`` for sequences, or
            token ids ``(N, n_ctx)`` as integers.
        weights: shape ``(N,)``, none negative; they are divided by their sum. Equal by default.
        replicates: shape ``(N,)``, whole numbers from 0: to which of several independent sets every sample belongs. How
            far the answers of these sets are apart is the error of the whole, where ``error=`` asks for it.

    Raises:
        MeasureError: if there are no samples, some are not finite, or weights or replicates do not fit.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra.polys.writing import poly
        >>> from tnsim.measure.pairings.expectation import expect
        >>> x = poly("W[out,in0]", W=np.eye(1))
        >>> law = Empirical(np.array([[1.0], [3.0]]), weights=[3, 1])
        >>> expect((x, x), law.bound(x.domain, x.like))  # (3 · 1² + 3²) / 4
        array([[3.]])
    """

    x: Array
    weights: Array | None = None
    replicates: Array | None = None
    _between: tuple[Any, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        values = numbers(self.x)
        if values.ndim < 2 or not len(values):
            raise MeasureError(f"Empirical needs samples of shape (N, d); got {values.shape}.")
        if not np.isfinite(values).all():
            raise MeasureError("Empirical got samples that are not finite.")
        object.__setattr__(self, "_between", (values.min(), values.max()))
        if self.weights is not None:
            _check_weights(numbers(self.weights), len(values))
        if self.replicates is not None:
            _check_replicates(numbers(self.replicates), len(values))

    def bound(self, domain: Axes, like: Array) -> "JointEmpirical":
        """Samples as the model's arrays, one copy for either side."""
        shape = tuple(n for _, n in domain)
        x = self.x
        if len(shape) == 2 and ar.ndim(x) == 2 and is_ids(x):
            x = one_hot(x, *shape, like=like, between=self._between)
        x = as_like(x, like)
        if ar.size(x) != len(x) * int(np.prod(shape)):
            raise MeasureError(f"the samples have shape {tuple(ar.shape(x))}; the model's input is {shape}.")
        block = Block(ar.do("reshape", x, (len(x), *shape)))
        return JointEmpirical((block, block), self.shares(like))

    def picked(self, which: Array, domain: Axes, like: Array) -> tuple[Array, Array]:
        """Some of the samples, as ids or as the model's arrays, and their weights, of mean one over all samples."""
        n, which = len(self.x), ar.do("asarray", which, like=self.x)
        some = replace(self, x=self.x[which], weights=None, replicates=None)
        shares = self.shares(like)
        weights = ar.do("ones", (n,), like=like) if shares is None else shares * n
        ids = len(domain) == 2 and ar.ndim(self.x) == 2 and is_ids(self.x)
        return some.x if ids else some.bound(domain, like).samples[0].data, weights[which]

    def shares(self, like: Array) -> Array | None:
        """Weights that add up to one, as the model's arrays; ``None`` where all are equal."""
        if self.weights is None:
            return None
        weights = as_like(self.weights, like)
        return weights / ar.do("sum", weights)

    def closures(
        self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False
    ) -> Iterator[Closure]:
        """One closure."""
        block = Block(self.x)
        return JointEmpirical((block, block), self.shares(self.x)).closures(factors, sides, exchange)

    def count(self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False) -> int:
        """Always 1."""
        return 1

    def __repr__(self) -> str:
        parts = [str(tuple(ar.shape(self.x)))]
        parts += ["weighted"] * (self.weights is not None)
        if self.replicates is not None:
            parts.append(f"{int(numbers(self.replicates).max()) + 1} replicates")
        return f"Empirical({', '.join(parts)})"


@dataclass(frozen=True, eq=False)
class JointEmpirical(Measure):
    """The same samples as two models see them in a hidden layer.

    Attributes:
        samples: for every side a block with axes ``(b, *leg)``.
        weights: shape ``(b,)``, adding up to one; ``None`` where all are equal.
    """

    samples: tuple[Block, ...]
    weights: Array | None = None

    def closures(
        self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False
    ) -> Iterator[Closure]:
        """One closure: the data on every leg, one sample index for all."""
        equal = self.weights is None
        shares = ar.do("ones", (self._n,), like=self.samples[0].data) if equal else self.weights
        bridges = [Bridge((), (), (qtn.Tensor(shares, (BATCH,), tags="DATA"),))]
        for f, (t, side) in enumerate(zip(factors, sides, strict=False)):
            for k, leg in enumerate(t.legs):
                bridges.append(Bridge(((f, k),), (), (self.samples[side].tensor((BATCH, *leg), "DATA"),)))
        yield Closure(1 / self._n if equal else 1.0, tuple(bridges))

    def count(self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False) -> int:
        """Always 1."""
        return 1

    def run_of(self, side: int) -> int | None:
        """Models stacked on one side."""
        block = self.samples[side]
        return int(ar.shape(block.data)[0]) if block.models else None

    def exponents(self) -> tuple[Array, ...]:
        """The largest entry of what every model reads, as a power of two."""
        found = []
        for block in self.samples:
            runs = ar.shape(block.data)[0] if block.models else 1
            flat = ar.do("abs", ar.do("reshape", ar.stop_gradient(block.data), (runs, -1)))
            size = ar.do("amax", flat, axis=1)
            exponent = ar.do("ceil", ar.do("log2", ar.do("where", size > 0, size, size * 0 + 1)))
            found.append(exponent if block.models else exponent[0])
        return tuple(found)

    def scaled(self, exponents: Sequence[Array]) -> "JointEmpirical":
        """The samples in other units."""
        blocks = []
        for block, e in zip(self.samples, exponents, strict=True):
            axes = ar.ndim(block.data) - ar.ndim(e)
            gain = ar.do("reshape", 2.0**-e, (*ar.shape(e), *(1,) * axes))
            blocks.append(replace(block, data=block.data * gain))
        return replace(self, samples=tuple(blocks))

    def carries(self, layers: Sequence[Poly]) -> bool:
        """Samples go through any layer exactly."""
        return True

    def push(
        self, layers: Sequence[Poly], known: Sequence[Measure | None] = (), apart: Sequence[int] = ()
    ) -> "JointEmpirical":
        """The samples behind one more layer."""
        return replace(self, samples=tuple(self._behind(side, f) for side, f in enumerate(layers)))

    def _behind(self, side: int, f: Poly) -> Block:
        block = self.samples[side]
        run = (side,) if block.models or f.models else ()
        return Block(f.evaluate(block.data, run=bool(block.models)), run)

    @property
    def _n(self) -> int:
        block = self.samples[0]
        return int(ar.shape(block.data)[len(block.models)])


def _check_weights(weights: np.ndarray, n: int) -> None:
    if weights.shape != (n,):
        raise MeasureError(f"{n} samples need weights of shape ({n},); got {weights.shape}.")
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise MeasureError("weights of samples are finite, none is negative, and some are above zero.")


def _check_replicates(replicates: np.ndarray, n: int) -> None:
    if replicates.shape != (n,) or replicates.dtype.kind not in "iu":
        raise MeasureError(
            f"{n} samples need replicates of shape ({n},), as whole numbers; got {replicates.dtype} of shape "
            f"{replicates.shape}."
        )
    found = np.unique(replicates)
    if found[0] != 0 or found[-1] != len(found) - 1:
        raise MeasureError(f"replicates are numbered from 0 without gaps; got {found[:8].tolist()}.")
