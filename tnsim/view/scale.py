"""From numbers to colours, and the bar that says which is which."""

from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from tnsim.view.style import BLANK, DIVERGING, MARK, MUTED, RULE, SEQUENTIAL, SIZES

__all__ = ["SLIGHT", "Scale", "add_colorbar", "axes_or_new", "scale_of"]

SLIGHT = 0.05  # of the largest value


class Scale(NamedTuple):
    """How values become colours."""

    norm: Normalize
    cmap: Colormap


def axes_or_new(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The axes given, with their figure, or a new figure of a size in inches."""
    if ax is None:
        fig, ax = plt.subplots(figsize=(width, height), layout="constrained")
        return fig, ax
    return ax.get_figure(root=True), ax  # type: ignore[return-value]


def scale_of(
    values: np.ndarray, vmin: float | None, vmax: float | None, cmap: Colormap | str | None
) -> Scale:
    """Limits and colour map: centred at white where there are negative numbers that matter, else from least to most.

    Similarities a little below zero, as untrained models have, do not turn the scale around.
    """
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low < -SLIGHT * max(high, 0.0):
        reach = max(-low, high)
        low, high, house = -reach, reach, DIVERGING
    else:
        house = SEQUENTIAL
    low, high = low if vmin is None else float(vmin), high if vmax is None else float(vmax)
    if high <= low:
        low, high = (low - 0.5, low + 0.5) if vmin is None else (low, low + 1.0)
    return Scale(Normalize(low, high), plt.get_cmap(cmap or house).with_extremes(bad=BLANK))


def add_colorbar(fig: Figure, scale: Scale, axes: Any, band: tuple[float, float] | None = None) -> None:
    """The scale, beside one or several axes; a band of values is marked beside it."""
    bar = fig.colorbar(ScalarMappable(scale.norm, scale.cmap), ax=axes, fraction=0.046, pad=0.03, aspect=26)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, labelsize=SIZES["small"], labelcolor=MUTED, color=RULE)
    if band is not None:
        low, high = (float(np.clip(x, scale.norm.vmin, scale.norm.vmax)) for x in band)
        for at in {low, high}:
            bar.ax.axhline(at, color=MARK, linewidth=1.2)
        bar.ax.plot(
            [1.0, 1.0],
            [low, high],
            color=MARK,
            linewidth=3.0,
            clip_on=False,
            gid="band",
            solid_capstyle="butt",
        )
