"""Gaussian laws: legs are closed in pairs by the covariance."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import autoray as ar
import numpy as np

from tnsim.algebra.polys.poly import Axes
from tnsim.measure.laws.fitted import mean_and_covariance
from tnsim.measure.laws.positions import check_gaussian, over_positions
from tnsim.measure.laws.wick import JointGaussian, Wick
from tnsim.measure.pairings.measure import Block, MeasureError, as_like, unchecked

__all__ = ["Gaussian", "JointGaussian"]

Array = Any


@dataclass(frozen=True, eq=False)
class Gaussian(Wick):
    """x ~ N(mean, cov), the same for all models. ``Gaussian()`` is the standard normal law.

    Under it an inner product is the functional one, E[f(x)·g(x)], and it is exact: the sum over all pairings
    of the legs of f and g, each pair bridged by the covariance, leftovers carrying the mean.

    Args:
        mean: shape ``(d,)``, or ``None`` for zero.
        cov: shape ``(d, d)``, ``(d,)`` for a diagonal, or ``None`` for the identity. For a model of sequences that is
            the covariance at every position; any covariance across positions has shape ``(n_ctx, d, n_ctx, d)``.
        n_ctx: number of positions; whatever the model reads by default.
        across: shape ``(n_ctx, n_ctx)``: Cov(x[p], x[q]) = across[p, q] · cov. By default positions are independent.
        note: where it comes from, in words.

    Raises:
        MeasureError: if the covariance is not symmetric or not positive semidefinite, or anything is not finite.

    References:
        Isserlis (1918); Wick (1950).

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra.polys.writing import poly
        >>> from tnsim.measure.pairings.expectation import expect
        >>> square = poly("D[out,hid] L[hid,in0] R[hid,in1]", D=np.eye(1), L=np.eye(1), R=np.eye(1))
        >>> expect((square, square), Gaussian())  # E[x⁴]
        array([[3.]])
    """

    mean: Array | None = None
    cov: Array | None = None
    n_ctx: int | None = None
    across: Array | None = None
    note: str = ""
    # of the input, once the law is bound to it: then a diagonal of shape (n_ctx, d) is not taken for a matrix (d, d)
    axes: Axes | None = field(default=None, init=False, repr=False)

    @classmethod
    def of(cls, x: Array, *, shrink: bool | None = None) -> "Gaussian":
        """The law of a batch: its mean, and its covariance (divided by N, as that of :class:`Empirical`).

        With fewer than ten samples for every dimension the covariance is shrunk towards its diagonal, by the amount that
        is nearest to the truth on average; ``repr`` says by how much. For a model that is linear in x, all answers are
        those of ``Empirical(x)`` unless it is shrunk.

        Args:
            x: shape ``(N, d)``, or ``(N, …)`` as the model reads it, such as images or ``(N, n_ctx, d)``. Sequences get
                their full covariance across positions; pass ``x.reshape(-1, d)`` for that of a single one.
            shrink: whether to shrink; by default where there are few samples.

        Raises:
            MeasureError: if there are fewer than two samples, or some are not finite.

        References:
            Ledoit and Wolf (2004); Schäfer and Strimmer (2005), target D.

        Example:
            >>> import numpy as np
            >>> Gaussian.of(np.random.default_rng(0).normal(size=(1000, 4)))
            Gaussian(mean=(4,), cov=(4, 4), of 1000 samples)
        """
        mean, cov, amount = mean_and_covariance(x, shrink)
        few = f", covariance shrunk by {amount:.0%} towards its diagonal" if amount else ""
        return cls(mean, cov, note=f"of {len(x)} samples{few}")

    def __post_init__(self) -> None:
        check_gaussian(self.mean, self.cov, self.across)

    def mean_of(self, side: int) -> Block | None:
        """The mean, the same on both sides."""
        return None if self.mean is None else Block(self.mean)

    def cov_of(self, a: int, b: int) -> Block | None:
        """The covariance: both models read the same x."""
        return None if self.cov is None else Block(self.cov)

    def bound(self, domain: Axes, like: Array) -> "Gaussian":
        """Arrays as the model's; see :meth:`Measure.bound`."""
        shape = tuple(n for _, n in domain)
        size = int(np.prod(shape))
        mean, cov = self.mean, self.cov
        if self.axes != tuple(domain):
            mean, cov = over_positions(mean, cov, self.n_ctx, self.across, domain, like)
        if mean is not None:
            mean = as_like(mean, like)
            if ar.size(mean) != size:
                raise MeasureError(f"mean has shape {ar.shape(mean)}; the model's input is {shape}.")
            mean = ar.do("reshape", mean, shape)
        if cov is not None:
            cov = as_like(cov, like)
            if ar.size(cov) not in (size, size * size):
                raise MeasureError(f"cov has shape {ar.shape(cov)}; the model's input is {shape}.")
            cov = ar.do("reshape", cov, shape if ar.size(cov) == size and size > 1 else (*shape, *shape))
        return unchecked(Gaussian, mean=mean, cov=cov, n_ctx=None, across=None, axes=tuple(domain))

    def exponents(self) -> tuple[Array, ...]:
        """The largest standard deviation or mean, as a power of two; none for a covariance that is the identity.

        Exponents of the two models are the same: both read the same x.
        """
        if self.cov is None or not hasattr(self.cov, "shape"):
            return ()
        size = ar.do("max", ar.do("abs", ar.stop_gradient(self.cov))) ** 0.5
        if self.mean is not None:
            mean = ar.do("max", ar.do("abs", ar.stop_gradient(self.mean)))
            size = ar.do("where", mean > size, mean, size)
        exponent = ar.do("round", ar.do("log2", ar.do("where", size > 0, size, size * 0 + 1)))
        return exponent, exponent

    def scaled(self, exponents: Sequence[Array]) -> "Gaussian":
        """Mean and covariance in other units."""
        gain = 2.0 ** -exponents[0]
        law = copy(self)
        for name, x in (
            ("mean", None if self.mean is None else self.mean * gain),
            ("cov", None if self.cov is None else self.cov * gain * gain),
        ):
            object.__setattr__(law, name, x)
        return law

    def _without_mean(self) -> "Gaussian":
        return unchecked(Gaussian, mean=None, cov=self.cov, n_ctx=None, across=None, axes=self.axes)

    def __repr__(self) -> str:
        parts = [] if self.n_ctx is None else [f"n_ctx={self.n_ctx}"]
        parts += [
            f"{k}={tuple(ar.shape(_array(v)))}"
            for k, v in (("mean", self.mean), ("cov", self.cov), ("across", self.across))
            if v is not None
        ]
        parts += [self.note] * bool(self.note)
        return f"Gaussian({', '.join(parts)})"


def _array(x: Array) -> Array:
    return x if hasattr(x, "shape") else np.asarray(x, dtype=float)
