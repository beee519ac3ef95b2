"""Square matrices between models as heat maps."""

from collections.abc import Iterable, Sequence
from typing import Any

import autoray as ar
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tnsim.analysis.gram import Gram, gram
from tnsim.analysis.problem import is_models
from tnsim.view.arrays import checked
from tnsim.view.phases import LabelTicks, check_phases, name_phases
from tnsim.view.scale import Scale, add_colorbar, axes_or_new, scale_of
from tnsim.view.style import INK, MUTED, PAPER, RULE, SIZES, ink_on, styled
from tnsim.view.text import extent

__all__ = ["heatmap", "heatmaps"]

Label = str | int | float

_ANNOTATE_UP_TO = 12
_CELL = 0.42  # inches, where there is room


@styled
def heatmap(
    matrix: Any,
    ax: Axes | None = None,
    *,
    labels: Sequence[Label] | None = None,
    boundaries: Iterable[float] = (),
    phases: Sequence[str] = (),
    title: str | None = None,
    axis_label: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Colormap | str | None = None,
    colorbar: bool = True,
    annotate: bool | None = None,
    origin: str = "lower",
) -> tuple[Figure, Axes]:
    """A square matrix between models, such as a similarity matrix of checkpoints.

    With negative entries the colours are centred at zero, white; otherwise they run from the smallest
    entry to the largest.

    Args:
        matrix: shape ``(n, n)``; or a :class:`~tnsim.Gram`, whose similarities are drawn under its labels; or models,
            such as :func:`tnsim.checkpoints`, whose Gram matrix is then computed exactly under the standard normal law.
        labels: names of the models, or numbers such as training steps; as many are written as fit.
        boundaries: where one phase of training ends and the next begins: ``33`` lies between models 32 and 33.
        phases: names of the phases, one more than there are boundaries.
        title: a title.
        axis_label: what the labels count, for instance ``"step"``.
        vmin: value of the first colour.
        vmax: value of the last colour.
        cmap: a colour map other than the house's.
        colorbar: whether to draw the scale.
        annotate: whether to write the values; by default where there are at most 12 models.
        origin: ``"lower"`` puts the first model at the bottom, ``"upper"`` at the top.

    Returns:
        Figure and axes.

    Raises:
        ValueError: if the matrix is not square, holds NaN, or labels and phases do not fit.

    Example:
        >>> fig, ax = heatmap([[1.0, 0.2], [0.2, 1.0]], labels=["a", "b"])
        >>> plt.close(fig)
    """
    if is_models(matrix):
        matrix = gram(matrix, slices=False)
    if isinstance(matrix, Gram):
        labels = matrix.labels if labels is None else labels
        matrix = matrix.similarity()
    values = _square(matrix)
    n = len(values)
    margin = 0.0 if labels is None else max(extent(str(label), SIZES["tick"])[0] for label in labels) / 72
    fig, ax = axes_or_new(ax, _side(n) + margin + 0.9 * colorbar, _side(n) + margin)
    scale = scale_of(values, vmin, vmax, cmap)
    _matrix(ax, values, scale, labels, list(boundaries), list(phases), origin, annotate)
    if axis_label:
        ax.set(xlabel=axis_label, ylabel=axis_label)
    if title:
        ax.set_title(title, pad=20 if phases else 6)
    if colorbar:
        add_colorbar(fig, scale, ax)
    return fig, ax


@styled
def heatmaps(
    stack: Any,
    titles: Sequence[str] | None = None,
    *,
    cols: int = 5,
    labels: Sequence[Label] | None = None,
    boundaries: Iterable[float] = (),
    phases: Sequence[str] = (),
    title: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Colormap | str | None = None,
    origin: str = "lower",
) -> tuple[Figure, np.ndarray]:
    """Several square matrices side by side with one scale, such as one similarity matrix per output.

    Args:
        stack: shape ``(k, n, n)``.
        titles: one for every matrix; by default their numbers.
        cols: matrices in a row.
        labels: names of the models, written along the outer edges.
        boundaries: as in :func:`heatmap`.
        phases: as in :func:`heatmap`.
        title: a title for the whole.
        vmin: value of the first colour.
        vmax: value of the last colour.
        cmap: a colour map other than the house's.
        origin: as in :func:`heatmap`.

    Returns:
        Figure and an array of axes, of shape ``(rows, cols)``; axes without a matrix are hidden.

    Raises:
        ValueError: if the shapes do not fit, or an entry is NaN.

    Example:
        >>> fig, axes = heatmaps(np.ones((3, 4, 4)), cols=2)
        >>> axes.shape
        (2, 2)
        >>> plt.close(fig)
    """
    values = checked(stack, 3, "stack", "One matrix is drawn with heatmap(matrix).")
    if values.shape[1] != values.shape[2]:
        raise ValueError(f"every matrix of the stack must be square; got shape {values.shape}.")
    names = [str(k) for k in range(len(values))] if titles is None else list(titles)
    if len(names) != len(values):
        raise ValueError(f"{len(names)} titles for {len(values)} matrices.")
    cols = max(1, min(cols, len(values)))
    rows = -(-len(values) // cols)
    scale = scale_of(values, vmin, vmax, cmap)
    fig, axes = plt.subplots(
        rows,
        cols,
        figsize=(1.75 * cols + 1.1, 1.95 * rows + 0.4 * bool(title)),
        squeeze=False,
        layout="constrained",
    )
    for k, ax in enumerate(axes.flat):
        if k >= len(values):
            ax.set_axis_off()
            continue
        left, bottom = k % cols == 0, k + cols >= len(values)
        _matrix(
            ax, values[k], scale, labels, list(boundaries), list(phases) if k < cols else [], origin, False
        )
        ax.tick_params(labelleft=left, labelbottom=bottom)
        ax.set_title(names[k], fontsize=SIZES["label"], pad=16 if phases and k < cols else 4)
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontsize=SIZES["title"])
    add_colorbar(fig, scale, axes)
    return fig, axes


# ---------------------------------------------------------------------- helpers


def _square(matrix: Any) -> np.ndarray:
    values = checked(matrix, 2, "heatmap", "Several matrices are drawn with heatmaps(stack).")
    if values.shape[0] != values.shape[1]:
        raise ValueError(f"heatmap needs a square matrix; got shape {values.shape}. image() draws any shape.")
    return values


def _side(n: int) -> float:
    return float(np.clip(_CELL * n + 0.6, 2.2, 4.4))


def _matrix(
    ax: Axes,
    values: np.ndarray,
    scale: Scale,
    labels: Sequence[Label] | None,
    boundaries: list[float],
    phases: list[str],
    origin: str,
    annotate: bool | None,
) -> None:
    n = len(values)
    names = list(range(n)) if labels is None else [_plain(label) for label in labels]
    if len(names) != n:
        raise ValueError(f"{len(names)} labels for {n} models.")
    check_phases(n, boundaries, phases)
    ax.imshow(values, norm=scale.norm, cmap=scale.cmap, origin=origin, interpolation="nearest")  # type: ignore[arg-type]
    halo = [patheffects.withStroke(linewidth=2.0, foreground=PAPER)]
    for b in boundaries:
        for line in (ax.axvline, ax.axhline):
            line(b - 0.5, color=INK, linewidth=0.8, gid="boundary", path_effects=halo)
    for axis in (ax.xaxis, ax.yaxis):
        ticks = LabelTicks(names)
        axis.set_major_locator(ticks)
        axis.set_major_formatter(FuncFormatter(ticks.text))
        if ticks.slanted() and axis is ax.xaxis:
            ax.tick_params(axis="x", rotation=90)
    ax.tick_params(length=2.5, color=RULE, labelsize=SIZES["tick"], labelcolor=MUTED)
    ax.spines[:].set_visible(False)
    if annotate if annotate is not None else n <= _ANNOTATE_UP_TO:
        rgba = scale.cmap(scale.norm(values))
        size = min(SIZES["small"], 42.0 * 2.2 / n)
        for i, j in np.ndindex(n, n):
            ax.text(
                j,
                i,
                f"{values[i, j]:.2f}",
                ha="center",
                va="center",
                fontsize=size,
                color=ink_on(rgba[i, j, :3]),
            )
    if phases:
        name_phases(ax, n, boundaries, phases)


def _plain(label: Any) -> Label:
    return label if isinstance(label, str | int | float) else float(ar.to_numpy(label))
