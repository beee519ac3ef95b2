"""Values: what an array holds, as an array of numpy."""

from typing import Any

import autoray as ar
import numpy as np

__all__ = ["numbers"]

Array = Any


def numbers(x: Array) -> np.ndarray:
    """The values of an array of any backend, dtype and device, without its gradient, or of a list of numbers.

    Numpy knows no bfloat16; such values come as float32, which has them all.

    Example:
        >>> numbers([1, 2]).shape
        (2,)
    """
    if not hasattr(x, "shape"):
        return np.asarray(x)
    x = ar.stop_gradient(x)
    return np.asarray(ar.to_numpy(ar.astype(x, "float32") if ar.get_dtype_name(x) == "bfloat16" else x))
