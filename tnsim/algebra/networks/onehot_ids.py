"""Token ids as one-hot vectors."""

import math
from collections.abc import Sequence
from typing import Any

import autoray as ar

from tnsim.common.wires import WireError

__all__ = ["check_ids", "is_ids", "one_hot"]

Array = Any


def is_ids(x: Array) -> bool:
    """Whether an array holds integers."""
    return ar.get_dtype_name(x).startswith(("int", "uint"))


def check_ids(ids: Array, known: Sequence[range]) -> None:
    """Refuse ids that the tables which read them have no rows for.

    Args:
        ids: shape ``(*batch, n_ctx)``, integers.
        known: the ids of every position; nothing is checked where this is empty.

    Raises:
        WireError: if there is another one.
    """
    if not known or ar.shape(ids)[-1] != len(known) or not ar.size(ids):
        return
    columns = ar.do("reshape", ids, (-1, len(known)))
    for place, some in enumerate(known):
        low, high = int(ar.do("min", columns[:, place])), int(ar.do("max", columns[:, place]))
        if low < some.start or high >= some.stop:
            raise WireError(
                f"token ids at position {place} lie between {low} and {high}; the tables that read them there know the "
                f"tokens {some.start} … {some.stop - 1}."
            )


def one_hot(ids: Array, n_ctx: int, size: int, like: Array, between: tuple[int, int] | None = None) -> Array:
    """One-hot vectors of token ids.

    Args:
        ids: shape ``(*batch, n_ctx)``, integers.
        n_ctx: positions of a sequence.
        size: number of tokens.
        like: an array of the dtype and device wanted.
        between: the least and the largest id, where they are known: on a device it takes time to ask.

    Returns:
        Shape ``(*batch, n_ctx, size)``.

    Raises:
        WireError: if the shape does not fit or an id is not a token.

    Example:
        >>> import numpy as np
        >>> one_hot(np.array([2, 0]), 2, 3, np.zeros(1))
        array([[0., 0., 1.],
               [1., 0., 0.]])
    """
    shape = tuple(ar.shape(ids))
    if not shape or shape[-1] != n_ctx:
        raise WireError(
            f"integers are token ids of shape (n, {n_ctx}), and x has shape {shape}; for vectors of shape "
            f"(n, {n_ctx}, {size}) write x.double()."
        )
    flat = ar.do("reshape", ids, (-1,))
    n = math.prod(shape)
    if n:
        low, high = (int(ar.do("min", flat)), int(ar.do("max", flat))) if between is None else between
        if low < 0 or high >= size:
            raise WireError(
                f"token ids lie between {low} and {high}; this network knows the tokens 0 … {size - 1}."
            )
    device = getattr(like, "device", None)
    where = {} if device is None else {"device": device}
    if getattr(flat, "device", None) != device:
        flat = ar.to_device(flat, device)
    rows = ar.do("reshape", flat, (n, 1)) == ar.do("arange", size, like=flat, **where)
    return ar.do("reshape", ar.astype(rows, ar.get_dtype_name(like)), (*shape, size))
