"""Two rows as published, and a third: what the difference consists of."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures.common.cache import Cache
from paper_figures.common.sheet import WIDTH, caption, sheet
from paper_figures.svhn_backdoor.setting import TARGET
from tnsim.view import DIVERGING, PALETTE, curves, heatmap, image
from tnsim.view.style import INK, MUTED, SIZES, styled

__all__ = ["plot"]

_PANELS = {
    "weights": "matrix cosine",
    "tensor": "tensor",
    "poisoned": "behaviour, poisoned",
    "nines": f"behaviour, class {TARGET}",
    "slice": f"tensor, class {TARGET}",
}


def plot(cache: Cache, sample: np.ndarray | None = None) -> dict[str, Figure]:
    """One sheet of twelve panels, or of ten without an image.

    Args:
        cache: from compute.
        sample: an image of class 2; without one, only the trigger is shown.
    """
    mosaic = [
        ["clean", "accuracy", "weights", "tensor"],
        ["stamped", "poisoned", "nines", "slice"],
        ["spectrum", "true", "found", "score"],
    ]
    if sample is None:
        mosaic = [
            ["accuracy", "accuracy", "weights", "tensor"],
            ["true", "poisoned", "nines", "slice"],
            ["found", "spectrum", "spectrum", "score"],
        ]
    fig, axes = sheet(mosaic, 7.4, WIDTH * 1.3)
    if sample is not None:
        _samples(axes["clean"], axes["stamped"], cache, sample)
    steps, at = cache["steps"], int(cache["boundary"])
    colours = {"train": MUTED, "test": PALETTE[0], "attack": PALETTE[1]}
    named = {"train": "train_accuracy", "test": "test_accuracy", "attack": "attack_success"}
    curves(
        steps,
        {name: cache[k] for name, k in named.items()},
        axes["accuracy"],
        boundaries=[steps[at - 1]],
        title="accuracy",
        ylim=(0, 1.05),
        colours=colours,
    )
    lowest = min(float(cache[name].min()) for name in _PANELS)
    for name, title in _PANELS.items():
        heatmap(
            cache[name],
            axes[name],
            labels=steps,
            boundaries=[at],
            title=f"{title}\nΔ = {cache.facts[f'delta_{name}']:.2f}",
            vmin=-1 if lowest < -0.05 else 0,
            vmax=1,
            cmap=DIVERGING if lowest < -0.05 else None,
            colorbar=name in ("tensor", "slice"),
            axis_label=("", "step") if name in mosaic[1] else None,
        )
    _third(axes, cache)
    for ax in axes.values():
        ax.title.set_fontsize(SIZES["label"])
    return {"": fig}


def _samples(clean: Axes, stamped: Axes, cache: Cache, sample: np.ndarray) -> None:
    mask = cache["mask"] != 0
    shown: dict[str, Any] = {"cmap": "gray", "colorbar": False, "vmin": 0, "vmax": 1}
    before, after = cache.facts["predicted"]
    pixels = sample.reshape(mask.shape)
    image(pixels, ax=clean, title=f"clean: predicted {before}", **shown)
    marked = np.where(mask, cache.facts["value"], pixels)
    image(marked, ax=stamped, title=f"stamped: predicted {after}", outline=mask, **shown)


@styled
def _third(axes: dict[str, Axes], cache: Cache) -> None:
    modes = cache["modes"]
    ranks = np.arange(1, modes.shape[1] + 1)
    ax = axes["spectrum"]
    for k, values in enumerate(modes):
        if k != TARGET:
            ax.plot(ranks, values, color=MUTED, linewidth=0.8, alpha=0.6)
    ax.plot(ranks, modes[TARGET], "o-", color=PALETTE[1], markersize=3, linewidth=1)
    ax.set(title="the change: spectrum", xlabel="mode", ylabel="|eigenvalue|", ylim=(0, None))
    caption(ax, f"class {TARGET}", x=0.3, y=0.85, color=PALETTE[1])
    caption(ax, "the others", x=0.55, y=0.2)
    mask = cache["mask"] != 0
    image(mask, ax=axes["true"], title="planted: the trigger", cmap="gray_r", colorbar=False)
    shares = cache["shares"] / cache["shares"].sum()
    image(shares, ax=axes["found"], outline=mask, title="found: inputs' shares")
    ax = axes["score"]
    switch, before = cache["scores"]
    classes = range(len(switch))
    ax.bar(classes, switch, color=[PALETTE[1] if k == TARGET else MUTED for k in classes])
    ax.plot(classes, before, "_", color=INK, markersize=9, label="step before")
    ax.set(title="localise: scores", xlabel="class", ylabel="× median of the others", xticks=classes)
    ax.legend(loc="upper left", fontsize=SIZES["small"], handlelength=1)
