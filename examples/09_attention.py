"""Two attention layers: layer by layer beside a sampled check with error bars, at several gains of the embedding.

With one attention layer the layer-by-layer value is exact, and the samples must agree with it. With two it is an
approximation, and the samples say how good it is, where they can: a model of degree 25 has heavy tails, and once single
samples carry the sums, their error bars mean nothing.

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
BATCHES, BATCH = (4, 500) if SMALL else (40, 10_000)
GAINS = (0.5,) if SMALL else (0.5, 0.75, 1.0, 3.0, 10.0)
VOCAB, WIDTH, HEADS, CONTEXT = 4, 4, 2, 2
USELESS = 0.05  # share of a squared norm that a single sample may carry


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


# %% The sampled cosine. Its standard error is that of a ratio of means, from batches (the delta method).
def sampled(a, b, draw):
    """The cosine, its standard error, and the largest share that one sample has in a squared norm."""
    means, largest = [], torch.zeros(3, dtype=torch.float64)
    for _ in range(BATCHES):
        x = draw(BATCH)
        f, g = a(x), b(x)
        each = torch.stack([(f * g).sum((1, 2)), (f * f).sum((1, 2)), (g * g).sum((1, 2))])
        largest = torch.maximum(largest, each.amax(1))
        means.append(each.mean(1))
    means = torch.stack(means)
    ab, aa, bb = means.mean(0)
    value = ab / (aa * bb).sqrt()
    slope = torch.stack([1 / (aa * bb).sqrt(), -value / (2 * aa), -value / (2 * bb)])
    error = ((means - means.mean(0)) @ slope).std() / BATCHES**0.5
    share = (largest / means.sum(0) / BATCH)[1:].max()
    return value.item(), error.item(), share.item()


# %% Three laws of the input, and how to draw from them.
def normal(n):
    return torch.randn(n, CONTEXT, VOCAB, dtype=torch.float64)


def tokens(n):
    return one_hot(torch.multinomial(frequencies, n * CONTEXT, replacement=True).reshape(n, CONTEXT))


def markov(n):
    ids = [torch.multinomial(frequencies, n, replacement=True)]
    for _ in range(CONTEXT - 1):
        ids.append(torch.multinomial(steps[ids[-1]], 1)[:, 0])
    return one_hot(torch.stack(ids, 1))


def one_hot(ids):
    return torch.nn.functional.one_hot(ids, VOCAB).double()


frequencies = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
steps = 0.5 * torch.eye(VOCAB, dtype=torch.float64) + 0.5 * frequencies  # half of the time the token repeats
laws = {
    "N(0, I)": (tnsim.Gaussian(), normal),
    "Tokens": (tnsim.Tokens(frequencies), tokens),
    "MarkovChain": (tnsim.MarkovChain(frequencies, steps), markov),
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
torch.manual_seed(0)
rows = []
print("| law | gain | layers | layer by layer | sampled | one sample's share | exact |")
print("|---|---|---|---|---|---|---|")
for name, (law, draw) in laws.items():
    for gain in GAINS:
        for layers in (1, 2):
            a, b = models(gain, layers)
            value = tnsim.similarity(a, b, under=law, method="layerwise").item()
            exact = value if layers == 1 else enumerated(a, b, name)
            if layers == 1:  # the same number by its other name
                exact = tnsim.similarity(a, b, under=law).item()
                assert abs(exact - value) < 1e-9
            torch.manual_seed(1)
            mean, error, share = sampled(a, b, draw)
            rows.append((name, gain, layers, value, mean, error, share, exact))
            told = f"{mean:.4f} ± {error:.4f}" if share < USELESS else f"useless ({mean:.4f} ± {error:.4f})"
            known = "–" if exact is None else f"{exact:.4f}"
            print(
                f"| {name} | {gain:g} | {layers} | {value:.4f} | {told} | {share:.0e} | {known} |", flush=True
            )

# %% The picture: two layers, against the gain. Samples whose error bars mean nothing are hollow.
fig, axes = tnsim.view.grid(1, 3, width=3.4, height=2.9)
line, dots, truth = tnsim.view.PALETTE[:3]
for ax, name in zip(axes[0], laws, strict=True):
    mine = [row for row in rows if row[0] == name and row[2] == 2]
    where = range(len(mine))
    ax.plot(where, [row[3] for row in mine], color=line, label="layer by layer")
    for k, (_, _, _, _, mean, error, share, _) in enumerate(mine):
        ax.errorbar(k, mean, 2 * error, fmt="o", color=dots, markersize=5, capsize=3,
                    markerfacecolor="white" if share > USELESS else dots)  # fmt: skip
    if mine[0][-1] is not None:
        ax.plot(where, [row[-1] for row in mine], "x", color=truth, markersize=8, label="all sequences")
    ax.set_xticks(where, [f"{row[1]:g}" for row in mine])
    ax.set(title=name, xlabel="gain of the embedding", ylim=(-0.1, 1.05))
    ax.grid(axis="y", linewidth=0.5, alpha=0.5)
axes[0, 0].plot([], [], "o", color=dots, label="sampled, ± 2 standard errors")
axes[0, 0].plot([], [], "o", color=dots, markerfacecolor="white", label="sampled, useless")
axes[0, 0].plot([], [], "x", color=truth, markersize=8, label="all sequences (tokens only)")
axes[0, 0].legend(fontsize=7, frameon=False, loc="upper right")
axes[0, 0].set_ylabel("similarity of two layers")
OUT.mkdir(parents=True, exist_ok=True)
fig.savefig(OUT / "attention.png", dpi=100, bbox_inches="tight")
print(f"picture in {OUT}")
