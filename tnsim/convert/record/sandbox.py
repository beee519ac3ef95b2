"""Sandbox: a forward pass gets copies of all tensors that it did not make itself."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from tnsim.convert.module.ambient import Mode
from tnsim.convert.record.functions import FACTS, operation

__all__ = ["Sandbox"]


class Sandbox(Mode):
    """While this lasts, no torch function reads or writes a tensor from outside; it gets a copy in its place.

    A tensor from outside is one whose memory no torch function returned in here: a plain attribute, a global or
    captured variable, an entry of a list. It is copied when it is first used, with its history, so that gradients
    reach it. Shapes, dtypes and other facts are those of the tensor itself.

    Args:
        tensors: for the id of a tensor, what takes its place. Those values count as made in here.
    """

    def __init__(self, tensors: Mapping[int, Tensor]):
        super().__init__()
        self.inside: dict[int, Tensor] = dict(tensors)
        self.new: list[Tensor] = []  # made in here, with their memory not yet in the list
        self.memory: set[int | None] = set()
        self.kept: list[Tensor] = []  # what was replaced, so that ids stay valid
        for t in tensors.values():
            self._know(t)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch instead of ``func``."""
        name, changes = operation(func)
        if name in FACTS and not changes:
            return func(*args, **(kwargs or {}))
        out = func(*self._replaced(args), **self._replaced(kwargs or {}))
        for t in _tensors(out):
            self._know(t)
        return out

    def own(self, t: Tensor) -> Tensor:
        """The tensor itself if it was made in here, else its copy."""
        if id(t) not in self.inside:
            if self._made_here(t):  # such as nn.Parameter(t)
                self._know(t)
            else:
                self.kept.append(t)
                self._know(t.clone(), t)
        return self.inside[id(t)]

    def _know(self, t: Tensor, *others: Tensor) -> None:
        for other in (t, *others):
            self.inside[id(other)] = t
        self.new.append(t)

    def _made_here(self, t: Tensor) -> bool:
        self.memory.update(map(_memory, self.new))
        self.new.clear()
        memory = _memory(t)
        return memory is not None and memory in self.memory

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.own(value)
        if type(value) in (tuple, list):
            return type(value)(map(self._replaced, value))
        if type(value) is dict:
            return {k: self._replaced(v) for k, v in value.items()}
        return value


def _memory(t: Tensor) -> int | None:
    """Where the entries lie; ``None`` for tensors that have no such place."""
    try:
        return t.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):
        return None


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for v in value:
            yield from _tensors(v)
