"""Scores of n-grams, similarity to the last checkpoint, and eight matrices."""

import numpy as np
from matplotlib.figure import Figure

from paper_figures.common.cache import Cache
from paper_figures.common.sheet import WIDTH, sheet
from paper_figures.language.setting import GRAMS
from tnsim.view import DIVERGING, PALETTE, SEQUENTIAL, curves, heatmap
from tnsim.view.style import MUTED, SIZES, styled

__all__ = ["plot"]

_PANELS = {
    "weights": "matrix cosine",
    "noise": "behaviour, noise\nat the embedding",
    "residual": "behaviour on text,\nresidual stream",
    "text": "behaviour on text,\nlogits",
    "gaussian": "tensor, N(0, I)\nlayer by layer",
    "rescaled": "tensor, N(0, I)\nhidden state rescaled",
    "tokens": "tensor, Tokens\nlayer by layer",
    "markov": "tensor, MarkovChain\nlayer by layer",
}
_CURVES = {
    "text_pooled": ("all outputs on text", PALETTE[3], "-"),
    "markov": ("tensor, MarkovChain", PALETTE[2], "-"),
    "tokens": ("tensor, Tokens", PALETTE[1], "--"),
    "gaussian": ("tensor, N(0, I)", PALETTE[0], "-"),
    "weights": ("matrix cosine", MUTED, "-"),
}
_CAPTION = (
    "Layer by layer: two layers of attention, approximated. Rescaled: the hidden state is divided by its root mean square\n"
    "between the layers, as one of the known defects of the published code does (entries of its panel reach 1.025)."
)


@styled
def plot(cache: Cache) -> dict[str, Figure]:
    """One sheet; every checkpoint after step 0 takes the same width."""
    names = list(_PANELS)
    mosaic = [["scores"] * 2 + ["last"] * 2, names[:4], names[4:]]
    fig, axes = sheet(mosaic, 7.6, WIDTH * 1.3, height_ratios=[1, 1.25, 1.25])
    steps = cache["steps"]
    at = np.arange(len(steps))

    scores = {f"{n}-grams": values for n, values in zip(GRAMS, cache["scores"], strict=True)}
    low, high = float(cache["scores"].min()), float(cache["scores"].max())
    pad = 0.06 * (high - low)
    curves(
        at,
        scores,
        axes["scores"],
        title="frequent n-grams are learnt",
        ylabel="score",
        ylim=(low - pad, high + pad),
    )
    ax = axes["last"]
    for name, (label, colour, dash) in _CURVES.items():
        where = cache["chain"] if name == "markov" else at
        ax.plot(where, cache[name][-1], dash, color=colour, linewidth=2, label=label)
    ax.set(title="similarity to the last checkpoint", xlabel="step", xlim=(at[0], at[-1]))
    ax.legend(loc="upper left", fontsize=SIZES["small"])
    ax.grid(axis="y", linewidth=0.3)

    negative = min(float(cache[name].min()) for name in names) < -0.05
    scale = {"vmin": -1 if negative else 0, "vmax": 1, "cmap": DIVERGING if negative else SEQUENTIAL}
    for name, ax in axes.items():
        if name in _PANELS:
            edge = name in (names[3], names[7])
            heatmap(cache[name], ax, title=_PANELS[name], annotate=False, colorbar=edge, **scale)
            ticks, written = _ticks(steps[cache["chain"]] if name == "markov" else steps)
            left, below = name in (names[0], names[4]), name in names[4:]
            ax.set_yticks(ticks, written if left else [""] * len(ticks))
            ax.set_xticks(ticks, written if below else [""] * len(ticks))
            ax.set(xlabel="step" if below else "", ylabel="step" if left else "")
        else:
            ax.set_xticks(*_ticks(steps))
        ax.title.set_fontsize(SIZES["label"])
    fig.supxlabel(_CAPTION, x=0.01, ha="left", fontsize=SIZES["small"], color=MUTED)
    return {"": fig}


def _ticks(steps: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Where the powers of ten lie among the checkpoints, and how they are written."""
    powers = [10**k for k in range(9) if steps[0] <= 10**k <= steps[-1]]
    at = np.interp(np.log(powers), np.log(steps), np.arange(len(steps)))
    return at, [f"{v:,}".replace(",", " ") for v in powers]
