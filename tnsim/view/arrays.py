"""From whatever holds numbers to a plain float array, checked."""

from typing import Any

import autoray as ar
import numpy as np

from tnsim.common.values import numbers

__all__ = ["checked", "to_numpy"]


def to_numpy(x: Any) -> np.ndarray:
    """A numpy array of floats from a list, a numpy array, a torch tensor (on any device, with or without gradient)…

    Example:
        >>> to_numpy([[1, 2], [3, 4]]).shape
        (2, 2)
    """
    if isinstance(x, np.ndarray):
        return x.astype(float)
    if isinstance(x, list | tuple):
        return np.asarray([to_numpy(row) if ar.infer_backend(row) != "builtins" else row for row in x], float)
    return numbers(x).astype(float)


def checked(x: Any, ndim: int, what: str, instead: str = "", blanks: bool = False) -> np.ndarray:
    """The numbers of ``x``, with the expected number of axes and without NaN.

    Args:
        x: whatever holds numbers.
        ndim: how many axes it is to have.
        what: its name, for messages.
        instead: what to do where the shape is wrong.
        blanks: whether NaN may stand where there is no value, as long as there is a value somewhere.

    Raises:
        ValueError: if the shape is wrong, or there is nothing or no number in it.
    """
    values = to_numpy(x)
    if values.ndim != ndim:
        hint = f" {instead}" if instead else ""
        raise ValueError(f"{what} needs {ndim} axes; got shape {values.shape}.{hint}")
    if values.size == 0:
        raise ValueError(f"{what} is empty: its shape is {values.shape}.")
    bad = ~np.isfinite(values)
    if blanks and not np.isnan(values).all():
        bad = np.isinf(values)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{what} holds {int(bad.sum())} entries that are NaN or infinite, the first at {first}. "
            "Look for a model whose norm is zero, or drop those entries first."
        )
    return values
