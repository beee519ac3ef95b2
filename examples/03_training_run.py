"""A training run as a geometry: checkpoints, their Gram matrix, and what forgetting looks like in it.

The model first learns the digits 0–4, then 5–9 alone, then all ten.

Usage: python examples/03_training_run.py [folder for the pictures]; with SMALL=1 in the environment, a short run.
"""

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

import tnsim

OUT = Path(sys.argv[1] if len(sys.argv) == 2 and sys.argv[1][0] != "-" else tempfile.mkdtemp())
STEPS = 60 if "SMALL" in os.environ else 500
EVERY = STEPS // 10

# %% Three stages. lab.train trains in place and returns a Run; its checkpoints come back as modules.
data = tnsim.lab.load_digits()


def make():
    return tnsim.nn.BilinearClassifier(64, 32, 10)


def only(digits):
    train, test = (torch.isin(y, torch.tensor(digits)) for y in (data.y_train, data.y_test))
    return replace(
        data,
        x_train=data.x_train[train],
        y_train=data.y_train[train],
        x_test=data.x_test[test],
        y_test=data.y_test[test],
    )


stages = {"0–4": range(5), "5–9": range(5, 10), "all": range(10)}
torch.manual_seed(0)
model = make()
models, steps, accuracy, boundaries = [], [], [], []
for digits in stages.values():
    run = tnsim.lab.train(
        model,
        only(list(digits)),
        STEPS,
        every=EVERY,
        noise=0.1,
        progress=False,
        metrics=lambda m: {"all_digits": tnsim.lab.accuracy(m, data.x_test, data.y_test)},
    )
    first = 1 if models else 0  # step 0 of a later stage is the end of the one before
    before = steps[-1] if steps else 0
    models += run.models(make)[first:]
    steps += [before + step for step in run.steps[first:]]
    accuracy += run.curve("all_digits")[first:]
    boundaries.append(len(models))
boundaries.pop()
print(f"{len(models)} checkpoints; accuracy on all digits at the end of each stage:", end=" ")
print(", ".join(f"{accuracy[k]:.0%}" for k in (*[b - 1 for b in boundaries], -1)))

# %% All pairs at once: the checkpoints are stacked on one index and contracted together.
gram = tnsim.gram(models, labels=steps, progress=False)
print(gram)

matrices = torch.stack([gram.similarity(), *(gram.similarity(output=k) for k in (2, 7))])
titles = ["all outputs", "output 2", "output 7"]
style = dict(labels=steps, boundaries=boundaries, phases=list(stages), axis_label="step", vmin=0)
fig, axes = tnsim.heatmaps(matrices, titles, **style)

# %% A row of the matrix is a curve: how far the run has come from the end of the first stage.
end = boundaries[0] - 1
slices = gram.slices()
fig_curves, _ = tnsim.curves(
    steps,
    {
        "accuracy, all digits": accuracy,
        "similarity, outputs 0–4": slices[:5, end].mean(0),
        "similarity, outputs 5–9": slices[5:, end].mean(0),
    },
    boundaries=[steps[b - 1] for b in boundaries],
    phases=list(stages),
    ylim=(-0.05, 1.05),
    ylabel=f"accuracy, or similarity to step {steps[end]}",
)

# %% The pictures.
OUT.mkdir(parents=True, exist_ok=True)
fig.savefig(OUT / "training-run.png", dpi=110, bbox_inches="tight")
fig_curves.savefig(OUT / "training-run-curves.png", dpi=110, bbox_inches="tight")
print(f"pictures in {OUT}")
