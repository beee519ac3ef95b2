"""Values: what an array holds, as an array of numpy."""

from collections.abc import Callable
from typing import Any

import autoray as ar
import numpy as np
import quimb.tensor as qtn

__all__ = ["numbers", "once"]

Array = Any


def once(fn: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The same function, called once for every array: what shares an array, in several layers too, goes on sharing one."""
    made: dict[int, tuple[Array, Array]] = {}

    def of(x: Array) -> Array:
        if id(x) not in made:
            made[id(x)] = (x, fn(x))
        return made[id(x)][1]

    return of


def numbers(x: Array) -> np.ndarray:
    """The values of an array of any backend, dtype and device, without its gradient, or of a list of numbers.

    Numpy knows no bfloat16; such values come as float32, which has them all.

    Example:
        >>> numbers([1, 2]).shape
        (2,)

    Raises:
        TypeError: for what holds no numbers.
    """
    if isinstance(x, qtn.Tensor):
        raise TypeError("a tensor of quimb is given where its numbers are wanted; write tensor.data.")
    try:
        if not hasattr(x, "shape") or isinstance(x, np.ndarray):
            found = np.asarray(x)
        else:
            x = ar.stop_gradient(x)
            found = np.asarray(
                ar.to_numpy(ar.astype(x, "float32") if ar.get_dtype_name(x) == "bfloat16" else x)
            )
    except (ValueError, ImportError) as error:
        raise TypeError(f"a {type(x).__name__} holds no array of numbers: {error}") from error
    if found.dtype.kind not in "biufcV":
        raise TypeError(f"a {type(x).__name__} of {found.dtype} holds no numbers that fit into an array.")
    return found
