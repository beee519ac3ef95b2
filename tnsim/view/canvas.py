"""Canvas: the axes that a drawing is put on, a figure of fitting size if none are given."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tnsim.view.style import SIZES

__all__ = ["canvas"]


def canvas(ax: Axes | None, inches: tuple[float, float], title: str | None) -> tuple[Figure, Axes]:
    """The axes given, or those of a new figure that is ``inches`` wide and high, and has room for a title."""
    if ax is None:
        width, height = inches
        head = 0.4 * bool(title) + 0.05
        fig = plt.figure(figsize=(width, height + head))
        ax = fig.add_axes((0.0, 0.0, 1.0, height / (height + head)))
    else:
        fig = ax.get_figure(root=True)  # type: ignore[assignment]
    if title:
        ax.set_title(title, fontsize=SIZES["title"], loc="left", x=0.01)
    return fig, ax
