"""From "how far apart" to "what changed": the squared distance of two models, split over outputs and inputs.

A classifier is trained on digits, then trained on with the labels 4 and 9 exchanged. The weights alone say which
outputs changed and which pixels did it.

Usage: python examples/04_what_changed.py [folder for the picture]; with SMALL=1 in the environment, a short run.
"""

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

import tnsim

OUT = Path(sys.argv[1] if len(sys.argv) == 2 and sys.argv[1][0] != "-" else tempfile.mkdtemp())
STEPS = 100 if "SMALL" in os.environ else 1000

# %% Before and after.
data = tnsim.lab.load_digits()


def make():
    return tnsim.nn.BilinearClassifier(64, 32, 10)


def exchanged(y):
    return torch.where(y == 4, 9, torch.where(y == 9, 4, y))


torch.manual_seed(0)
model = make()
options = dict(noise=0.1, weight_decay=0.1, progress=False)
clean = tnsim.lab.train(model, data, STEPS, **options)
swapped = replace(data, y_train=exchanged(data.y_train), y_test=exchanged(data.y_test))
later = tnsim.lab.train(model, swapped, STEPS // 5, **options)
before, after = clean.model(clean.steps[-1], make), later.model(later.steps[-1], make)

# %% Which outputs changed? The shares add up to the squared distance of the two functions, exactly.
by_output = tnsim.attribute(before, after, to="outputs")
total = tnsim.inner(before) - 2 * tnsim.inner(before, after) + tnsim.inner(after)
print(f"squared distance {total:.4f}, sum of the shares {by_output.sum():.4f}")
for k, share in enumerate(by_output / total):
    print(f"  output {k}  {share:6.1%}  {'█' * round(100 * share.item())}")

# %% Which inputs did it? One split for output 4, one for output 9. The search saw no image; the comparison below does.
by_input = {k: tnsim.attribute(before, after, to="inputs", output=k) for k in (4, 9)}
fours, nines = (data.x_train[data.y_train == k].mean(0) for k in (4, 9))
apart = (fours - nines).abs().double()
for k, shares in by_input.items():
    r = torch.corrcoef(torch.stack([shares, apart]))[0, 1]
    print(f"shares of output {k} against |mean of the fours − mean of the nines|: correlation {r:.2f}")

# %% The difference is a polynomial too, and can be evaluated: here on the test digits.
difference = tnsim.convert(after).collapse() - tnsim.convert(before).collapse()
moved = difference(data.x_test.double())
means = {k: moved[data.y_test == k, 9].mean() for k in (4, 9)}
print(f"logit 9 moved by {means[4]:+.1f} on fours and by {means[9]:+.1f} on nines")

# %% The picture.
fig, axes = tnsim.view.grid(1, 3, width=2.3, height=2.6)
tnsim.image(apart, data.shape, axes[0, 0], title="|mean four − mean nine|")
for ax, (k, shares) in zip(axes[0, 1:], by_input.items(), strict=True):
    tnsim.image(shares, data.shape, ax, title=f"what changed output {k}")
OUT.mkdir(parents=True, exist_ok=True)
fig.savefig(OUT / "what-changed.png", dpi=110, bbox_inches="tight")
print(f"picture in {OUT}")
