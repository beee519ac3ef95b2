"""One class is relabelled half-way through a run: its slices say when, and which.

A classifier of digits is trained; then every seven is called a one, and training goes on. The similarity of two
checkpoints is computed from their weights, for every output apart; of the images only mean and covariance are used.

Usage: python examples/11_one_class_relabelled.py [folder for the picture].
"""

import sys
import tempfile
from pathlib import Path

OUT = Path(sys.argv[1] if len(sys.argv) == 2 and sys.argv[1][0] != "-" else tempfile.mkdtemp())

# %% A run of twenty checkpoints, with an accident in the middle.
import torch

import tnsim

torch.manual_seed(0)
data = tnsim.lab.load_digits()
model = tnsim.nn.BilinearClassifier(64, 32, 10)
first = tnsim.lab.train(model, data, steps=400, every=40, lr=3e-3, progress=False)
data.y_train[data.y_train == 7] = 1  # an accident: every seven is called a one
second = tnsim.lab.train(model, data, steps=200, every=20, progress=False)
models = [*tnsim.checkpoints(first, model)[1:], *tnsim.checkpoints(second, model)[1:]]

# %% All checkpoints against all, class by class; and what changed between the two in the middle.
gram = tnsim.gram(models, under=tnsim.Gaussian.of(data.x_train))
phases = tnsim.segment(gram, 2)
classes = [f"class {k}" for k in range(10)]
fig, axes = tnsim.heatmaps(gram, classes, boundaries=phases.boundaries)
before, after = models[phases.boundaries[0] - 1], models[phases.boundaries[0]]
changed = tnsim.attribute(before, after, to="outputs", under=gram.under)
print(phases, "changed most:", [output for output, _ in changed.top(2)])

# %% The picture.
OUT.mkdir(parents=True, exist_ok=True)
fig.savefig(OUT / "class-slices.png", dpi=110)
print(f"picture in {OUT}")
