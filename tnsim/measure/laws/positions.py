"""Gaussian laws of sequences: what is said of one position, or of all, as mean and covariance of everything."""

from typing import Any

import autoray as ar
import numpy as np

from tnsim.algebra.polys.poly import Axes
from tnsim.common.values import numbers
from tnsim.measure.pairings.measure import MeasureError, as_like

__all__ = ["check_gaussian", "over_positions"]

Array = Any

_CHECKED_UP_TO = 2048  # rows of a covariance whose eigenvalues are checked; beyond, it takes many seconds


def check_gaussian(mean: Array | None, cov: Array | None, across: Array | None = None) -> None:
    """Refuse what is no mean or no covariance.

    Raises:
        MeasureError: if the covariance is not symmetric or not positive semidefinite, or anything is not finite.
    """
    given = {"mean": mean, "cov": cov, "across": across}
    values = {k: numbers(x) for k, x in given.items() if x is not None}
    for name, x in values.items():
        if x.dtype.kind not in "iuf":
            raise MeasureError(f"{name} holds {x.dtype}; it needs real numbers.")
        if not np.isfinite(x).all():
            raise MeasureError(f"{name} has entries that are not finite.")
    for name in ("cov", "across"):
        if name in values:
            _check_covariance(values[name].astype(float), name)
    if across is not None and (values["across"].ndim != 2 or (cov is not None and values["cov"].ndim > 2)):
        raise MeasureError(
            "across has shape (n_ctx, n_ctx) and multiplies the covariance cov of one position, (d, d) or (d,)."
        )


def _check_covariance(cov: np.ndarray, name: str) -> None:
    square = cov.ndim % 2 == 0 and cov.shape[: cov.ndim // 2] == cov.shape[cov.ndim // 2 :]
    if square:
        matrix = cov.reshape(int(np.sqrt(cov.size)), -1)
        if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-9 * np.abs(matrix).max()):
            raise MeasureError(
                f"{name} is not symmetric; pass ({name} + {name}.T) / 2 if that is what you mean."
            )
        if len(matrix) <= _CHECKED_UP_TO:
            least, most = np.linalg.eigvalsh(matrix)[[0, -1]]
            if least < -1e-6 * abs(most):
                raise MeasureError(f"{name} is not positive semidefinite: it has the eigenvalue {least:.3g}.")
        cov = matrix.diagonal()
    elif cov.ndim % 2 == 0:
        raise MeasureError(f"{name} has shape {cov.shape}; write (d, d), or (d,) for a diagonal covariance.")
    if (cov < 0).any():
        raise MeasureError(f"{name} has a negative variance on its diagonal.")


def over_positions(
    mean: Array | None, cov: Array | None, n_ctx: int | None, across: Array | None, domain: Axes, like: Array
) -> tuple[Array | None, Array | None]:
    """Mean and covariance of a whole sequence from those of one position; others are left as they are.

    Raises:
        MeasureError: if the model does not read sequences of that length.
    """
    spaces = [s for s, _ in domain]
    if spaces != ["s", "d"]:
        if n_ctx is not None or across is not None:
            raise MeasureError(
                f"n_ctx and across are for models of sequences; this one reads {dict(domain)}."
            )
        return mean, cov
    (_, s), (_, d) = domain
    if n_ctx not in (None, s) or (across is not None and ar.shape(across)[0] != s):
        raise MeasureError(f"the law has {n_ctx or ar.shape(across)[0]} positions; the model reads {s}.")
    if mean is not None and tuple(ar.shape(mean)) == (d,) and s > 1:
        mean = ar.do("stack", (as_like(mean, like),) * s, axis=0)
    shape = None if cov is None else tuple(ar.shape(cov))
    if across is None and (shape is None or shape not in ((d,), (d, d)) or s == 1):
        return mean, cov
    one = ar.do("ones", (d,), like=like) if cov is None else as_like(cov, like)
    if across is None and ar.ndim(one) == 1:
        return mean, ar.do("stack", (one,) * s, axis=0)
    between = ar.do("eye", s, like=like) if across is None else as_like(across, like)
    full = one if ar.ndim(one) == 2 else ar.do("eye", d, like=like) * one
    if tuple(ar.shape(full)) != (d, d):
        raise MeasureError(f"cov has shape {shape}; with across it is that of one position, ({d}, {d}).")
    return mean, between[:, None, :, None] * full[None, :, None, :]
