"""One number for every part of a model, as bars; or several, one within the other."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tnsim.view.arrays import checked
from tnsim.view.style import INK, MUTED, PALETTE, RULE, SEQUENTIAL, SIZES, styled

__all__ = ["bars", "nested"]


@styled
def bars(
    values: Any,
    names: Sequence[Any] | None = None,
    ax: Axes | None = None,
    *,
    mark: int | None = None,
    title: str | None = None,
    xlabel: str | None = None,
    colours: Mapping[str, str] | None = None,
) -> tuple[Figure, Axes]:
    """Shares of outputs, layers or hidden units as horizontal bars, the first on top.

    Args:
        values: shape ``(n,)``.
        names: one for every bar; by default their numbers.
        ax: axes to draw on.
        mark: position of a bar that stands out in colour.
        title: a title.
        xlabel: what the values are.
        colours: name → colour, for bars that must keep a colour across figures.

    Returns:
        Figure and axes.

    Raises:
        ValueError: if the numbers and names do not fit together.

    Example:
        >>> fig, ax = bars([0.1, 0.7, 0.2], ["embed", "block", "head"], mark=1)
        >>> plt.close(fig)
    """
    v = checked(values, 1, "bars")
    labels = [str(k) for k in range(len(v))] if names is None else [str(name) for name in names]
    if len(labels) != len(v):
        raise ValueError(f"{len(labels)} names for {len(v)} bars.")
    if ax is None:
        fig, ax = plt.subplots(figsize=(3.4, 0.26 * len(v) + 0.9), layout="constrained")
    else:
        fig = ax.get_figure(root=True)  # type: ignore[assignment]
    own = [PALETTE[1] if mark is not None and k == mark % len(v) else PALETTE[0] for k in range(len(v))]
    chosen = [(colours or {}).get(label, colour) for label, colour in zip(labels, own, strict=True)]
    ax.barh(range(len(v)), v, color=chosen, height=0.68)
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.set_ylim(len(v) - 0.4, -0.6)
    ax.set_yticks(range(len(v)), labels)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x", color=RULE, linewidth=0.5, alpha=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, labelsize=SIZES["tick"], labelcolor=MUTED)
    if xlabel:
        ax.set_xlabel(xlabel)
    if title:
        ax.set_title(title)
    return fig, ax


@styled
def nested(
    parts: Mapping[str, Any],
    names: Sequence[Any],
    ax: Axes | None = None,
    *,
    title: str | None = None,
    xlabel: str | None = None,
) -> tuple[Figure, Axes]:
    """Numbers of which each is part of the one before, as bars within bars.

    Args:
        parts: what they are → shape ``(n,)``, from the largest to the smallest.
        names: one for every bar.
        ax: axes to draw on.
        title: a title.
        xlabel: what is counted.

    Returns:
        Figure and axes.

    Raises:
        ValueError: if the numbers and names do not fit together.

    Example:
        >>> fig, ax = nested({"width": [4, 9], "hard rank": [4, 5], "effective rank": [2.9, 3.7]}, ["embed", "head"])
        >>> plt.close(fig)
    """
    columns = {name: checked(v, 1, name) for name, v in parts.items()}
    for name, v in columns.items():
        if len(v) != len(names):
            raise ValueError(f"{len(names)} names for {len(v)} bars of {name!r}.")
    if ax is None:
        size = (4.4, 0.26 * len(names) + 1.2)
        fig, ax = plt.subplots(figsize=size, layout="constrained")
    else:
        fig = ax.get_figure(root=True)  # type: ignore[assignment]
    rows = range(len(names))
    shades = SEQUENTIAL(np.linspace(0.12, 0.85, max(2, len(columns))))
    for k, (name, v) in enumerate(
        columns.items()
    ):  # each thinner than the one before, so that equal ones show
        ax.barh(rows, v, color=shades[k], height=0.8 * (1 - k / len(columns)), label=name, zorder=2)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_yticks(rows, [str(name) for name in names])
    ax.spines["left"].set_visible(False)
    ax.tick_params(length=0, labelsize=SIZES["tick"], labelcolor=MUTED)
    fig.legend(
        *ax.get_legend_handles_labels(), loc="outside upper right", ncols=len(columns), fontsize=SIZES["tick"]
    )
    if xlabel:
        ax.set_xlabel(xlabel)
    if title:
        ax.set_title(title)
    return fig, ax
