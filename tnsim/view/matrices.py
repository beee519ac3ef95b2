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

from tnsim.analysis.asking.problem import is_models
from tnsim.analysis.grams.grams import Gram, gram
from tnsim.view.arrays import checked
from tnsim.view.phases import LabelTicks, check_phases, name_phases
from tnsim.view.scale import SLIGHT, Scale, add_colorbar, axes_or_new, scale_of
from tnsim.view.style import INK, MUTED, PAPER, RULE, SIZES, ink_on, styled
from tnsim.view.text import extent, room

__all__ = ["heatmap", "heatmaps"]

Label = str | int | float
Labels = Sequence[Label] | tuple[Sequence[Label], Sequence[Label]]

_ANNOTATE_UP_TO = 12
_CLOSE = 1e-3  # rounding of float16, and no more
_FEW = 3  # matrices in a row, that may be larger
_CELL = 0.42  # inches, where there is room


@styled
def heatmap(
    matrix: Any,
    ax: Axes | None = None,
    *,
    labels: Labels | None = None,
    boundaries: Iterable[float] = (),
    phases: Sequence[str] = (),
    title: str | None = None,
    axis_label: str | tuple[str, str] | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Colormap | str | None = None,
    colorbar: bool = True,
    annotate: bool | None = None,
    origin: str = "lower",
    band: tuple[float, float] | None = None,
) -> tuple[Figure, Axes]:
    """A square matrix between models, such as a similarity matrix of checkpoints.

    A matrix of cosines (ones on its diagonal, nothing beyond ±1) is drawn from 0 to 1, with negative entries that matter
    from −1 to 1, so that pictures of two runs compare. Other ones are centred at zero, white, if there are negative
    entries, and otherwise run from the smallest entry to the largest. NaN, as of models that are zero, is grey.

    Args:
        matrix: shape ``(n, n)``; or a :class:`~tnsim.Gram`, whose similarities are drawn under its labels; or models,
            such as :func:`tnsim.checkpoints`, whose Gram matrix is then computed exactly under the standard normal law.
        labels: names of the models, or numbers such as training steps; as many are written as fit. Of two lists of
            models against each other a pair, those of rows and those of columns; the matrix need not be square then.
        boundaries: where one phase of training ends and the next begins: ``33`` lies between models 32 and 33.
        phases: names of the phases, one more than there are boundaries.
        title: a title.
        axis_label: what the labels count, for instance ``"step"``; or what rows and what columns count.
        vmin: value of the first colour.
        vmax: value of the last colour.
        cmap: a colour map other than the house's.
        colorbar: whether to draw the scale.
        annotate: whether to write the values; by default where there are at most 12 models.
        origin: ``"lower"`` puts the first model at the bottom, ``"upper"`` at the top.
        band: values that come out by chance, marked on the scale, such as ``tnsim.null(models).band()``.

    Returns:
        Figure and axes.

    Raises:
        ValueError: if the matrix is not square, holds infinities or no number at all, or labels and phases do not fit.

    Example:
        >>> fig, ax = heatmap([[1.0, 0.2], [0.2, 1.0]], labels=["a", "b"])
        >>> plt.close(fig)
    """
    if is_models(matrix):
        matrix = gram(matrix, slices=False)
    if isinstance(matrix, Gram):
        labels = matrix.labels if labels is None else labels
        matrix = matrix.similarity()
    values = checked(matrix, 2, "heatmap", "Several matrices are drawn with heatmaps(stack).", blanks=True)
    names = _both(labels, values.shape)
    (rows, columns), edges = values.shape, list(boundaries)
    if rows != columns and not (_is_pair(labels) and not edges):
        raise ValueError(
            f"heatmap needs a square matrix; got shape {values.shape}. Of one list of models against another it needs "
            "the labels of both, labels=(rows, columns), and no boundaries; image() draws any shape."
        )
    right, below = (_margin(some) if labels is not None else 0.0 for some in names)
    fig, ax = axes_or_new(ax, _side(columns) + right + 0.9 * colorbar, _side(rows) + below)
    scale = scale_of(values, *_limits(values[None], vmin, vmax), cmap)
    _matrix(ax, values, scale, names, edges, list(phases), origin, annotate)
    if axis_label:
        ylabel, xlabel = (axis_label,) * 2 if isinstance(axis_label, str) else axis_label
        ax.set(xlabel=xlabel, ylabel=ylabel)
    if title:
        ax.set_title(title, pad=20 if phases else 6)
    if colorbar:
        add_colorbar(fig, scale, ax, band)
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
    axis_label: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Colormap | str | None = None,
    origin: str = "lower",
) -> tuple[Figure, np.ndarray]:
    """Several square matrices side by side with one scale, such as one similarity matrix per output.

    Args:
        stack: shape ``(k, n, n)``; or a :class:`~tnsim.Gram`, whose similarities are drawn output by output.
        titles: one for every matrix; by default their numbers.
        cols: matrices in a row.
        labels: names of the models, written along the outer edges.
        boundaries: as in :func:`heatmap`.
        phases: as in :func:`heatmap`.
        title: a title for the whole.
        axis_label: what the labels count, for instance ``"step"``, written along the outer edges.
        vmin: value of the first colour.
        vmax: value of the last colour.
        cmap: a colour map other than the house's.
        origin: as in :func:`heatmap`.

    Returns:
        Figure and an array of axes, of shape ``(rows, cols)``; axes without a matrix are hidden.

    Raises:
        ValueError: if the shapes do not fit, or entries are infinite.

    Example:
        >>> fig, axes = heatmaps(np.ones((3, 4, 4)), cols=2)
        >>> axes.shape
        (2, 2)
        >>> plt.close(fig)
    """
    if isinstance(stack, Gram):
        labels = stack.labels if labels is None else labels
        stack = stack.slices()
    values = checked(stack, 3, "stack", "One matrix is drawn with heatmap(matrix).", blanks=True)
    if values.shape[1] != values.shape[2]:
        raise ValueError(f"every matrix of the stack must be square; got shape {values.shape}.")
    names = [str(k) for k in range(len(values))] if titles is None else list(titles)
    if len(names) != len(values):
        raise ValueError(f"{len(names)} titles for {len(values)} matrices.")
    cols = max(1, min(cols, len(values)))
    rows = -(-len(values) // cols)
    scale = scale_of(values, *_limits(values, vmin, vmax), cmap)
    both = _both(labels, values.shape[1:])
    side = 1.75 if cols > _FEW else 2.1
    around = 0.4 * bool(title) + 0.35 * bool(axis_label) + 0.2 * bool(phases)
    fig, axes = plt.subplots(
        rows,
        cols,
        figsize=(side * cols + 1.1, (side + 0.2) * rows + around),
        squeeze=False,
        layout="constrained",
    )
    for k, ax in enumerate(axes.flat):
        if k >= len(values):
            ax.set_axis_off()
            continue
        left, bottom = k % cols == 0, k + cols >= len(values)
        _matrix(ax, values[k], scale, both, list(boundaries), list(phases) if k < cols else [], origin, False)
        ax.tick_params(labelleft=left, labelbottom=bottom)
        ax.set(ylabel=axis_label if left else None, xlabel=axis_label if bottom else None)
        ax.set_title(names[k], fontsize=SIZES["label"], pad=16 if phases and k < cols else 4)
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontsize=SIZES["title"])
    add_colorbar(fig, scale, axes)
    return fig, axes


# ---------------------------------------------------------------------- helpers


def _is_pair(labels: Any) -> bool:
    """Whether rows and columns have labels of their own."""
    if not isinstance(labels, tuple) or len(labels) != 2:
        return False
    return all(isinstance(x, Sequence) and not isinstance(x, str) for x in labels)


def _both(labels: Any, shape: tuple[int, ...]) -> tuple[list[Label], list[Label]]:
    """The labels of rows and of columns; by default their numbers."""
    given = labels if _is_pair(labels) else (labels, labels)
    names: list[list[Label]] = [
        list(range(n)) if some is None else [_plain(label) for label in some]
        for some, n in zip(given, shape, strict=True)
    ]
    for some, n in zip(names, shape, strict=True):
        if len(some) != n:
            raise ValueError(f"{len(some)} labels for {n} models.")
    return names[0], names[1]


def _limits(stack: np.ndarray, vmin: float | None, vmax: float | None) -> tuple[float | None, float | None]:
    """The limits of colours: those given; for matrices of cosines −1 or 0, and 1."""
    *_, rows, columns = stack.shape
    diagonal = np.diagonal(stack, axis1=1, axis2=2)
    ones = np.abs(diagonal - 1) < _CLOSE
    cosines = rows == columns and ones.any() and bool((ones | np.isnan(diagonal)).all())
    if not cosines or np.nanmax(np.abs(stack)) > 1 + _CLOSE:
        return vmin, vmax
    least = -1.0 if np.nanmin(stack) < -SLIGHT else 0.0
    return least if vmin is None else vmin, 1.0 if vmax is None else vmax


def _margin(labels: Sequence[Label]) -> float:
    return max(extent(str(label), SIZES["tick"])[0] for label in labels) / 72


def _side(n: int) -> float:
    return float(np.clip(_CELL * n + 0.6, 2.2, 4.4))


def _matrix(
    ax: Axes,
    values: np.ndarray,
    scale: Scale,
    labels: tuple[Sequence[Label], Sequence[Label]],
    boundaries: list[float],
    phases: list[str],
    origin: str,
    annotate: bool | None,
) -> None:
    n = max(values.shape)
    check_phases(n, boundaries, phases)
    ax.imshow(values, norm=scale.norm, cmap=scale.cmap, origin=origin, interpolation="nearest")  # type: ignore[arg-type]
    halo = [patheffects.withStroke(linewidth=2.0, foreground=PAPER)]
    for b in boundaries:
        for line in (ax.axvline, ax.axhline):
            line(b - 0.5, color=INK, linewidth=0.8, gid="boundary", path_effects=halo)
    for axis, names in ((ax.yaxis, labels[0]), (ax.xaxis, labels[1])):
        ticks = LabelTicks(names)
        axis.set_major_locator(ticks)
        axis.set_major_formatter(FuncFormatter(ticks.text))
        if ticks.slanted() and axis is ax.xaxis:
            ax.tick_params(axis="x", rotation=90)
    ax.tick_params(length=2.5, color=RULE, labelsize=SIZES["tick"], labelcolor=MUTED)
    ax.spines[:].set_visible(False)
    if annotate if annotate is not None else n <= _ANNOTATE_UP_TO:
        rgba = scale.cmap(scale.norm(values))
        wide, _ = room(ax)
        each = max(extent(f"{v:.2f}", 1.0)[0] for v in values[~np.isnan(values)])
        size = min(SIZES["small"], 42.0 * 2.2 / n, 0.86 * wide / values.shape[1] / each)
        for i, j in np.argwhere(~np.isnan(values)):
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
