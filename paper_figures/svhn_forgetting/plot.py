"""Heat maps of the run, and its curves."""

import numpy as np
from matplotlib.figure import Figure

from paper_figures.common.cache import Cache
from paper_figures.common.sheet import divide, sheet
from paper_figures.svhn_forgetting.setting import NAMES
from tnsim.view import DIVERGING, PALETTE, curves, heatmap
from tnsim.view.style import MUTED

__all__ = ["plot"]


def plot(cache: Cache) -> dict[str, Figure]:
    """The heat maps, and the progress curves."""
    return {"": _heatmaps(cache), "-progress": _progress(cache)}


def _heatmaps(cache: Cache) -> Figure:
    top, rows = ["tensor", "cka", "weights"], [[f"{k}" for k in range(5)], [f"{k}" for k in range(5, 10)]]
    mosaic = [[name for name in top for _ in range(5)], *([c for c in row for _ in range(3)] for row in rows)]
    fig, axes = sheet(mosaic, 6.1, height_ratios=[1.75, 1, 1])
    edges = [int(np.searchsorted(cache["shown_stage"], k)) for k in range(1, len(NAMES))]
    middle = np.convolve([0, *edges, len(cache["shown"])], [0.5, 0.5], "valid") - 0.5
    scale = {"vmin": -1, "vmax": 1, "cmap": DIVERGING, "annotate": False}
    titles = {"tensor": "tensor", "cka": "CKA on logits", "weights": "matrix cosine"}
    for name, ax in axes.items():
        slice_ = name.isdigit()
        heatmap(
            cache["slices"][int(name)] if slice_ else cache[name],
            ax,
            title=f"tensor, class {name}" if slice_ else titles[name],
            colorbar=name in ("weights", "4", "9"),
            **scale,
        )
        divide(ax, edges)
        named = name in ("tensor", "0", "5")
        ax.set_yticks(middle, NAMES if named else [""] * len(NAMES), fontsize=6 if slice_ else 8)
        ax.set_xticks([] if slice_ else middle, [] if slice_ else NAMES, rotation=90)
        ax.tick_params(length=0)
        if slice_:
            ax.title.set_fontsize(9)
    return fig


def _progress(cache: Cache) -> Figure:
    fig, axes = sheet([["accuracy"], ["loss"], ["similarity"], ["slices"]], 8.0)
    steps, edges = cache["steps"], cache["ends"][:-1].tolist()
    pair = ("train", "validation")
    muted = {"train": MUTED, "validation": PALETTE[0]}
    shared = {"boundaries": edges, "xlabel": ""}
    curves(
        steps,
        {p: cache[f"{p}_accuracy"] for p in pair} | {"digit 9": cache["digits"][9]},
        axes["accuracy"],
        phases=NAMES,
        ylabel="accuracy",
        ylim=(0, 1.02),
        colours=muted | {"digit 9": PALETTE[1]},
        **shared,
    )
    axes["loss"].set_yscale("log")
    losses = {p: cache[f"{p}_loss"] for p in pair}
    low, high = min(v.min() for v in losses.values()), max(v.max() for v in losses.values())
    curves(steps, losses, axes["loss"], ylabel="loss", ylim=(0.8 * low, 1.2 * high), colours=muted, **shared)
    curves(
        steps,
        {"tensor": cache["tensor_curve"], "CKA": cache["cka_curve"], "matrix cosine": cache["weights_curve"]},
        axes["similarity"],
        ylabel="similarity\nto the end of +9",
        ylim=(min(-0.05, float(cache["tensor_curve"].min()) - 0.05), 1.05),
        **shared,
    )
    ax = axes["slices"]
    for k in range(9):
        ax.plot(steps, cache["slice_curves"][k], color=PALETTE[0], linewidth=0.7, alpha=0.35)
        ax.plot(steps, cache["row_curves"][k], color=PALETTE[1], linewidth=0.7, alpha=0.35)
    lowest = min(cache["slice_curves"].min(), cache["row_curves"].min())
    curves(
        steps,
        {"tensor, class 9": cache["slice_curves"][9], "head's row 9": cache["row_curves"][9]},
        ax,
        boundaries=edges,
        phases=["localise:", *_named(cache)],
        xlabel="step (thin lines: the other classes)",
        ylabel="class slices\nto the end of +9",
        ylim=(float(lowest) - 0.05, 1.05),
    )
    return fig


def _named(cache: Cache) -> list[str]:
    """The class that `localise` names for every stage but the first."""
    said = dict(part.split(": ") for part in cache.facts["named"].split(", "))
    return [said[name] for name in NAMES[1:]]
