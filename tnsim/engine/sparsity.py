"""Where an array may be other than zero: masks, which decide what there is to compute before anything is computed."""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import autoray as ar
import numpy as np

from tnsim.common.caches import cleared_by
from tnsim.common.values import numbers
from tnsim.common.wires import space

__all__ = ["over_positions", "support", "supported", "with_support"]

Array = Any

_KNOWN: ContextVar[Mapping[int, np.ndarray]] = ContextVar("support")
_READ: dict[
    int, tuple[weakref.ref[Any], Any, np.ndarray]
] = {}  # what was read from devices, as long as it holds
cleared_by(_READ.clear)


def support(x: Array) -> np.ndarray:
    """Which entries may be other than zero, as booleans.

    A placeholder may be so everywhere, unless something is known of what it stands for. What lies on a device is read
    once, and again when it was changed in place.

    Example:
        >>> support(np.array([[1.0, 0.0], [2.0, 3.0]]))
        array([[ True, False],
               [ True,  True]])
    """
    known = _KNOWN.get({})
    if id(x) in known:
        return known[id(x)]
    if str(getattr(x, "device", "")) == "meta":
        return np.ones(tuple(ar.shape(x)), dtype=bool)
    state = _state(x)
    ref, before, found = _READ.get(id(x), (None, None, None))
    if state is not None and found is not None and ref() is x and before == state:  # type: ignore[misc]
        return found
    found = numbers(x) != 0
    return _kept(x, state, found)


def over_positions(inds: Sequence[str]) -> bool:
    """Whether a tensor is over positions alone, or one for every model, so that its zeros decide what is to be done."""
    spaces = set(map(space, inds))
    return "s" in spaces and spaces <= {"s", "m"}


def with_support(x: Array, parts: Sequence[Array], made: Callable[[list[np.ndarray]], np.ndarray]) -> Array:
    """``x``, of which is known that it is zero where its parts are: nothing is read for it on a device.

    Args:
        x: an array, as it is returned.
        parts: arrays that it was made of.
        made: makes its support of theirs.
    """
    state = _state(x)
    if state is not None:
        _kept(x, state, made([support(part) for part in parts]))
    return x


def _kept(x: Array, state: Any, found: np.ndarray) -> np.ndarray:
    if state is not None:
        number = id(x)
        _READ[number] = (weakref.ref(x, lambda _: _READ.pop(number, None)), state, found)
    return found


def _state(x: Array) -> Any:
    """What changes when an array on a device is changed in place; ``None`` where it can be read without waiting."""
    if getattr(x, "is_cpu", True) or getattr(x, "is_meta", False):
        return None
    if x.is_inference():  # of these it is not noted
        return None
    return x._version, x.untyped_storage()._cdata, x.storage_offset(), tuple(x.stride())


@contextmanager
def supported(known: Mapping[int, np.ndarray]) -> Iterator[None]:
    """Say where placeholders, given by their id, stand for something that may be other than zero."""
    token = _KNOWN.set(known)
    try:
        yield
    finally:
        _KNOWN.reset(token)
