"""Sizes: what is said of a model whose norm is zero, or out of range."""

from math import inf, log2
from typing import Any

import autoray as ar
import numpy as np

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.ranges import in_range
from tnsim.common.scaled import ScaleError, limits
from tnsim.common.values import numbers

__all__ = ["check_range", "check_sizes", "out_of_range"]

Array = Any


def check_sizes(norms: Array, name: str, what: str, *nets: Network) -> None:
    """Refuse squared norms that are zero or out of range, and say which of these it is.

    Args:
        norms: squared norms, in units in which the model's weights are in range.
        name: the model's.
        what: what is not defined without a norm.
        nets: the model; looked at only if something is wrong.

    Raises:
        ScaleError: if a norm is out of range.
        ValueError: if the model is zero.
    """
    check_range(norms, name, what, *nets)
    if not bool(ar.do("all", norms > 0)):
        raise ValueError(f"{name} is the zero function under this law; {what} is not defined.")


def check_range(norms: Array, name: str, what: str, *nets: Network) -> None:
    """Refuse squared norms that are out of range; those of zero functions are zero, and in range. As :func:`check_sizes`.

    Raises:
        ScaleError: if a norm overflows or underflows, or is zero and may be so by underflow alone.
    """
    values = numbers(norms)
    dtype = ar.get_dtype_name(norms)
    tiny, _ = limits(norms)
    instead = "" if dtype == "float64" else ' Convert with .to(dtype="float64").'
    if not np.isfinite(values).all():
        raise ScaleError(
            f"the norm of {name} overflows {dtype} on the way, so {what} cannot be computed: it has weights that are "
            f"not finite, or that span too many orders of magnitude.{instead}"
        )
    if ((values > 0) & (values < tiny)).any():
        raise ScaleError(
            f"the norm of {name} underflows {dtype} on the way, so {what} cannot be computed: its weights span too many "
            f"orders of magnitude.{instead}"
        )
    if not (values > 0).all() and any(2 * _least(in_range(net)[0]) < log2(tiny) for net in nets):
        raise ScaleError(
            f"the norm of {name} is zero in {dtype}, maybe by underflow, so {what} cannot be computed: its weights span "
            f"too many orders of magnitude to tell.{instead}"
        )


def out_of_range(norms: Array) -> list[int]:
    """Which of a list of squared norms are to be looked at: zero, tiny or not finite. The values are read once."""
    tiny, most = limits(norms)
    values = numbers(norms)
    return np.flatnonzero(~((values >= tiny) & (values <= most))).tolist()


def _least(net: Network) -> float:
    """log2 of the smallest product of weights that are not zero: what cannot underflow is zero where it is zero.

    Infinite where weights are zero such that nothing is left.
    """
    state = 0.0
    for f in net.polys:
        found = [inf]
        for t in f.terms:
            sizes = [np.abs(numbers(x.data)) for x in t.tensors]
            if all(x.any() for x in sizes) and not (t.degree and state == inf):
                found.append(sum(log2(x[x > 0].min()) for x in sizes) + min(state, 0.0) * t.degree)
        state = min(found)
    return state
