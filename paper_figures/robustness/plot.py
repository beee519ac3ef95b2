"""Scatter of functional against tensor similarity, r by law and measure, and how laws disagree."""

import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from paper_figures.common.cache import Cache
from paper_figures.common.sheet import WIDTH, caption, sheet
from paper_figures.robustness.setting import LAWS
from tnsim.view import PALETTE, heatmap
from tnsim.view.style import MUTED, PAPER, SIZES, styled

__all__ = ["plot"]

_MEASURES = {
    "standard": ("symmetric (published standard)", PALETTE[1], "o"),
    "covariance": ("symmetric, with covariance (published)", PALETTE[5], "s"),
    "gaussian": ("Gaussian(mean, cov)", PALETTE[2], "^"),
    "samples": ("Empirical(other samples)", PALETTE[0], "D"),
}
_CLOSEST = 1e-6  # to 1, that r is drawn at
_SHOWN = 700  # points of a kind in a panel


def plot(cache: Cache) -> dict[str, Figure]:
    """The scatter grid, and the summary."""
    return {"": _scatter(cache), "-summary": _summary(cache)}


@styled
def _scatter(cache: Cache) -> Figure:
    names = list(LAWS)
    fig, axes = sheet([names[:3], names[3:6], names[6:]], 7.4, sharex=True, sharey=True)
    every = max(1, cache["functional"].shape[1] // _SHOWN)
    for k, name in enumerate(names):
        ax, best = axes[name], cache.facts["best"][name]
        for measure in ("standard", best):
            label, colour, marker = _MEASURES[measure]
            ax.plot(
                cache[measure][k, ::every],
                cache["functional"][k, ::every],
                marker,
                label=label,
                color=colour,
                markersize=2,
                alpha=0.5,
                markeredgewidth=0,
                rasterized=True,
            )
        ax.plot([-1, 1], [-1, 1], color=MUTED, linewidth=0.6, zorder=0)
        ax.set_title(name, fontsize=SIZES["label"])
        r = [cache.facts[f"{measure} {name}"] for measure in ("standard", best)]
        halo = {"path_effects": [patheffects.withStroke(linewidth=2.5, foreground=PAPER)]}
        caption(ax, f"r = {r[0]:.3f}", x=0.04, y=0.88, color=_MEASURES["standard"][1], fontsize=9, **halo)
        caption(ax, f"r = {r[1]:.4f}", x=0.04, y=0.76, color=_MEASURES[best][1], fontsize=9, **halo)
        caption(ax, _MEASURES[best][0], x=0.97, ha="right", color=_MEASURES[best][1], **halo)
    axes[names[0]].set(xlim=(-0.6, 1.03), ylim=(-0.6, 1.03))
    for name in names[6:]:
        axes[name].set_xlabel("similarity from weights")
    for name in names[::3]:
        axes[name].set_ylabel("functional, own inputs")
    known = {
        label: line
        for name in names
        for line, label in zip(*axes[name].get_legend_handles_labels(), strict=True)
    }
    fig.legend(
        known.values(), known.keys(), loc="outside upper left", ncols=3, fontsize=SIZES["tick"], markerscale=3
    )
    return fig


@styled
def _summary(cache: Cache) -> Figure:
    names = list(LAWS)
    fig, axes = sheet([["r", "cross"]], 4.2, WIDTH * 1.2, width_ratios=[1, 1.45])
    ax = axes["r"]
    at = np.arange(len(names))[::-1]
    for measure, (label, colour, marker) in _MEASURES.items():
        ax.plot(
            [1 - min(cache.facts[f"{measure} {n}"], 1 - _CLOSEST) for n in names],
            at,
            marker,
            color=colour,
            label=label,
            markersize=5,
        )
    ax.axvline(0.01, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
    ax.set_xscale("log")
    ax.invert_xaxis()  # the better, the further to the right
    ax.set_yticks(at, names)
    ax.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: f"{1 - x:.{max(1, round(-np.log10(x)))}f}".removeprefix("0"))
    )
    ax.set(xlabel="r of functional and tensor similarity")
    ax.grid(axis="y", linewidth=0.4)
    fig.legend(
        *ax.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=2,
        fontsize=SIZES["small"],
        frameon=False,
    )
    heatmap(
        cache["cross"], axes["cross"], labels=names, vmin=0, vmax=1, origin="upper", annotate=True, colorbar=False,
        title="r of functional similarity on inputs of\none law (row) and on own inputs (column)",
    )  # fmt: skip
    axes["cross"].set(xlabel="models trained on", ylabel="compared on")
    return fig
