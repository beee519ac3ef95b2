"""Accuracy, loss, frequencies and similarities over the checkpoints."""

import numpy as np
from matplotlib.figure import Figure

from paper_figures.common.cache import Cache
from paper_figures.common.sheet import divide, sheet
from paper_figures.grokking.setting import NAMES
from tnsim.view import PALETTE, SEQUENTIAL, curves, heatmap
from tnsim.view.style import INK, MUTED, SIZES, styled

__all__ = ["plot"]


@styled
def plot(cache: Cache) -> dict[str, Figure]:
    """One sheet; every checkpoint after step 0 takes the same width."""
    mosaic = [["accuracy"] * 2, ["loss"] * 2, ["frequencies"] * 2, ["tensor", "marginals"]]
    fig, axes = sheet(mosaic, 9.2, height_ratios=[1, 1, 1.2, 2.3])
    steps = cache["steps"][1:]
    at = np.arange(len(steps))
    starts = [int(i) - 1 for i in cache["starts"][1:]]
    powers = [10**k for k in range(1 + int(np.log10(steps[-1])))]
    ticks = [int(np.abs(np.log(steps) - np.log(v)).argmin()) for v in powers]
    names = [f"{v:,}".replace(",", " ") for v in powers]
    colours = {"train": MUTED, "validation": PALETTE[0]}

    def pair(what: str) -> dict[str, np.ndarray]:
        return {part: cache[f"{part}_{what}"][1:] for part in colours}

    shared = {"boundaries": starts, "xlabel": "", "colours": colours}
    curves(
        at, pair("accuracy"), axes["accuracy"], ylabel="accuracy", ylim=(-0.02, 1.05), phases=NAMES, **shared
    )
    axes["loss"].set_yscale("log")
    losses = pair("loss")
    low, high = min(v.min() for v in losses.values()), max(v.max() for v in losses.values())
    curves(at, losses, axes["loss"], ylabel="loss", ylim=(low / 2, high * 2), **shared)

    ax = axes["frequencies"]
    marginals = cache["marginals"][1:].T
    drawn = ax.imshow(
        marginals, aspect="auto", origin="lower", cmap=SEQUENTIAL, interpolation="nearest", vmin=0
    )
    fig.colorbar(drawn, ax=ax, label="share", fraction=0.03, pad=0.04)
    for edge in starts:
        ax.axvline(edge, color=INK, linewidth=0.5)
    ax.set_ylabel("frequency")
    ax.yaxis.get_major_locator().set_params(integer=True)
    for f in marginals[:, -1].argsort()[-1:]:
        place = {"xytext": (4, 0), "textcoords": "offset points", "ha": "left", "va": "center"}
        ax.annotate(
            f"{f}\nmost used",
            (at[-1] + 0.5, f),
            **place,
            color=INK,
            fontsize=SIZES["small"],
            annotation_clip=False,
        )

    scale = {"vmin": 0, "vmax": 1, "cmap": SEQUENTIAL, "annotate": False}
    for name, key, title in (
        ("tensor", "tensor", "tensor"),
        ("marginals", "marginal_cosine", "cosine of marginals"),
    ):
        heatmap(
            cache[key][1:, 1:], axes[name], title=title, axis_label="step", colorbar=name != "tensor", **scale
        )
        divide(axes[name], starts)
        axes[name].set_yticks(ticks, names)
    axes["marginals"].set_ylabel("")
    for name, ax in axes.items():
        square = name in ("tensor", "marginals")
        ax.set_xticks(ticks, names, rotation=90 if square else 0)
        ax.set_xlabel("step" if square or name == "frequencies" else "")
    return {"": fig}
