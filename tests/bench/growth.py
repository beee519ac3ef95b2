"""How seconds grow with the size of models: measured into docs/growth.json, drawn into docs/pictures/growth.png.

Usage: python tests/bench/growth.py [--draw]

A size is measured where its price says at most some seconds; beyond, the price itself is drawn. ``--draw`` only draws.
"""

import json
import statistics
import sys
from time import perf_counter

import matplotlib.pyplot as plt
import torch
from byhand import net
from harness import ROOT, machine
from sequences import transformer

import tnsim
from tnsim.view.style import MARK, MUTED, PALETTE, RULE, SIZES, styled

NUMBERS, PICTURE = ROOT / "docs" / "growth.json", ROOT / "docs" / "pictures" / "growth.png"
PATIENCE, TURNS = 12.0, 3  # seconds that a size may take to be measured, and how often it is


def layered(depth, width):
    return [net([width] * (depth + 1), width, seed, residual=0.5) for seed in (0, 1)]


def attention(width, n_ctx):
    return [transformer(seed, width=width, n_ctx=n_ctx, hidden=2 * width) for seed in (0, 1)]


LAYERWISE = dict(method="layerwise")
PANELS = {
    "positions": (
        "layer by layer: positions",
        {
            f"attention and MLP, width {d}": [
                (n, lambda d=d, n=n: attention(d, n), LAYERWISE) for n in (4, 8, 16, 32, 64)
            ]
            for d in (16, 64)
        },
    ),
    "width": (
        "layer by layer: width",
        {
            "attention and MLP, 4 positions": [
                (d, lambda d=d: attention(d, 4), LAYERWISE) for d in (16, 32, 64, 128, 256)
            ],
            "three layers, no attention": [
                (d, lambda d=d: layered(3, d), LAYERWISE) for d in (16, 32, 64, 128, 256)
            ],
        },
    ),
    "exact": (
        "exact: width",
        {
            f"{name} residual layers": [(d, lambda d=d, k=k: layered(k, d), {}) for d in widths]
            for name, k, widths in (
                ("two", 2, (8, 16, 32, 64, 128, 256)),
                ("three", 3, (4, 8, 12, 16, 24, 32)),
            )
        },
    ),
    "depth": (
        "exact: layers",
        {
            f"width {d}": [(k, lambda d=d, k=k: layered(k, d), {}) for k in (1, 2, 3, 4, 5)]
            for d in (2, 4, 8, 16)
        },
    ),
}


def measured():
    found = {"machine": machine(), "panels": {}}
    for name, (_, lines) in PANELS.items():
        for line, sizes in lines.items():
            rows = found["panels"].setdefault(name, {}).setdefault(line, [])
            for size, make, how in sizes:
                rows.append(row := one(size, *make(), how))
                print(name, line, row, file=sys.stderr)
                if row["at_least"]:
                    break
    NUMBERS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def one(size, a, b, how):
    cost = tnsim.cost(a, b, **how)
    row = dict(size=size, flops=cost.flops, told=cost.seconds, at_least=cost.at_least)
    row["refused"] = cost.at_least or cost.flops > 1e12 or cost.bytes > 4 * 2**30
    if not cost.at_least and cost.seconds < PATIENCE:
        limits = dict(budget=1e16, memory=2.0**33)
        tnsim.similarity(a, b, **limits, **how)
        times = []
        for _ in range(TURNS if cost.seconds < 1 else 1):
            start = perf_counter()
            tnsim.similarity(a, b, **limits, **how)
            times.append(perf_counter() - start)
        row["seconds"] = statistics.median(times)
    return row


@styled
def drawn():
    found = json.loads(NUMBERS.read_text("utf-8"))["panels"]
    fig, axes = plt.subplots(2, 2, figsize=(7.2, 6.4), layout="constrained")
    for ax, (name, (title, _)) in zip(axes.flat, PANELS.items(), strict=True):
        for colour, (line, rows) in zip(PALETTE, found[name].items(), strict=False):
            panel(ax, line, rows, colour)
        ax.set(title=title, yscale="log", ylabel="seconds", xlabel=title.split(": ")[1])
        if name != "depth":
            ax.set_xscale("log", base=2)
        sizes = sorted({row["size"] for rows in found[name].values() for row in rows})
        sizes = [n for n in sizes if name == "depth" or n & (n - 1) == 0]
        ax.set_xticks(sizes, [str(n) for n in sizes])
        ax.minorticks_off()
        ax.grid(color=RULE, linewidth=0.5)
        ax.legend(
            loc="lower right" if name == "depth" else "best",
            fontsize=SIZES["small"],
            labelcolor=MUTED,
            handlelength=1.2,
        )
    legend = "filled: measured   hollow: the price   ×: beyond the default budget (at the top: far beyond)"
    fig.supxlabel(legend, fontsize=SIZES["small"], color=MUTED)
    fig.savefig(PICTURE, dpi=100)


def panel(ax, line, rows, colour):
    told = [row for row in rows if not row["at_least"]]
    for row in rows[len(told) :]:  # of which only a lower bound is known
        ax.plot(
            row["size"],
            1.0,
            "x",
            color=colour,
            markersize=9,
            transform=ax.get_xaxis_transform(),
            clip_on=False,
        )
    values = [row.get("seconds", row["told"]) for row in told]
    ax.plot([row["size"] for row in told], values, color=colour, label=line, linewidth=1.4)
    for row, y in zip(told, values, strict=True):
        face = colour if "seconds" in row else "white"
        ax.plot(row["size"], y, "o", color=colour, markerfacecolor=face, markersize=5)
        if row["refused"]:
            ax.plot(row["size"], y, "x", color=MARK, markersize=9)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    if "--draw" not in sys.argv:
        measured()
    drawn()
