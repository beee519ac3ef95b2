"""Parameters of laws from data: mean and covariance of a batch, frequencies and transitions of tokens."""

from typing import Any

import numpy as np

from tnsim.common.values import numbers
from tnsim.measure.pairings.measure import MeasureError

__all__ = ["FEW", "frequencies", "mean_and_covariance", "transitions"]

Array = Any

FEW = 10  # samples for every dimension; with fewer a covariance is shrunk


def mean_and_covariance(x: Array, shrink: bool | None = None) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and covariance of samples, and how far the covariance was shrunk towards its diagonal.

    The covariance is (1 − λ) S + λ diag(S), where S = Σ_b z_b z_bᵀ / N is that of the samples. The λ in [0, 1] that is
    nearest to the truth on average (for S without its bias, the factor 1 − 1/N) is Σ Var(S_ij) / Σ S_ij², over i ≠ j,
    with the variances of the sample.

    Args:
        x: shape ``(N, …)``.
        shrink: whether to; by default where there are fewer than ten samples for every dimension.

    Returns:
        Mean of shape ``(…)``, covariance of shape ``(…, …)``, and λ.

    Raises:
        MeasureError: if there are fewer than two samples, or some are not finite.

    References:
        Ledoit and Wolf (2004); Schäfer and Strimmer (2005), target D.
    """
    values = numbers(x)
    if values.ndim < 2 or len(values) < 2:
        raise MeasureError(f"a law is made of at least two samples, shape (N, d); got {values.shape}.")
    if not np.isfinite(values).all():
        raise MeasureError("the samples have entries that are not finite.")
    n, shape = len(values), values.shape[1:]
    flat = values.reshape(n, -1).astype(float)
    mean = flat.mean(0)
    z = flat - mean
    cov = z.T @ z / n
    amount = 0.0
    if n < FEW * len(mean) if shrink is None else shrink:
        spread = (z**2).T @ z**2 / n - cov**2  # of a product z_i z_j
        off = ~np.eye(len(mean), dtype=bool)
        signal = (cov**2)[off].sum()
        amount = float(min(1.0, spread[off].sum() / n / signal)) if signal > 0 else 0.0
        cov = np.where(off, (1 - amount) * cov, cov)
    return mean.reshape(shape), cov.reshape(*shape, *shape), amount


def frequencies(ids: Array, n_vocab: int | None = None, smoothing: float = 0.0) -> np.ndarray:
    """How often every token occurs, shape ``(n_vocab,)``.

    Raises:
        MeasureError: if these are no token ids, or are beyond the vocabulary.
    """
    values, size = _ids(ids, n_vocab, smoothing)
    count = np.bincount(values.ravel(), minlength=size) + smoothing
    return count / count.sum()


def transitions(
    ids: Array, n_vocab: int | None = None, smoothing: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """The law of the first token, and that of the next after each; after one that none follows, that of all tokens.

    Raises:
        MeasureError: if these are no token ids, or are beyond the vocabulary.
    """
    values, size = _ids(ids, n_vocab, smoothing)
    rows = values.reshape(1, -1) if values.ndim == 1 else values.reshape(-1, values.shape[-1])
    usual = frequencies(rows, size, smoothing)
    first = usual if len(rows) == 1 else frequencies(rows[:, 0], size, smoothing)
    count = np.full((size, size), float(smoothing))
    np.add.at(count, (rows[:, :-1].ravel(), rows[:, 1:].ravel()), 1.0)
    total = count.sum(1, keepdims=True)
    return first, np.where(total > 0, count / np.where(total > 0, total, 1.0), usual)


def _ids(ids: Array, n_vocab: int | None, smoothing: float) -> tuple[np.ndarray, int]:
    values = numbers(ids)
    if values.dtype.kind not in "iu" or not values.size or values.ndim < 1:
        raise MeasureError(f"token ids are whole numbers; got {values.dtype} of shape {values.shape}.")
    least, most = int(values.min()), int(values.max())
    size = most + 1 if n_vocab is None else n_vocab
    if least < 0 or most >= size:
        raise MeasureError(f"token ids lie between 0 and n_vocab − 1 = {size - 1}; got {least} to {most}.")
    if not 0 <= smoothing < np.inf:
        raise MeasureError(
            f"smoothing is {smoothing}; it is a count that is added to every other, at least 0."
        )
    return values, size
