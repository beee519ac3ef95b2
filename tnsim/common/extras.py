"""Extras: libraries that only some need, and what to install where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["MissingExtraError", "needing"]

_EXTRAS = {"matplotlib": "view", "sklearn": "lab", "tensorly": "decompose"}


class MissingExtraError(ModuleNotFoundError):
    """A library is missing that comes with an extra of tnsim."""


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Code that imports what comes with an extra.

    Raises:
        MissingExtraError: if it is not installed, with what to write.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _EXTRAS:
            raise
        raise MissingExtraError(
            f"this needs {library}, which is not installed: pip install 'tnsim[{extra}]', or tnsim[all] for everything.",
            name=library,
        ) from None
