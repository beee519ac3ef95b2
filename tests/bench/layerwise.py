"""Layer by layer beside sampled and exact similarities: over depth, width, residual scale, training, and attention.

Usage: python tests/bench/layerwise.py [--draw]

Measured into docs/layerwise.json; the table goes into docs/sampled.md, the picture into docs/pictures/layerwise.png.
``--draw`` only draws.
"""

import json
import sys
import warnings
from contextlib import suppress
from functools import cache

import matplotlib.pyplot as plt
import torch
from errors import attention, drawn, trained
from harness import ROOT, written

import tnsim
from tnsim.view.style import MUTED, PALETTE, RULE, SIZES, styled

NUMBERS, PICTURE = ROOT / "docs" / "layerwise.json", ROOT / "docs" / "pictures" / "layerwise.png"
PAGE = ROOT / "docs" / "sampled.md"
MARKS = ("<!-- layerwise -->", "<!-- /layerwise -->")
ERROR, EXACT = 0.003, 3e11


@cache
def digits(depth=3, width=16, steps=300):
    return tuple(trained(depth, width, False, steps, seed) for seed in (0, 1))


def scaled(scale):
    """Random residual models x + scale · g(x) of three layers; the second shares half of the first's weights."""
    nets = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = tnsim.nn.BilinearMLP(16, 16, 16, 10, 3, residual="add", scale=scale)
        nets.append(tnsim.convert(model.requires_grad_(False).double()))
    a, b = nets
    layers = tuple((name, f * 0.5 + a[name] * 0.5) for name, f in b.layers)
    return a, tnsim.Network(layers, b.in_shape)


def transformers(layers, gain):
    return tuple(attention(layers, gain, seed) for seed in (0, 1))


PANELS = {
    "trained on digits: layers": [(n, lambda n=n: digits(depth=n)) for n in (1, 2, 3, 4, 5)],
    "trained on digits: width": [(n, lambda n=n: digits(width=n)) for n in (8, 16, 32, 64)],
    "trained on digits: steps": [(n, lambda n=n: digits(steps=n)) for n in (1, 30, 100, 300, 1000)],
    "random, three layers: residual scale": [(s, lambda s=s: scaled(s)) for s in (0.1, 0.3, 1.0, 3.0, 10.0)],
    "two attention layers: gain of the embedding": [
        (g, lambda g=g: transformers(2, g)) for g in (0.5, 0.75, 1.0, 3.0, 10.0)
    ],
    "attention, gain 0.75: layers": [(n, lambda n=n: transformers(n, 0.75)) for n in (1, 2, 3)],
}


def one(x, a, b):
    """Three answers to one question, as far as there are any."""
    row = {"x": x, "layer by layer": tnsim.similarity(a, b, method="layerwise", budget=1e15).item()}
    with suppress(tnsim.CostError):
        row["exact"] = tnsim.similarity(a, b, budget=EXACT, progress=False).item()
    try:
        found = drawn(a, b, None, ERROR, 0)
        row |= {"sampled": float(found), "error": float(found.error), "draws": found.samples}
    except tnsim.SamplingError as refusal:
        row["refused"] = str(refusal)
    return row


def measured():
    found = {}
    for name, cases in PANELS.items():
        for x, make in cases:
            found.setdefault(name, []).append(row := one(x, *make()))
            print(name, row, file=sys.stderr, flush=True)
    NUMBERS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def table(found):
    head = ("models", "", "exact", "sampled", "layer by layer", "off by")
    rows = [head, ("---",) * len(head)]
    for name, lines in found.items():
        for k, row in enumerate(lines):
            exact = f"{row['exact']:.4f}" if "exact" in row else "–"
            sampled = f"{row['sampled']:.4f} ± {row['error']:.4f}" if "sampled" in row else "refused"
            truth = row.get("exact", row.get("sampled"))
            off = "" if truth is None else f"{abs(row['layer by layer'] - truth):.3f}"
            rows.append(
                (name if not k else "", f"{row['x']:g}", exact, sampled, f"{row['layer by layer']:.4f}", off)
            )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


@styled
def picture(found):
    fig, axes = plt.subplots(2, 3, figsize=(7.4, 5.0), layout="constrained", sharey=True)
    for ax, (name, rows) in zip(axes.flat, found.items(), strict=True):
        panel(ax, rows)
        title, axis = name.split(": ")
        ax.set(title=title, xlabel=axis, ylim=(-0.15, 0.65))
        ax.grid(axis="y", color=RULE, linewidth=0.5)
    for ax in axes[:, 0]:
        ax.set_ylabel("similarity")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncol=3, fontsize=SIZES["tick"], labelcolor=MUTED)
    fig.savefig(PICTURE, dpi=100)


def panel(ax, rows):
    where = range(len(rows))
    line, dots, truth = PALETTE[:3]
    ax.plot(
        where, [row["layer by layer"] for row in rows], "-", color=line, linewidth=1.4, label="layer by layer"
    )
    some = [k for k in where if "sampled" in rows[k]]
    values, errors = [rows[k]["sampled"] for k in some], [2 * rows[k]["error"] for k in some]
    ax.errorbar(some, values, errors, fmt="o", color=dots, markersize=4.5, capsize=3, label="sampled")
    some = [k for k in where if "exact" in rows[k]]
    ax.plot(some, [rows[k]["exact"] for k in some], "x", color=truth, markersize=8, label="exact")
    ax.set_xticks(where, [f"{row['x']:g}" for row in rows])


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    if "--draw" not in sys.argv:
        measured()
    found = json.loads(NUMBERS.read_text("utf-8"))
    if PAGE.exists():
        PAGE.write_text(written(PAGE.read_text("utf-8"), table(found), MARKS), "utf-8")
    picture(found)
