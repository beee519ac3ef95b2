"""Two attention layers: layer by layer beside a sampled check with error bars, at several gains of the embedding.

With one attention layer the layer-by-layer value is exact, and the samples must agree with it. With two it is an
approximation, and the samples say how good it is. A model of degree 25 has heavy tails: plain samples of the input seldom
fall where its norm comes from, and their error bars mean nothing. `tnsim.draws` makes samples that do, with weights.

Usage: python examples/09_attention.py [folder for the picture]; with SMALL=1 in the environment, a short run.
"""

import os
import sys
import tempfile
from itertools import product
from pathlib import Path

import torch

import tnsim

OUT = Path(sys.argv[1] if len(sys.argv) == 2 and sys.argv[1][0] != "-" else tempfile.mkdtemp())
SMALL = "SMALL" in os.environ
ERROR = 0.02 if SMALL else 0.002
GAINS = (0.5,) if SMALL else (0.5, 0.75, 1.0, 3.0, 10.0)
VOCAB, WIDTH, HEADS, CONTEXT = 4, 4, 2, 2


# %% Two models for every gain: the same embedding but for a little noise, and other random layers.
def models(gain, layers):
    nets = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        blocks = ("attn",) * layers
        model = tnsim.nn.Transformer(VOCAB, WIDTH, HEADS, CONTEXT, blocks, scale=0.5).double()
        noise = torch.randn(VOCAB, WIDTH, dtype=torch.float64)
        torch.manual_seed(100)
        embedding = torch.randn(VOCAB, WIDTH, dtype=torch.float64) + 0.3 * noise
        model.embed.weight.data = gain * embedding / VOCAB**0.5
        ids = torch.zeros(1, CONTEXT, dtype=torch.long)
        nets.append(tnsim.convert(model.requires_grad_(False), ids))
    return nets


# %% The sampled similarity, whatever an exact one would cost. Draws that are their own law are never replaced by it.
def sampled(a, b, law):
    drawn = tnsim.draws(law, [a, b], error=ERROR, progress=False)
    return tnsim.similarity(a, b, under=drawn, error=2 * ERROR)


# %% Three laws of the input.
def one_hot(ids):
    return torch.nn.functional.one_hot(ids, VOCAB).double()


frequencies = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
steps = 0.5 * torch.eye(VOCAB, dtype=torch.float64) + 0.5 * frequencies  # half of the time the token repeats
laws = {
    "N(0, I)": tnsim.Gaussian(),
    "Tokens": tnsim.Tokens(frequencies),
    "MarkovChain": tnsim.MarkovChain(frequencies, steps),
}


# %% So few tokens and positions can be enumerated: under laws of tokens also two layers have an exact value.
def enumerated(a, b, name):
    if name == "N(0, I)":
        return None
    ids = torch.tensor(list(product(range(VOCAB), repeat=CONTEXT)))
    following = frequencies.expand(VOCAB, VOCAB) if name == "Tokens" else steps
    p = frequencies[ids[:, 0]]
    for k in range(1, CONTEXT):
        p = p * following[ids[:, k - 1], ids[:, k]]
    f, g = a(one_hot(ids)), b(one_hot(ids))
    ab, aa, bb = (p @ (u * v).sum((1, 2)) for u, v in ((f, g), (f, f), (g, g)))
    return (ab / (aa * bb).sqrt()).item()


# %% The table.
rows = []
print("| law | gain | layers | layer by layer | sampled | draws | one draw's share | exact |")
print("|---|---|---|---|---|---|---|---|")
for name, law in laws.items():
    for gain in GAINS:
        for layers in (1, 2):
            a, b = models(gain, layers)
            value = tnsim.similarity(a, b, under=law, method="layerwise").item()
            exact = value if layers == 1 else enumerated(a, b, name)
            if layers == 1:  # the same number by its other name
                exact = tnsim.similarity(a, b, under=law).item()
                assert abs(exact - value) < 1e-9
            found = sampled(a, b, law)
            rows.append((name, gain, layers, value, float(found), float(found.error), exact))
            known = "–" if exact is None else f"{exact:.4f}"
            print(
                f"| {name} | {gain:g} | {layers} | {value:.4f} | {float(found):.4f} ± {float(found.error):.4f} "
                f"| {found.samples:,} | {found.largest:.0e} | {known} |",
                flush=True,
            )

# %% The picture: two layers, against the gain.
fig, axes = tnsim.view.grid(1, 3, width=3.4, height=2.9)
line, dots, truth = tnsim.view.PALETTE[:3]
for ax, name in zip(axes[0], laws, strict=True):
    mine = [row for row in rows if row[0] == name and row[2] == 2]
    where = range(len(mine))
    ax.plot(where, [row[3] for row in mine], color=line, label="layer by layer")
    values, errors = ([row[k] for row in mine] for k in (4, 5))
    ax.errorbar(where, values, [2 * e for e in errors], fmt="o", color=dots, markersize=5, capsize=3,
                label="sampled, ± 2 standard errors")  # fmt: skip
    if mine[0][-1] is not None:
        ax.plot(where, [row[-1] for row in mine], "x", color=truth, markersize=8, label="all sequences")
    ax.set_xticks(where, [f"{row[1]:g}" for row in mine])
    ax.set(xlabel="gain of the embedding", ylim=(-0.1, 0.7))
    ax.set_title(name, loc="left", fontsize=11)
    ax.grid(axis="y", linewidth=0.5, alpha=0.5)
axes[0, 2].legend(fontsize=7, frameon=False, loc="lower left")
axes[0, 0].set_ylabel("similarity of two layers")
OUT.mkdir(parents=True, exist_ok=True)
fig.savefig(OUT / "attention.png", dpi=100, bbox_inches="tight")
print(f"picture in {OUT}")
