"""Two classifiers that share no weights, compared as functions.

Usage: python examples/01_first_similarity.py [folder for the picture]
"""

import sys
import tempfile
from pathlib import Path

OUT = Path(sys.argv[1] if len(sys.argv) == 2 and sys.argv[1][0] != "-" else tempfile.mkdtemp())

# %% Train the same small model twice, from two seeds, and keep a checkpoint every 50 steps.
import torch

import tnsim

data, models = tnsim.lab.load_digits(), []
for seed in (0, 1):
    torch.manual_seed(seed)
    model = tnsim.nn.BilinearClassifier(64, 32, 10)
    run = tnsim.lab.train(model, data, steps=600, every=50, seed=seed, progress=False)
    models += run.models(lambda: tnsim.nn.BilinearClassifier(64, 32, 10))
gram = tnsim.gram(models, labels=run.steps * 2)
fig, ax = tnsim.heatmap(gram, boundaries=[13], phases=["seed 0", "seed 1"], axis_label="step")

# %% Raw weights say that the two have nothing in common; as functions they are close.
first, second = models[12], models[25]
print(f"cosine of the weights   {tnsim.weight_cosine(first, second):+.3f}")
print(f"tensor similarity       {tnsim.similarity(first, second):+.3f}")

# %% "As functions" needs a law of the input. The default is x ~ N(0, I); here are three others.
x = data.x_train.double()
laws = {
    "x ~ N(0, I)": tnsim.Gaussian(),
    "x ~ N(mean, cov) of the digits": tnsim.Gaussian(mean=x.mean(0), cov=torch.cov(x.T)),
    "the digits themselves": tnsim.Empirical(x),
    "symmetrised tensors, no law": tnsim.Symmetric(),
}
for name, law in laws.items():
    print(f"{name:<32}{tnsim.similarity(first, second, under=law):+.3f}")

# %% The picture.
OUT.mkdir(parents=True, exist_ok=True)
fig.savefig(OUT / "first-similarity.png", dpi=110, bbox_inches="tight")
print(f"picture in {OUT}")
