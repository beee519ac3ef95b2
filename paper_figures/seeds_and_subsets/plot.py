"""Ten class slices and the whole, over the first model's training."""

from matplotlib.figure import Figure

from paper_figures.common.cache import Cache
from paper_figures.common.sheet import sheet
from paper_figures.svhn_forgetting.setting import NAMES
from tnsim.view import PALETTE, curves
from tnsim.view.style import MUTED

__all__ = ["plot"]


def plot(cache: Cache) -> dict[str, Figure]:
    """One panel."""
    fig, axes = sheet([["curves"]], 3.6)
    ax = axes["curves"]
    for k in range(9):
        ax.plot(cache["steps"], cache["slices"][k], color=PALETTE[0], linewidth=0.8, alpha=0.35)
    ax.axhline(0, color=MUTED, linewidth=0.6)
    low, high = float(cache["slices"].min()), float(cache["slices"].max())
    curves(
        cache["steps"],
        {"class 9": cache["slices"][9], "all classes": cache["all"]},
        ax,
        boundaries=cache["ends"][:-1].tolist(),
        phases=NAMES,
        xlabel="step (thin lines: the other classes)",
        ylabel="cosine with what learning 9\nchanged in another model",
        ylim=(low - 0.08, high + 0.08),
    )
    return {"": fig}
