"""Spectra: eigenvalues and singular values by rank, with groups of equal ones marked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tnsim.view.arrays import checked
from tnsim.view.scale import axes_or_new
from tnsim.view.style import INK, MUTED, PALETTE, RULE, SIZES, styled

__all__ = ["scree"]

_SIGNS = (PALETTE[0], PALETTE[1])


@styled
def scree(
    values: Any,
    ax: Axes | None = None,
    *,
    groups: Iterable[Sequence[int]] = (),
    log: bool = False,
    title: str | None = None,
    xlabel: str = "mode",
    ylabel: str | None = None,
    colours: Mapping[str, str] | None = None,
) -> tuple[Figure, Axes]:
    """Values by rank: bars for one spectrum, with the sign in their direction and colour; lines for several.

    Args:
        values: shape ``(r,)``, or name → values for several spectra, named in a legend.
        ax: axes to draw on.
        groups: for one spectrum, positions of equal values; a bracket and their number mark every group of two or
            more.
        log: a logarithmic axis, for values that are not negative; zeros are left out.
        title: a title.
        xlabel: what is counted.
        ylabel: what the values are.
        colours: name → colour, for several spectra.

    Returns:
        Figure and axes.

    Raises:
        ValueError: if there is nothing to draw, or a logarithmic axis is asked for negative values.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> fig, ax = scree([2.0, 2.0, -1.0, 0.5], groups=[(0, 1)])
        >>> plt.close(fig)
    """
    several = isinstance(values, Mapping)
    series = {name: checked(v, 1, f"spectrum {name!r}") for name, v in values.items()} if several else {}
    single = np.zeros(0) if several else checked(values, 1, "values")
    if several and not series:
        raise ValueError("there is no spectrum to draw: `values` is empty.")
    for v in series.values() if several else [single]:
        if log and (v < 0).any():
            raise ValueError("negative values have no place on a logarithmic axis; pass log=False.")
    fig, ax = axes_or_new(ax, 4.4, 2.9)
    if several:
        _lines(ax, series, log, colours or {})
    else:
        _bars(ax, single, log)
        _brackets(ax, single, [tuple(g) for g in groups if len(g) > 1])
    if log:
        ax.set_yscale("log")
    ax.set_xlabel(xlabel)
    if ylabel:
        ax.set_ylabel(ylabel)
    ax.grid(axis="y", color=RULE, linewidth=0.5, alpha=0.6)
    ax.set_axisbelow(True)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(length=2.5, labelsize=SIZES["tick"], labelcolor=MUTED)
    if title:
        ax.set_title(title)
    return fig, ax


def _bars(ax: Axes, v: np.ndarray, log: bool) -> None:
    where = np.arange(1, len(v) + 1)
    shown = v > 0 if log else np.ones(len(v), bool)
    colours = [_SIGNS[int(x < 0)] for x in v[shown]]
    ax.bar(where[shown], v[shown], width=0.72, color=colours, gid="values")
    if not log:
        ax.axhline(0, color=MUTED, linewidth=0.8)
    ax.set_xlim(0.3, len(v) + 0.7)


def _brackets(ax: Axes, v: np.ndarray, groups: Sequence[tuple[int, ...]]) -> None:
    """A line over (or under) the members of a group, and how many they are."""
    if not groups:
        return
    low, high = min(0.0, v.min()), max(0.0, v.max())
    pad = 0.05 * (high - low)
    for members in groups:
        first, last = min(members) + 1, max(members) + 1
        up = v[list(members)].mean() >= 0
        at = v[list(members)].max() + pad if up else v[list(members)].min() - pad
        ax.plot([first - 0.36, last + 0.36], [at, at], color=INK, linewidth=1.0, gid="group")
        ax.annotate(
            f"{len(members)}×", ((first + last) / 2, at), (0, 2 if up else -2), textcoords="offset points",
            ha="center", va="bottom" if up else "top", fontsize=SIZES["small"], color=INK, gid="group size",
        )  # fmt: skip
    ax.set_ylim(low - 4 * pad if low < 0 else 0, high + 4 * pad)


def _lines(ax: Axes, series: Mapping[str, np.ndarray], log: bool, colours: Mapping[str, str]) -> None:
    for i, (name, v) in enumerate(series.items()):
        colour = colours.get(name, PALETTE[i % len(PALETTE)])
        where = np.arange(1, len(v) + 1)
        shown = v > 0 if log else np.ones(len(v), bool)
        ax.plot(
            where[shown],
            v[shown],
            "o-",
            color=colour,
            linewidth=1.4,
            markersize=3.2,
            label=name,
            gid=f"spectrum {name}",
        )
    ax.legend(fontsize=SIZES["tick"], labelcolor="linecolor", handlelength=1.2)
    ax.set_xlim(0.5, max(map(len, series.values())) + 0.5)
