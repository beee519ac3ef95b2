"""Tables: numbers that a structure decides, moved to every device once; and arrays made like others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import autoray as ar
import numpy as np

from tnsim.common.caches import cleared_by
from tnsim.common.values import numbers
from tnsim.engine.contract import dtype_bytes, itemsize

__all__ = ["Constant", "as_like", "in_main_memory", "in_order", "moved", "table"]

Array = Any


@dataclass(frozen=True, eq=False)
class Constant:
    """Numbers that are made when they are first read, and kept on every device on which they were.

    Moving them makes the processor wait for the device, and takes longer than what is then done with them. Who holds a
    table holds what was moved: a recipe those of its operations.

    Attributes:
        make: makes the numbers.
        key: its arguments.
        remembered: whether ``make`` remembers what it made, so that in main memory nothing need be kept here.
    """

    make: Callable[..., np.ndarray]
    key: tuple[Any, ...] = ()
    remembered: bool = False
    _moved: dict[Any, Array] = field(default_factory=dict, repr=False)

    def index(self, like: Array) -> Array:
        """As whole numbers on the device of ``like``, flat: to choose rows with."""
        return self._on(like, None, lambda x: ar.do("asarray", x.reshape(-1), like=like))

    def like(self, like: Array) -> Array:
        """As numbers of the dtype of ``like``, on its device."""
        return self._on(like, ar.get_dtype_name(like), lambda x: as_like(x, like))

    def _on(self, like: Array, dtype: str | None, moved: Callable[[np.ndarray], Array]) -> Array:
        backend = ar.infer_backend(like)
        if backend != "torch" or (self.remembered and like.is_cpu):
            return moved(self.make(*self.key))
        # what is made in inference mode cannot be used where gradients are to come
        key = (str(like.device), dtype, ar.do("is_inference_mode_enabled", like=backend))
        if key not in self._moved:
            self._moved[key] = moved(self.make(*self.key))
        return self._moved[key]


_SHARED: WeakValueDictionary[Any, Constant] = WeakValueDictionary()
cleared_by(_SHARED.clear)


def table(make: Callable[..., np.ndarray], *key: Any) -> Constant:
    """The table of ``make(*key)``, one for all who hold it. ``make`` remembers what it made."""
    return _SHARED.setdefault((make, key), Constant(make, key, remembered=True))


def as_like(x: Array, like: Array) -> Array:
    """``x`` as an array of the backend, dtype and device of ``like``; gradients survive."""
    backend, dtype = ar.infer_backend(like), ar.get_dtype_name(like)
    if ar.infer_backend(x) != backend:
        x = numbers(x)
        x = x.astype(dtype if dtype in ("float16", "float32", "float64") else "float32")
        x = ar.do("asarray", x, like=like)
    device = getattr(like, "device", None)
    return moved(x, None if getattr(x, "device", None) == device else device, dtype)


def moved(x: Array, device: Any, dtype: str | None) -> Array:
    """``x`` on a device, in a dtype; as it is where that is ``None``.

    It is moved in the dtype that takes fewer bytes: that is faster, and a device that knows no float64 never sees any.
    """
    if device is None or dtype is None:
        x = x if dtype is None else ar.astype(x, dtype)
        return x if device is None else ar.to_device(x, device)
    if itemsize(x) < dtype_bytes(dtype):
        return ar.astype(ar.to_device(x, device), dtype)
    return ar.to_device(ar.astype(x, dtype), device)


def in_main_memory(*arrays: Array) -> tuple[Array, ...]:
    """Arrays of one kind, without gradients, where their values can be looked at. A device is waited for once."""
    if getattr(arrays[0], "is_cpu", True):
        return tuple(map(ar.stop_gradient, arrays))
    flat = ar.do("concatenate", [ar.do("reshape", ar.stop_gradient(x), (-1,)) for x in arrays])
    flat, at, found = ar.to_device(flat, "cpu"), 0, []
    for x in arrays:
        found.append(ar.do("reshape", flat[at : at + ar.size(x)], ar.shape(x)))
        at += ar.size(x)
    return tuple(found)


def in_order(x: Array, order: Sequence[int], axis: int) -> Array:
    """Parts of an array in another order. They are cut out by runs, so that no list has to go to a device.

    Example:
        >>> in_order(np.array([10, 11, 12, 13]), [2, 3, 0, 1], 0).tolist()
        [12, 13, 10, 11]
    """
    starts = [k for k, n in enumerate(order) if not k or order[k - 1] != n - 1]
    runs = [slice(order[a], order[b - 1] + 1) for a, b in zip(starts, [*starts[1:], len(order)], strict=True)]
    at = (slice(None),) * axis
    parts = [x[(*at, run)] for run in runs]
    return parts[0] if len(parts) == 1 else ar.do("concatenate", parts, axis=axis)
