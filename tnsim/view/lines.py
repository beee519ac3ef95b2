"""Curves over training, named at their ends."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tnsim.view.arrays import checked
from tnsim.view.layout import spread
from tnsim.view.phases import check_phases, name_phases
from tnsim.view.style import BLANK, MUTED, PALETTE, RULE, SIZES, styled
from tnsim.view.text import room

__all__ = ["curves"]


@styled
def curves(
    steps: Any,
    series: Mapping[str, Any],
    ax: Axes | None = None,
    *,
    boundaries: Iterable[float] = (),
    phases: Sequence[str] = (),
    title: str | None = None,
    xlabel: str = "step",
    ylabel: str | None = None,
    ylim: tuple[float, float] | None = None,
    colours: Mapping[str, str] | None = None,
    band: tuple[float, float] | None = None,
) -> tuple[Figure, Axes]:
    """Quantities over training; every curve carries its name at its right end.

    Args:
        steps: shape ``(n,)``, increasing.
        series: name → values of shape ``(n,)``.
        ax: axes to draw on.
        boundaries: steps at which one phase ends and the next begins.
        phases: names of the phases, one more than there are boundaries.
        title: a title.
        xlabel: what the steps count.
        ylabel: what the values are.
        ylim: smallest and largest value shown.
        colours: name → colour, for curves that must keep a colour across figures.
        band: values that come out by chance, shaded, such as ``tnsim.null(models).band()``.

    Returns:
        Figure and axes.

    Raises:
        ValueError: if there is nothing to draw, or a series has another length than ``steps``.

    Example:
        >>> fig, ax = curves([0, 1, 2], {"accuracy": [0.1, 0.5, 0.8], "attack": [0.1, 0.1, 0.1]})
        >>> plt.close(fig)
    """
    x = checked(steps, 1, "steps")
    if not series:
        raise ValueError("there are no curves to draw: `series` is empty.")
    if np.any(np.diff(x) <= 0):
        raise ValueError("steps must increase.")
    values = {name: checked(v, 1, f"series {name!r}") for name, v in series.items()}
    for name, v in values.items():
        if len(v) != len(x):
            raise ValueError(f"series {name!r} has {len(v)} values for {len(x)} steps.")
    edges, names = list(boundaries), list(phases)
    if len(x) > 1:
        check_phases(x[-1], edges, names, start=x[0])
    if ax is None:
        fig, ax = plt.subplots(figsize=(5.6, 3.1), layout="constrained")
    else:
        fig = ax.get_figure(root=True)  # type: ignore[assignment]
    chosen = {name: (colours or {}).get(name, PALETTE[i % len(PALETTE)]) for i, name in enumerate(values)}
    for name, v in values.items():
        ax.plot(x, v, color=chosen[name], linewidth=2.0, solid_capstyle="round", gid=f"curve {name}")
    if band is not None:
        ax.axhspan(*band, color=BLANK, alpha=0.6, linewidth=0, zorder=0, gid="band")
    for b in edges:
        ax.axvline(b, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)), gid="boundary")
    if len(x) > 1:
        ax.set_xlim(x[0], x[-1])
    if ylim:
        ax.set_ylim(*ylim)
    ax.set_xlabel(xlabel)
    if ylabel:
        ax.set_ylabel(ylabel)
    ax.grid(axis="y", color=RULE, linewidth=0.5, alpha=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(length=2.5, labelsize=SIZES["tick"], labelcolor=MUTED)
    if names and len(x) > 1:
        name_phases(ax, x[-1], edges, names, start=x[0])
    if title:
        ax.set_title(title, pad=20 if names else 6)
    _end_labels(ax, {name: v[-1] for name, v in values.items()}, chosen)
    return fig, ax


def _end_labels(ax: Axes, ends: Mapping[str, float], colours: Mapping[str, str]) -> None:
    """Names beside the last values, moved up or down just enough to stand clear of each other."""
    scaled = ax.yaxis.get_transform().transform  # the axis may be logarithmic
    low, high = scaled(np.array(ax.get_ylim()))
    _, height = room(ax)
    size = SIZES["tick"]
    gap = 1.45 * size
    order = sorted(ends, key=lambda name: ends[name])
    wish = [float(np.clip((scaled(ends[name]) - low) / (high - low), 0.0, 1.0)) * height for name in order]
    for name, y in zip(order, spread(wish, gap), strict=True):
        ax.text(
            1.015, y / height, name, transform=ax.transAxes, ha="left", va="center", fontsize=size,
            color=colours[name], gid=f"end {name}",
        )  # fmt: skip
