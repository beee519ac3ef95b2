"""What a model is made of: the directions an output reads, what passes through its bonds, smaller models, and how close.

Classifiers of digits, taken apart from their weights: spectrum, unfolding, decomposition, truncation.

Usage: python examples/06_what_it_is_made_of.py [folder for the pictures]; with SMALL=1 in the environment, short runs.
"""

import os
import sys
import tempfile
from pathlib import Path

import torch

import tnsim

OUT = Path(sys.argv[1] if len(sys.argv) == 2 and sys.argv[1][0] != "-" else tempfile.mkdtemp())
SMALL = "SMALL" in os.environ
OUT.mkdir(parents=True, exist_ok=True)


def save(fig, name):
    fig.savefig(OUT / name, dpi=100, bbox_inches="tight")


# %% Three models: one bilinear layer, two blocks, three blocks.
data = tnsim.lab.load_digits()
x = data.x_train.double()
law = tnsim.Gaussian(cov=x.T @ x / len(x))  # as the pixels vary; the standard normal counts them all alike


def trained(make, steps, **options):
    torch.manual_seed(0)
    run = tnsim.lab.train(make(), data, steps, every=steps, progress=False, **options)
    return tnsim.convert(run.model(run.steps[-1], make))


def accuracy(model):
    return (model(data.x_test.double()).argmax(-1) == data.y_test).double().mean().item()


one = trained(
    lambda: tnsim.nn.BilinearClassifier(64, 32, 10), 60 if SMALL else 600, noise=0.1, weight_decay=0.1
)
two = trained(lambda: tnsim.nn.BilinearMLP(64, 10, 16, 10, n_layer=2), 60 if SMALL else 1000, lr=3e-3)
width = 4 if SMALL else 8
three = trained(
    lambda: tnsim.nn.BilinearMLP(64, width, 2 * width, 10, n_layer=3), 60 if SMALL else 1500, lr=3e-3
)
print(f"accuracy: {accuracy(one):.3f}, {accuracy(two):.3f}, {accuracy(three):.3f}")

# %% Spectrum: output 3 is a sum of squares. These directions raise it, those lower it.
modes = tnsim.spectrum(one, output=3)
print(modes)
up = [i for i in range(len(modes)) if modes.values[i] > 0][:2]
down = [i for i in range(len(modes)) if modes.values[i] < 0][:2]
fig, axes = tnsim.view.grid(1, 5, width=2.1, height=2.5)
tnsim.scree(modes.values[:16], axes[0, 0], title="output 3", ylabel="eigenvalue")
for ax, i in zip(axes[0, 1:], (*up, *down), strict=True):
    tnsim.image(modes.readers[i], (8, 8), ax, title=f"mode {i + 1}: {modes.values[i]:+.2f}")
save(fig, "spectrum.png")

# %% Unfolding: how many modes of each bond a deep model uses.
bonds = {at: tnsim.unfold(two, at, under=law) for at in ("embed", "blocks.0", "out")}
for at, bond in bonds.items():
    print(f"{at:<10} {bond.rank()} modes, effective rank {bond.effective_rank:.1f}")
fig, axes = tnsim.view.grid(1, 2, width=4.0, height=2.8)
shares = {at: bond.values / bond.values[0] for at, bond in bonds.items()}
tnsim.scree(shares, axes[0, 0], log=True, title="across each bond", ylabel="singular value / largest")
each = tnsim.orders(two, under=law, each=True)
by_order = {f"output {k}": each[:, k] / each[:, k].sum() for k in (0, 8)}
tnsim.curves(
    range(5), by_order, axes[0, 1], xlabel="order of interaction", ylabel="share of E[f²]", title="by order"
)
axes[0, 1].set_xticks(range(5))
save(fig, "unfold.png")

# %% Decomposition: one direction for both legs does better than two, number for number.
ranks = (2, 4) if SMALL else (2, 4, 6, 8, 12, 16)
plain = [tnsim.decompose(one, "cp", r, restarts=2, progress=False) for r in ranks]
tied = [tnsim.decompose(one, "symmetric-cp", p.parameters // 74, restarts=1, progress=False) for p in plain]
for p, q in zip(plain, tied, strict=True):
    print(f"{p}, accuracy {accuracy(p.poly):.3f}\n{q}, accuracy {accuracy(q.poly):.3f}")
fig, axes = tnsim.view.grid(1, 2, width=4.0, height=2.8)
sizes = [p.parameters for p in plain]
for ax, what in zip(axes[0], ("error", "similarity"), strict=True):
    series = {"CP": [getattr(p, what) for p in plain], "symmetric CP": [getattr(q, what) for q in tied]}
    tnsim.curves(sizes, series, ax, xlabel="parameters", title=what, ylim=(0, 1))
save(fig, "decompose.png")

# %% Truncation: a model of half the size, its exact similarity, and its accuracy. The law decides what is kept.
total = tnsim.truncate(three, parameters=10**9, under=law, modes="layerwise", progress=False).parameters[1]
points = [round(total * share) for share in ((0.5, 0.8) if SMALL else (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9))]
curves = {}
for name, under in (("as the pixels vary", law), ("standard normal", tnsim.Gaussian())):
    cut = tnsim.truncations(three, points, under=under, modes="layerwise", progress=False)
    curves[name] = cut
    half = cut[0 if SMALL else 2]
    print(f"{name}: {half}, accuracy {accuracy(half.network):.3f} of {accuracy(three):.3f}")
fig, axes = tnsim.view.grid(1, 2, width=4.4, height=2.8)
for ax, title, value in (
    (axes[0, 0], "exact similarity to the original", lambda t: t.similarity),
    (axes[0, 1], f"accuracy (original {accuracy(three):.2f})", lambda t: accuracy(t.network)),
):
    tnsim.curves(
        points, {k: [value(t) for t in v] for k, v in curves.items()}, ax, xlabel="parameters", title=title
    )
save(fig, "truncate.png")
print(f"pictures in {OUT}")
