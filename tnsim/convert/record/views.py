"""Views: which tensors look at the memory of which others, so that what is written into one is seen in the other."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

__all__ = ["Views"]


class Views:
    """The views that a forward pass has made, by the ids of tensors that stay alive."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Tensor, Callable[[Tensor], Tensor]]] = {}

    def note(self, outs: Iterable[Tensor], func: Any, args: Any, kwargs: Any) -> None:
        """Remember which results look at the memory of the first argument."""
        base = args[0] if args else None
        if not isinstance(base, Tensor) or base.layout != torch.strided:
            return
        for k, t in enumerate(outs):
            if t is not base and t.untyped_storage().data_ptr() == base.untyped_storage().data_ptr():
                self._made[id(t)] = (base, partial(_view, func, args[1:], kwargs, k))

    def written(self, target: Tensor) -> Iterator[tuple[Tensor, Tensor, Callable[..., Tensor]]]:
        """What changes with a tensor that was changed in place: what it is a view of, what that is a view of, and so on.

        Yields:
            What has changed, the view of it that did, and how the first follows from the second.
        """
        while id(target) in self._made:
            base, view = self._made[id(target)]
            yield base, target, partial(_written_through, view)
            target = base


def _view(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], k: int, base: Tensor) -> Tensor:
    out = func(base, *args, **kwargs)
    found: Tensor = out[k] if isinstance(out, tuple | list) else out
    return found


def _written_through(view: Callable[[Tensor], Tensor], base: Tensor, value: Tensor) -> Tensor:
    """A tensor after a view of it was changed to ``value``."""
    out = base.clone()
    view(out).copy_(value)
    return out
