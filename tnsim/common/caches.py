"""Caches: what is kept from one call to the next is listed here, and can be cleared.

What is kept never changes what a function returns, only how soon. Contraction paths in the folder ``TNSIM_PATHS``
are files and stay.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

__all__ = ["cached", "clear_cache", "cleared_by"]

F = TypeVar("F", bound=Callable[..., Any])

_CLEAR: list[Callable[[], object]] = []


def cached(maxsize: int) -> Callable[[F], F]:
    """A pure function whose last results are kept, by its arguments; several threads may call it.

    Args:
        maxsize: how many; the one that was not asked for longest goes first.
    """

    def keep(function: F) -> F:
        kept: Any = lru_cache(maxsize=maxsize)(function)
        cleared_by(kept.cache_clear)
        return kept

    return keep


def cleared_by(clear: Callable[[], object]) -> None:
    """Something else that is kept; ``clear`` empties it."""
    _CLEAR.append(clear)


def clear_cache() -> None:
    """Forget what was kept from call to call: contraction paths, tables, sizes of weights, workspaces.

    Answers stay the same. The next call plans anew, as the first of a process does; memory is free for other things.
    Files of contraction paths (``TNSIM_PATHS``) stay.

    Example:
        >>> clear_cache()
    """
    for clear in tuple(_CLEAR):
        clear()
