"""Survey: the tensors in an object, and a key of everything else that there is in it."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import quimb.tensor as qtn
import torch

from tnsim.common.caches import cached
from tnsim.common.wires import WIRE
from tnsim.engine.sparsity import over_positions, support
from tnsim.engine.tapes import UntapedError
from tnsim.measure.pairings.measure import Measure

__all__ = ["Survey", "filled", "nbytes"]

_PLAIN = (str, int, float, type(None), type, torch.dtype)


class Survey:
    """What an object is made of: its tensors, each counted once, where masks are zero, and a key of everything else.

    Raises:
        UntapedError: if it holds anything else that may change.
    """

    def __init__(self, given: Any):
        self.arrays: list[torch.Tensor] = []
        self.masks: dict[int, np.ndarray] = {}
        self._numbers: dict[int, int] = {}
        self.key = self._of(given)

    def _of(self, x: Any) -> Any:
        if type(x) in _PLAIN:
            return (type(x), x)
        if isinstance(x, torch.Tensor):
            if id(x) not in self._numbers:
                self._numbers[id(x)] = len(self.arrays)
                self.arrays.append(x)
            return (self._numbers[id(x)], tuple(x.shape), x.dtype)
        if isinstance(x, qtn.Tensor):
            return (x.inds, tuple(x.tags), self._of(x.data), self._mask(x))
        if isinstance(x, tuple | list):
            return (type(x), *map(self._of, x))
        if isinstance(x, Mapping):
            return (type(x), *((k, self._of(v)) for k, v in x.items()))
        if isinstance(x, slice):
            return (slice, x.start, x.stop, x.step)
        if isinstance(x, _PLAIN):
            return (type(x), x)
        if _is_open(x):
            return (type(x), *((k, self._of(v)) for k, v in _state(x).items()))
        if isinstance(x, set | frozenset) and all(isinstance(y, _PLAIN) for y in x):
            return (type(x), frozenset(x))
        raise UntapedError(f"a {type(x).__name__} may change unseen.")

    def _mask(self, x: qtn.Tensor) -> Any:
        """Where a tensor over positions alone is zero: that decides what is to be done, and belongs to the key."""
        if not isinstance(x.data, torch.Tensor) or WIRE in x.tags or not over_positions(x.inds):
            return None
        found = support(x.data)
        self.masks[self._numbers[id(x.data)]] = found
        return None if found.all() else found.tobytes()


def filled(x: Any, old: Sequence[torch.Tensor], new: Sequence[torch.Tensor]) -> Any:
    """The same object with other tensors."""
    tensors = {id(a): b for a, b in zip(old, new, strict=True)}

    def of(x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            return tensors[id(x)]
        if isinstance(x, qtn.Tensor):
            return qtn.Tensor(of(x.data), x.inds, tags=x.tags)
        if isinstance(x, tuple | list):
            return type(x)(map(of, x))
        if isinstance(x, Mapping):
            return {k: of(v) for k, v in x.items()}
        if _is_open(x):
            copy = object.__new__(type(x))
            for k, v in _state(x).items():
                object.__setattr__(copy, k, of(v))
            return copy
        return x

    return of(x)


def nbytes(x: Any) -> float:
    """Bytes of all arrays in an object."""
    if isinstance(x, qtn.Tensor):
        return nbytes(x.data)
    if isinstance(x, tuple | list):
        return sum(map(nbytes, x))
    if isinstance(x, Mapping):
        return sum(map(nbytes, x.values()))
    if _is_open(x):
        return sum(map(nbytes, _state(x).values()))
    return float(getattr(x, "nbytes", 0.0))


def _is_open(x: Any) -> bool:
    """Whether an object is its attributes."""
    kind: Any = type(x)
    return not isinstance(x, type) and _has_open(kind)


@cached(4096)
def _has_open(kind: type) -> bool:
    return issubclass(kind, Measure) or is_dataclass(kind)


def _state(x: Any) -> dict[str, Any]:
    """What an object is; fields that are not compared are what is known of it besides."""
    kind: Any = type(x)
    beside = _beside(kind)
    return {k: v for k, v in vars(x).items() if k not in beside} if beside else vars(x)


@cached(4096)
def _beside(kind: type) -> frozenset[str]:
    return frozenset(f.name for f in fields(kind) if not f.compare) if is_dataclass(kind) else frozenset()
