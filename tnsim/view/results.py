"""Results that draw themselves: the picture of each, and what a notebook shows of it."""

import base64
import io
from functools import singledispatch
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tnsim.analysis.bonds.bond_ranks import Ranks
from tnsim.analysis.change.localisation import Localisation
from tnsim.analysis.change.trajectories import Trajectory
from tnsim.analysis.compare.crossed import Crossed
from tnsim.analysis.explain.modes import Modes
from tnsim.analysis.explain.named_shares import Shares
from tnsim.analysis.grams.grams import Gram
from tnsim.view.arrays import to_numpy
from tnsim.view.bars import bars, nested
from tnsim.view.dot import to_dot
from tnsim.view.images import image
from tnsim.view.matrices import heatmap
from tnsim.view.paths import path
from tnsim.view.scale import SLIGHT
from tnsim.view.spectra import scree
from tnsim.view.tables import frame, table

__all__ = ["frame", "html", "plot", "to_dot"]

_BESIDE = "display:flex;flex-wrap:wrap;align-items:flex-start;gap:8px 24px"  # where there is room
_MOST_BARS = 20
_DPI = 96  # that text in a picture is as large as beside it


def html(result: Any) -> str:
    """What a notebook shows: a picture where there is one, and a table; of many models the picture alone."""
    if not _drawn(result):
        return table(result).html()
    fig, _ = plot(result)
    try:
        file = io.BytesIO()
        fig.savefig(file, format="png", dpi=_DPI)
    finally:
        plt.close(fig)
    picture = f'<img src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'
    shown = table(result)
    if isinstance(result, Gram | Crossed):
        return f"<div><b>{shown.title}</b></div>{picture}"
    return f'<div style="{_BESIDE}"><div>{shown.html()}</div>{picture}</div>'


def _drawn(result: Any) -> bool:
    if isinstance(result, Modes):
        return to_numpy(result.values).ndim < 2
    return isinstance(result, Gram | Crossed | Shares | Localisation | Trajectory | Ranks)


@singledispatch
def plot(result: Any, ax: Axes | None = None, **options: Any) -> tuple[Figure, Axes]:
    """Draw a result.

    Args:
        result: what a question returned.
        ax: axes to draw on.
        **options: those of the picture.

    Returns:
        Figure and axes.

    Raises:
        TypeError: if it has no picture.
    """
    raise TypeError(f"there is no picture of a {type(result).__name__}.")


@plot.register
def _(
    gram: Gram, ax: Axes | None = None, *, output: int | None = None, **options: Any
) -> tuple[Figure, Axes]:
    """The similarities, of all outputs or of one, under the labels."""
    return heatmap(gram.similarity(output), ax, **{"labels": gram.labels, **options})


@plot.register
def _(found: Crossed, ax: Axes | None = None, **options: Any) -> tuple[Figure, Axes]:
    """The index of all pairs, from 0 (or −1) to 1, both sides named."""
    least = -1.0 if np.nanmin(to_numpy(found.values)) < -SLIGHT else 0.0
    sides = {"labels": (found.rows, found.columns), "axis_label": ("a", "b"), "title": found.measure}
    return heatmap(found.values, ax, **{**sides, "vmin": least, "vmax": 1.0, **options})


@plot.register
def _(
    shares: Shares, ax: Axes | None = None, *, shape: tuple[int, int] | None = None, **options: Any
) -> tuple[Figure, Axes]:
    """Bars in percent, of layers in order, else the largest; an image where parts have two axes, or with ``shape=``."""
    values = to_numpy(shares)
    if shape is not None or (values.ndim == 2 and min(values.shape) > 1):
        return image(values, shape or values.shape, ax, **{"colorbar": True, **options})
    total = values.sum()
    percent, unit = (100 * values / total, "% of ") if total else (values, "share of ")
    named = {"xlabel": f"{unit}{shares.what}", **options}
    return _bars(percent.ravel(), shares.parts, ax, in_order=shares.over == "layers", **named)


@plot.register
def _(modes: Modes, ax: Axes | None = None, **options: Any) -> tuple[Figure, Axes]:
    """The values by rank, equal ones marked."""
    if to_numpy(modes.values).ndim > 1:
        raise ValueError("these are the modes of several models; draw those of one, modes.pick(i).plot().")
    groups = [group.members for group in modes.groups()]
    return scree(modes.values, ax, **{"groups": groups, "title": modes.what, **options})


@plot.register
def _(
    found: Localisation, ax: Axes | None = None, *, shape: tuple[int, int] | None = None, **options: Any
) -> tuple[Figure, Axes]:
    """The scores of the inputs as an image, where inputs are images or ``shape=`` is given; else how much outputs moved."""
    scores = to_numpy(found.inputs)
    scores = scores.reshape([n for n in scores.shape if n > 1] or [1])
    if shape is not None or scores.ndim == 2:
        about = {"title": f"output {found.output}, by input", "colorbar": True}
        return image(scores, shape or scores.shape, ax, **{**about, **options})
    outputs = to_numpy(found.outputs)
    parts = [i[0] if len(i) == 1 else tuple(i) for i in np.ndindex(outputs.shape)]
    mark = int(outputs.argmax()) if found.changed and outputs.size <= _MOST_BARS else None
    named = {"xlabel": "change, × the median of the others", "mark": mark, **options}
    return _bars(outputs.ravel(), parts, ax, in_order=True, **named)


@plot.register
def _(found: Ranks, ax: Axes | None = None, **options: Any) -> tuple[Figure, Axes]:
    """For every bond its width, its hard and its effective rank, one bar within the other."""
    parts: dict[str, dict[str, Any]] = {
        "width": found.widths,
        "hard rank": found.hard(),
        "effective rank": found.effective,
    }
    names = [
        f"{place} ≈" if not sure else place for place, sure in zip(found.places, found.exact, strict=True)
    ]
    about = {"xlabel": "directions" + ", ≈ approximate" * (not all(found.exact))}
    return nested({name: list(x.values()) for name, x in parts.items()}, names, ax, **{**about, **options})


@plot.register
def _(run: Trajectory, ax: Axes | None = None, **options: Any) -> tuple[Figure, Axes]:
    """The path through the plane of its two largest axes."""
    return path(run.points, ax, **{"labels": run.labels, "explained": run.explained, **options})


def _bars(
    values: np.ndarray, names: Any, ax: Axes | None, in_order: bool, **options: Any
) -> tuple[Figure, Axes]:
    """Bars of all parts in order, or of the largest."""
    finite = np.where(np.isfinite(values), values, np.finfo(float).max)
    if len(values) <= _MOST_BARS and in_order:
        shown = np.arange(len(values))
    else:
        shown = np.argsort(-np.abs(finite), kind="stable")[:_MOST_BARS]
    left = len(values) - len(shown)
    fig, ax = bars(values[shown], [str(names[i]) for i in shown], ax, **options)
    if left:
        ax.set_ylabel(f"the {len(shown)} largest of {len(values)}")
    return fig, ax
