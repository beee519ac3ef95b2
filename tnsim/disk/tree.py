"""What a checkpoint holds as a tree, and the branches of it that may be a model's weights."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tnsim.disk.pickles import StandIn

__all__ = ["Subtree", "branches", "numbers_in"]

_MOST = 10**6  # places: a file of a few lines may say that it holds more than any memory
_DEEPEST = 100
_MODULE = ("_parameters", "_buffers", "_modules")
_STEPS = ("step", "global_step", "steps", "iteration", "iter", "it", "iter_num", "iterations", "epoch")

Path = tuple[str, ...]
_HOLDING = (Tensor, StandIn, Mapping, list, tuple)


@dataclass(frozen=True)
class Subtree:
    """The tensors below one place of a checkpoint.

    Attributes:
        path: the keys that lead there.
        tensors: by name from there on, with dots.
    """

    path: Path
    tensors: Mapping[str, Tensor]

    @property
    def key(self) -> str:
        """The place, as it is written in ``key=``."""
        return ".".join(self.path)


def branches(content: Any) -> list[Subtree]:
    """Every place below which there are tensors, the innermost first; places with the same ones count once.

    Raises:
        ValueError: if a collection contains itself, or there is more than a file can mean to hold.
    """
    found: dict[Path, dict[str, Tensor]] = {}
    for path, value in _leaves(content):
        for k in range(len(path)):
            found.setdefault(path[:k], {})[".".join(path[k:])] = value
    kept: dict[frozenset[int], Subtree] = {}
    for path in sorted(found, key=len):
        kept[frozenset(map(id, found[path].values()))] = Subtree(path, found[path])
    return sorted(kept.values(), key=lambda branch: -len(branch.path))


def numbers_in(content: Any) -> dict[str, int]:
    """The numbers by which a checkpoint says when it was made, such as ``global_step``, the most exact first."""
    found: dict[str, int] = {}
    todo = [content]
    for _ in range(3):
        rows = [_entries(x) for x in todo]
        for entries in rows:
            for key in entries:
                value = entries[key]
                value = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
                if str(key).lower() in _STEPS and isinstance(value, int | float) and value == int(value) >= 0:
                    found.setdefault(str(key).lower(), int(value))
        todo = [x for entries in rows for x in entries.values() if isinstance(x, Mapping) and len(x) < 64]
        if found:
            break
    return {key: found[key] for key in _STEPS if key in found}


def _leaves(content: Any) -> Iterator[tuple[Path, Tensor]]:
    """Tensors with the keys that lead to them."""
    todo: list[tuple[Path, Any, frozenset[int]]] = [((), content, frozenset())]
    visited = 0
    while todo:
        path, x, above = todo.pop()
        visited += 1
        if isinstance(x, Tensor):
            yield path, x
            continue
        entries = {k: v for k, v in _entries(x).items() if isinstance(v, _HOLDING)}
        if id(x) in above:
            if isinstance(x, Mapping):
                raise ValueError(f"what is called {path[-1]!r} contains itself; pass the state dict alone.")
            continue
        if len(path) > _DEEPEST or visited > _MOST:
            raise ValueError(
                f"it is nested deeper than {_DEEPEST} levels, or holds more than {_MOST} collections."
            )
        below = above | {id(x)} if entries else above
        todo.extend(((*path, str(key)), value, below) for key, value in reversed(list(entries.items())))


def _entries(x: Any) -> Mapping[Any, Any]:
    """What a collection, or a stand-in for an object, holds by name."""
    if isinstance(x, Mapping):
        return x
    if isinstance(x, list | tuple):
        return dict(enumerate(x))
    if not isinstance(x, StandIn):
        return {}
    state = x.state[0] if isinstance(x.state, tuple) and x.state else x.state
    if not isinstance(state, Mapping):
        return x.pairs
    if "_parameters" not in state:
        return state
    parts: dict[Any, Any] = {}
    passing = state.get("_non_persistent_buffers_set", ())
    for kind in _MODULE:
        inner = state.get(kind)
        if isinstance(inner, Mapping):
            parts.update({k: v for k, v in inner.items() if kind != "_buffers" or k not in passing})
    return parts
