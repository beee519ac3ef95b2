"""The tangent kernel beside the tensor: what a model is, and how it would change.

Tensor similarity compares two models as they are. The tangent kernel (eNTK) says how a model moves when its weights do;
it is the linearisation of tensor distance at one model. Both come from weights. Where do they agree?

Usage: python examples/07_tangent_kernel.py [folder for the picture]; with SMALL=1 in the environment, a short run.
"""

import os
import sys
import tempfile
from pathlib import Path

import torch

import tnsim

OUT = Path(sys.argv[1] if len(sys.argv) == 2 and sys.argv[1][0] != "-" else tempfile.mkdtemp())
SMALL = "SMALL" in os.environ
HIDDEN, STEPS, EVERY = (2, 20, 10) if SMALL else (8, 600, 100)

# %% One training run, and a second from another seed.
data = tnsim.lab.load_digits()


def make():
    return tnsim.nn.BilinearClassifier(64, HIDDEN, 10)


def trained(seed):
    torch.manual_seed(seed)
    return tnsim.lab.train(
        make(), data, STEPS, every=EVERY, noise=0.1, weight_decay=0.1, seed=seed, progress=False
    )


run = trained(0)
models = run.models(make)
last, other = models[-1], trained(1).models(make)[-1]

# %% Eigenfunctions of the kernel are networks: how much of the trained model lies in the leading ones?
modes = tnsim.entk(last, top=20 if SMALL else 60)
norm = tnsim.inner(last)
shares = torch.stack(
    [tnsim.inner(last, modes.function(i)) ** 2 / modes.values[i] / norm for i in range(len(modes))]
)
count = modes.directions.shape[1]
print(
    f"{len(modes)} of {count} eigenfunctions hold {shares.sum():.0%} of the model, the first {shares[0]:.1%}"
)

# %% Input directions: those the model depends on, beside those the first eigenfunction depends on.
mine, theirs = tnsim.spectrum(last, top=8), tnsim.spectrum(modes.function(0), top=8)
overlap = (mine.readers @ theirs.readers.T).square().sum() / 8
print(f"leading 8 input directions of 64: overlap {overlap:.2f}, by chance {8 / 64:.2f}")

# %% Along training, and between seeds: four measures of one thing.
measures = {
    "tensor similarity": tnsim.similarity,
    "kernel alignment": tnsim.kernel_alignment,
    "weights, aligned": tnsim.aligned_weight_cosine,
    "weights": tnsim.weight_cosine,
}
series = {name: [measure(m, last).item() for m in models] for name, measure in measures.items()}
between = {name: measure(other, last).item() for name, measure in measures.items()}
for name, value in between.items():
    early = ", ".join(f"{v:.3f}" for v in series[name][:3])
    print(f"{name:<18} two seeds {value:5.2f}; steps {run.steps[:3]}: {early}")

# %% The picture.
fig, axes = tnsim.view.grid(1, 3, width=3.9, height=2.9)
shown = {
    name: values for name, values in series.items() if name != "weights, aligned"
}  # here the same as "weights"
colours = dict(zip(measures, tnsim.view.PALETTE, strict=False))
tnsim.curves(run.steps, shown, axes[0, 0], colours=colours, title="to the trained model", ylim=(0, 1))
tnsim.view.scree(
    shares[:30], axes[0, 1], title="the model in its kernel", xlabel="eigenfunction", ylabel="share of E[f²]"
)
shown = dict(title="between two seeds", xlabel="cosine", colours=colours)
tnsim.view.bars(list(between.values()), list(between), axes[0, 2], **shown)
OUT.mkdir(parents=True, exist_ok=True)
fig.savefig(OUT / "tangent-kernel.png", dpi=100, bbox_inches="tight")
print(f"picture in {OUT}")
