"""A run as a path through the plane of its two principal axes."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tnsim.view.arrays import checked
from tnsim.view.phases import check_phases
from tnsim.view.style import INK, MUTED, PALETTE, PAPER, RULE, SIZES, styled

__all__ = ["path"]


@styled
def path(
    points: Any,
    ax: Axes | None = None,
    *,
    labels: Sequence[Any] | None = None,
    boundaries: Sequence[int] = (),
    phases: Sequence[str] = (),
    explained: Any = None,
    title: str | None = None,
) -> tuple[Figure, Axes]:
    """A run in the plane of its first two axes, one colour for every phase; both axes have one scale.

    Args:
        points: shape ``(N, r)``: one row for every checkpoint, in order, such as ``trajectory(gram).points``. A path
            with one axis is drawn on a line.
        ax: axes to draw on.
        labels: one for every checkpoint; the first and the last are written, and the first of every phase.
        boundaries: where new phases begin, such as ``segment(gram, k).boundaries``.
        phases: their names, one more than there are boundaries.
        explained: shares of the variance, for the names of the axes.
        title: a title.

    Returns:
        Figure and axes.

    Raises:
        ValueError: if the shapes do not fit together.

    Example:
        >>> fig, ax = path([[0, 0], [1, 0], [1, 1]], labels=[0, 10, 20], boundaries=[2])
        >>> plt.close(fig)
    """
    p = checked(points, 2, "path")
    n = len(p)
    edges, names = [int(b) for b in boundaries], list(phases)
    check_phases(n, edges, names)
    written = None if labels is None else [f"{x:g}" if isinstance(x, float) else str(x) for x in labels]
    if written is not None and len(written) != n:
        raise ValueError(f"{len(written)} labels for {n} checkpoints.")
    xy = np.column_stack([p[:, 0], p[:, 1] if p.shape[1] > 1 else np.zeros(n)])
    if ax is None:
        fig, ax = plt.subplots(figsize=(4.4, 3.8), layout="constrained")
    else:
        fig = ax.get_figure(root=True)  # type: ignore[assignment]
    for k, (i, j) in enumerate(pairwise((0, *edges, n))):
        colour = PALETTE[k % len(PALETTE)]
        way = xy[max(i - 1, 0) : j]
        ax.plot(*way.T, color=colour, linewidth=1.4, solid_capstyle="round")
        ax.plot(*xy[i:j].T, "o", color=colour, markersize=4.5, label=names[k] if names else None)
    if written is not None:
        _write(ax, xy, written, sorted({0, *edges, n - 1}))
    shares = None if explained is None else checked(explained, 1, "explained")
    share = [f" ({x:.0%} of the variance)" for x in (() if shares is None else shares[:2])] + ["", ""]
    ax.set(xlabel=f"axis 1{share[0]}", ylabel=f"axis 2{share[1]}")
    ax.set_aspect("equal", adjustable="datalim")
    ax.grid(color=RULE, linewidth=0.5, alpha=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(length=2.5, labelsize=SIZES["tick"], labelcolor=MUTED)
    if names:
        ax.legend(fontsize=SIZES["small"], frameon=False, labelcolor=MUTED)
    if title:
        ax.set_title(title)
    return fig, ax


def _write(ax: Axes, xy: np.ndarray, written: Sequence[str], at: Sequence[int]) -> None:
    """Labels beside their points, away from the middle of the path; one that would lie on another is left out."""
    size = float(np.ptp(xy, axis=0).max()) or 1.0
    middle = xy.mean(0)
    placed: list[int] = []
    for i in at:
        if any(np.hypot(*(xy[i] - xy[j])) < 0.09 * size for j in placed):
            continue
        placed.append(i)
        away = xy[i] - middle
        away = away / (np.hypot(*away) or 1.0)
        ax.annotate(
            written[i], xy[i], xytext=9 * away, textcoords="offset points", fontsize=SIZES["small"], color=INK,
            ha="left" if away[0] > 0.4 else "right" if away[0] < -0.4 else "center",
            va="bottom" if away[1] > 0.4 else "top" if away[1] < -0.4 else "center", gid="label",
            path_effects=[patheffects.withStroke(linewidth=2.0, foreground=PAPER)],
        )  # fmt: skip
