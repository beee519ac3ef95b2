"""Exact, layer by layer and sampled similarities over depth, width and residual scale."""

import numpy as np
from matplotlib.figure import Figure

from paper_figures.common.cache import Cache
from paper_figures.common.sheet import sheet
from tnsim.view import PALETTE
from tnsim.view.style import MUTED, SIZES, styled

__all__ = ["plot"]

_SWEEPS = {
    "depth": "bilinear layers",
    "width": "width (two layers)",
    "scale": "residual scale (two layers; 0: none)",
}
_PAIRS = ("two seeds", "two checkpoints of a run")


@styled
def plot(cache: Cache) -> dict[str, Figure]:
    """One sheet: sweeps from left to right, pairs from top to bottom."""
    mosaic = [[f"{sweep} {pair}" for sweep in _SWEEPS] for pair in range(2)]
    fig, axes = sheet(mosaic, 5.2, 8.6)
    for sweep, label in _SWEEPS.items():
        values = cache[f"{sweep}_at"]
        at = np.arange(len(values))
        for pair in range(2):
            ax = axes[f"{sweep} {pair}"]
            exact, layerwise, mean, error = cache[sweep][:, pair].T
            ax.vlines(at, exact, layerwise, color=PALETTE[1], linewidth=1, alpha=0.5)
            ax.errorbar(
                at, mean, 2 * error, fmt="none", ecolor=MUTED, capsize=5, elinewidth=5, alpha=0.5,
                label="sampled, ± 2 standard errors",
            )  # fmt: skip
            ax.plot(at, exact, "o-", color=PALETTE[0], markersize=5, label="exact")
            ax.plot(
                at,
                layerwise,
                "s--",
                color=PALETTE[1],
                markersize=5,
                label="layer by layer",
                markerfacecolor="white",
            )
            ax.axhline(0, color=MUTED, linewidth=0.6)
            low = min(exact.min(), layerwise.min(), 0)
            ax.set(xlim=(-0.4, len(at) - 0.6), ylim=(low - 0.08, 1.08))
            ax.set_xticks(at, [f"{v:g}" for v in values])
            if sweep == "depth":
                ax.set_ylabel("similarity")
                ax.set_title(_PAIRS[pair], fontsize=SIZES["label"])
            if pair:
                ax.set_xlabel(label)
    handles, labels = axes["depth 0"].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper right", ncols=3, fontsize=SIZES["small"])
    return {"": fig}
