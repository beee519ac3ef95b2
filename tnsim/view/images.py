"""One number for every input, as an image."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from tnsim.view.arrays import checked, to_numpy
from tnsim.view.scale import add_colorbar, axes_or_new, scale_of
from tnsim.view.style import PAPER, RULE, styled

__all__ = ["image"]


@styled
def image(
    values: Any,
    shape: tuple[int, int] | None = None,
    ax: Axes | None = None,
    *,
    outline: Any = None,
    title: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Colormap | str | None = None,
    colorbar: bool = False,
) -> tuple[Figure, Axes]:
    """One number for every input, as the image it belongs to.

    Args:
        values: as many numbers as the image has pixels, in rows.
        shape: height and width; by default the shape of ``values``, or a square.
        ax: axes to draw on.
        outline: which pixels to draw a line around (true or false for each), for instance the true trigger.
        title: a title.
        vmin: value of the first colour.
        vmax: value of the last colour.
        cmap: a colour map other than the house's, for instance ``"gray"``.
        colorbar: whether to draw the scale.

    Returns:
        Figure and axes.

    Raises:
        ValueError: if the numbers do not fill the shape.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> fig, ax = image(range(12), (3, 4), outline=[False] * 11 + [True])
        >>> plt.close(fig)
    """
    flat = to_numpy(list(values) if isinstance(values, range) else values)
    pixels = checked(_shaped(flat, shape, "values"), 2, "image")
    height, width = pixels.shape
    fig, ax = axes_or_new(
        ax,
        2.6 * min(1.0, width / height) + 0.8 * colorbar,
        2.6 * min(1.0, height / width) + 0.3 * bool(title),
    )
    scale = scale_of(pixels, vmin, vmax, cmap)
    ax.imshow(pixels, norm=scale.norm, cmap=scale.cmap, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=RULE, linewidth=0.8)
    if outline is not None:
        mask = _shaped(to_numpy(outline), pixels.shape, "outline") != 0
        _outline(ax, mask)
    if title:
        ax.set_title(title)
    if colorbar:
        add_colorbar(fig, scale, ax)
    return fig, ax


def _shaped(values: np.ndarray, shape: tuple[int, ...] | None, what: str) -> np.ndarray:
    side = round(values.size**0.5)
    wanted = shape or (values.shape if values.ndim == 2 else (side, side))
    if values.size != np.prod(wanted):
        raise ValueError(
            f"{what} holds {values.size} numbers; an image of shape {tuple(wanted)} needs {int(np.prod(wanted))}."
        )
    return values.reshape(wanted)


def _outline(ax: Axes, mask: np.ndarray) -> None:
    """A line along every edge between a true and a false pixel."""
    padded = np.pad(mask, 1)
    lines = [
        [(j - 0.5, i - 0.5), (j - 0.5, i + 0.5)]
        for i, j in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])
    ]
    lines += [
        [(j - 0.5, i - 0.5), (j + 0.5, i - 0.5)]
        for i, j in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])
    ]
    ax.add_collection(LineCollection(lines, colors=PAPER, linewidths=3.2, capstyle="projecting"))
    ax.add_collection(
        LineCollection(lines, colors="#c2331f", linewidths=1.5, capstyle="projecting", gid="outline")
    )
