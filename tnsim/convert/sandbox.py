"""Sandbox: a forward pass gets copies of all tensors that it did not make itself."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from tnsim.convert.ambient import Mode

__all__ = ["Sandbox"]


class Sandbox(Mode):
    """While this lasts, no torch function reads or writes a tensor from outside; it gets a copy in its place.

    A tensor from outside is one that no torch function returned in here: a plain attribute, a global or captured
    variable, an entry of a list. It is copied when it is first used, with its history, so that gradients reach it.

    Args:
        tensors: for the id of a tensor, what takes its place. Those values count as made in here.
    """

    def __init__(self, tensors: Mapping[int, Tensor]):
        super().__init__()
        self.inside: dict[int, Tensor] = {**tensors, **{id(t): t for t in tensors.values()}}
        self.kept: list[Tensor] = []  # what was replaced, so that ids stay valid

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch instead of ``func``."""
        out = func(*self._replaced(args), **self._replaced(kwargs or {}))
        for t in _tensors(out):
            self.inside[id(t)] = t
        return out

    def own(self, t: Tensor) -> Tensor:
        """The tensor itself if it was made in here, else its copy."""
        if id(t) not in self.inside:
            made = t.clone()
            self.kept.append(t)
            self.inside |= {id(t): made, id(made): made}
        return self.inside[id(t)]

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.own(value)
        if type(value) in (tuple, list):
            return type(value)(map(self._replaced, value))
        if type(value) is dict:
            return {k: self._replaced(v) for k, v in value.items()}
        return value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for v in value:
            yield from _tensors(v)
