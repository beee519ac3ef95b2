"""From a folder of checkpoints to what changed: a loop that knows nothing of tnsim, and then its files.

Half-way through, every seven is called a one. The loss falls all the same; class by class the matrix shows it.

Usage: python examples/10_a_folder_of_checkpoints.py [folder for the pictures]; SMALL=1 in the environment: a short run.
"""

import os
import sys
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import tnsim

OUT = Path(sys.argv[1] if len(sys.argv) == 2 and sys.argv[1][0] != "-" else tempfile.mkdtemp())
STEPS = 200 if "SMALL" in os.environ else 1000
CKPTS = Path(tempfile.mkdtemp())


# %% The loop: plain torch, with whatever it keeps beside the weights.
class MyModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(64, 24), nn.Linear(64, 24), nn.Linear(24, 10)

    def forward(self, x):
        return self.head(self.left(x) * self.right(x))


torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
model = nn.DataParallel(MyModel())
optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
for step in range(1, STEPS + 1):
    if step == STEPS // 2 + 1:
        y[y == 7] = 1  # from here on every seven is called a one
    loss = nn.functional.cross_entropy(model(x), y)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    if step % (STEPS // 10) == 0:
        torch.save({"net": model.state_dict(), "optimiser": optimiser.state_dict()}, CKPTS / f"{step}.pt")

# %% The folder is a run: in order, read one at a time; what was taken off the names is said.
run = tnsim.checkpoints(CKPTS, make=MyModel)
gram = tnsim.gram(run, under=tnsim.Gaussian.of(x), progress=False)
phases = tnsim.segment(gram, 2)
print(run)
print(phases)

# %% What changed from the first phase to the second: which outputs, and not through few inputs.
before, after = run[phases.boundaries[0] - 1], run[phases.boundaries[0]]
shares = tnsim.attribute(before, after, to="outputs", under=gram.under)
found = tnsim.localise(before, after, history=run[: phases.boundaries[0] - 1], under=gram.under)
print(shares)
print(found)

# %% Is that much? Beside the same weights in random order.
by_chance = tnsim.null(before, kind="shuffle", under=gram.under, draws=4, progress=False)
print(by_chance)

# %% The pictures.
OUT.mkdir(parents=True, exist_ok=True)
style = dict(boundaries=phases.boundaries, axis_label="step")
style["title"] = "similarity of all checkpoints, class by class"
fig, axes = tnsim.heatmaps(gram, [f"class {k}" for k in range(10)], **style)
fig.savefig(OUT / "class-by-class.png", dpi=110)
fig, ax = shares.plot(title="what changed, by output")
fig.savefig(OUT / "by-output.png", dpi=110)
print(f"pictures in {OUT}")
