"""Waiting: a bar, where two seconds pass, even if they pass inside a single step."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

from tqdm.auto import tqdm

__all__ = ["waiting"]

_SECONDS = 2.0


@contextmanager
def waiting(what: str, total: int | None = None, unit: str = "it", progress: bool = True) -> Iterator[Any]:
    """A bar that shows itself after two seconds: when it is moved on, or by itself if it is not.

    Args:
        what: its label.
        total: how many steps there are, if that is known.
        unit: what a step is.
        progress: whether to show it at all.
    """
    with tqdm(desc=what, total=total, unit=unit, delay=_SECONDS, leave=False, disable=not progress) as bar:
        if not progress:
            yield bar
            return
        timer = Timer(_SECONDS, bar.refresh)
        timer.daemon = True
        timer.start()
        try:
            yield bar
        finally:
            timer.cancel()
            timer.join()
