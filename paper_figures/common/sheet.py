"""A sheet of panels in the house style."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tnsim.view.style import INK, MUTED, SIZES, styled

__all__ = ["WIDTH", "caption", "divide", "sheet"]

WIDTH = 7.2  # inches: a page's two columns


@styled
def sheet(
    mosaic: list[list[str]], height: float, width: float = WIDTH, **options: Any
) -> tuple[Figure, dict[str, Axes]]:
    """A figure of named panels (see matplotlib's `subplot_mosaic`), with a size in inches."""
    fig, axes = plt.subplot_mosaic(mosaic, figsize=(width, height), layout="constrained", **options)
    for ax in axes.values():
        ax.set_axis_off()
    fig.draw_without_rendering()  # so that panels know about how large they are
    for ax in axes.values():
        ax.set_axis_on()
    return fig, axes


def divide(ax: Axes, edges: list[int]) -> None:
    """Thin lines between the phases of a heat map."""
    for edge in edges:
        for line in (ax.axvline, ax.axhline):
            line(edge - 0.5, color=INK, linewidth=0.5)


@styled
def caption(ax: Axes, text: str, **options: Any) -> None:
    """A remark in the corner of a panel."""
    at = {"x": 0.02, "y": 0.03, "ha": "left", "va": "bottom", "color": MUTED, "fontsize": SIZES["small"]}
    at |= options
    ax.text(s=text, transform=ax.transAxes, **at)
