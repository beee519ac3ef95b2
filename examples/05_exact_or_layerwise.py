"""Exact or layer by layer: how far the approximation is off for two-layer residual models trained on digits.

Usage: python examples/05_exact_or_layerwise.py [folder for the picture]; with SMALL=1 in the environment, a short run.
"""

import os
import sys
import tempfile
from pathlib import Path

import torch

import tnsim

OUT = Path(sys.argv[1] if len(sys.argv) == 2 and sys.argv[1][0] != "-" else tempfile.mkdtemp())
SMALL = "SMALL" in os.environ
STEPS = 100 if SMALL else 600
SAMPLES = 20_000 if SMALL else 1_000_000

# %% Two seeds of embed → block → block → head, every block x + D((Lx)∘(Rx)): a polynomial of degree 4.
data = tnsim.lab.load_digits()


def make():
    return tnsim.nn.BilinearMLP(64, 16, 16, 10, n_layer=2, residual="add")


models = []
for seed in (0, 1):
    torch.manual_seed(seed)
    run = tnsim.lab.train(
        make(), data, STEPS, every=STEPS // 4, lr=3e-3, noise=0.3, seed=seed, progress=False
    )
    models += run.models(make)
a, b = (tnsim.convert(models[k]) for k in (len(run.steps) - 1, -1))
print(f"{a}\n")

# %% The price is known before anything is computed.
for method in ("exact", "layerwise"):
    print(f"{method:<10} {tnsim.cost(a, b, method=method)}")

# %% Sampling is the third opinion: a million standard normal inputs.
sums, left = torch.zeros(3, dtype=torch.float64), SAMPLES
generator = torch.Generator().manual_seed(0)
with torch.no_grad():
    while left > 0:
        x = torch.randn(min(left, 20_000), 64, dtype=torch.float64, generator=generator)
        fa, fb = a(x), b(x)
        sums += torch.stack([(fa * fb).sum(), (fa * fa).sum(), (fb * fb).sum()])
        left -= len(x)
sampled = (sums[0] / (sums[1] * sums[2]).sqrt()).item()

print(f"\n{'':<22}{'exact':>8}{'layerwise':>11}{'sampled':>9}")
exact, layerwise = (tnsim.similarity(a, b, method=m).item() for m in ("exact", "layerwise"))
print(f"{'similarity':<22}{exact:>8.3f}{layerwise:>11.3f}{sampled:>9.3f}")
norms = [tnsim.inner(a, method=m).item() for m in ("exact", "layerwise")]
print(f"{'squared norm of a':<22}{norms[0]:>8.1f}{norms[1]:>11.1f}{sums[1].item() / SAMPLES:>9.1f}")
for k in range(10):
    slices = [tnsim.similarity(a, b, output=k, method=m).item() for m in ("exact", "layerwise")]
    print(f"{f'similarity, output {k}':<22}{slices[0]:>8.3f}{slices[1]:>11.3f}")

# %% With one block the two agree: what the block reads is Gaussian, and the head needs only mean and covariance.
print("\none block:", end=" ")
one = [tnsim.nn.BilinearMLP(64, 16, 16, 10, n_layer=1, residual="add") for _ in range(2)]
print(" and ".join(f"{tnsim.similarity(*one, method=m).item():.12f}" for m in ("exact", "layerwise")))

# %% The picture: all checkpoints of both runs, exact, layer by layer, and the difference.
grams = [tnsim.gram(models, method=m, progress=False).similarity() for m in ("exact", "layerwise")]
fig, axes = tnsim.view.grid(1, 3, width=3.0, height=2.7)
style = dict(labels=run.steps * 2, boundaries=[len(run.steps)], phases=["seed 0", "seed 1"])
style |= dict(axis_label="step", annotate=False)
limits = dict(vmin=0, vmax=1, cmap=tnsim.view.SEQUENTIAL)
tnsim.heatmap(grams[0], axes[0, 0], title="exact", **style, **limits)
tnsim.heatmap(grams[1], axes[0, 1], title="layer by layer", **style, **limits)
tnsim.heatmap(grams[1] - grams[0], axes[0, 2], title="layer by layer − exact", **style)
OUT.mkdir(parents=True, exist_ok=True)
fig.savefig(OUT / "exact-or-layerwise.png", dpi=110, bbox_inches="tight")
print(f"picture in {OUT}")
