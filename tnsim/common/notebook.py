"""What shows itself in a notebook: results as tables and pictures, which :mod:`tnsim.view` draws when it is asked to."""

from collections.abc import Callable
from typing import Any

__all__ = ["Drawn", "Plotted", "Shown", "shown_by"]

_VIEWS: list[Callable[[], Any]] = []


def shown_by(view: Callable[[], Any]) -> None:
    """Say what draws: something that gives the module with ``html``, ``plot``, ``frame`` and ``to_dot`` when needed."""
    _VIEWS[:] = [view]


class Shown:
    """A result with a table in notebooks."""

    def _repr_html_(self) -> str:
        return str(_VIEWS[0]().html(self))


class Drawn(Shown):
    """Something with a table in notebooks, and a drawing."""

    def to_dot(self, level: Any = None) -> str:
        """The drawing as text for graphviz.

        Args:
            level: ``"model"``, ``"layer"`` or ``"network"``, as in `tnsim.draw`.
        """
        return str(_VIEWS[0]().to_dot(self, level=level))


class Plotted(Shown):
    """A result with a table and a picture, in notebooks and on its own."""

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw it.

        Args:
            ax: axes to draw on.
            **options: those of the picture, such as ``title=``; see `tnsim.view`.

        Returns:
            Figure and axes.
        """
        return _VIEWS[0]().plot(self, ax, **options)

    def to_frame(self) -> Any:
        """Its numbers and names as a ``pandas.DataFrame``.

        Raises:
            ModuleNotFoundError: if pandas is not installed.
        """
        return _VIEWS[0]().frame(self)
