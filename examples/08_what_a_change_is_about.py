"""What a change is about: localise it blindly, split it over layers, units and directions, and see the run as a path.

A classifier of digits is trained, then trained on with a backdoor: some images carry a small white mark and a false
label. The same model is also trained on without. Everything below comes from weights; no image is looked at.

Usage: python examples/08_what_a_change_is_about.py [folder for the pictures]; with SMALL=1 in the environment, a short
run.
"""

import os
import sys
import tempfile
from pathlib import Path

import torch

import tnsim

OUT = Path(sys.argv[1] if len(sys.argv) == 2 and sys.argv[1][0] != "-" else tempfile.mkdtemp())
CLEAN, EVERY = (150, 50) if "SMALL" in os.environ else (750, 50)
SIZE = 16
torch.set_num_threads(1)

# %% Two runs that share their first part: one goes on as before, in the other an attack begins.
data = tnsim.lab.load_digits(size=SIZE)
trigger = tnsim.lab.Backdoor.diamond(data.shape, height=4, width=3, margin=0, value=1.0, target=3)


def make():
    return tnsim.nn.BilinearMLP(SIZE**2, 16, 16, 10, n_layer=2, residual="add")


def run(**more):
    torch.manual_seed(1)
    options = dict(noise=0.15, weight_decay=1e-2, every=EVERY, progress=False)
    return tnsim.lab.train(make(), data, CLEAN + 4 * EVERY, **options, **more)


attacked = run(backdoor=trigger, poison_from=CLEAN)
runs = {"attacked": attacked, "continued": run()}
nets = {name: [tnsim.convert(m) for m in r.models(make)] for name, r in runs.items()}
at = attacked.steps.index(CLEAN)
print(f"attack success {attacked.metrics[-1]['attack_success']:.0%}")

# %% Localise: which output changed beyond the ordinary, and through which inputs? Or neither?
found = {
    name: tnsim.localise(n[at], n[-1], history=[n[max(at - 8, 1)], n[max(at - 4, 2)]])
    for name, n in nets.items()
}
for name, verdict in found.items():
    print(f"{name:<10} {verdict}")

fig, axes = tnsim.view.grid(2, 2, width=3.2, height=2.7)
top = float(found["attacked"].inputs.max())
for row, (name, verdict) in zip(axes, found.items(), strict=True):
    tnsim.view.bars(
        verdict.outputs, ax=row[0], mark=verdict.output if verdict.changed else None,
        title=f"{name}: change of every output", xlabel="times the median of the others",
    )  # fmt: skip
    outline = trigger.mask if name == "attacked" else None
    words = "localised" if verdict.localised else "nothing localised"
    tnsim.image(verdict.inputs, data.shape, row[1], vmin=-top, vmax=top, cmap=tnsim.view.DIVERGING,
                outline=outline, title=words)  # fmt: skip

# %% The same change, split: over layers, over the hidden units of a block, over directions of the input.
before, after, k = nets["attacked"][at], nets["attacked"][-1], found["attacked"].output
total = tnsim.attribute(before, after)[k]
layers = tnsim.attribute(before, after, to="layers", output=k) / total
units = tnsim.attribute(before, after, to="hidden", layer="blocks.0", output=k) / total
directions = tnsim.attribute(before, after, to="directions", output=k)
print(
    "layers     " + ", ".join(f"{name} {share:.0%}" for name, share in zip(before.names, layers, strict=True))
)
print(f"units      {units.sum():.0%} of the change needs the products of blocks.0")
print(f"directions the first holds {directions.values[0] / total:.0%} of the change")

split, axes = tnsim.view.grid(1, 3, width=3.1, height=2.9)
tnsim.view.bars(layers, before.names, axes[0, 0], title=f"output {k}: layers", xlabel="share of the change")
tnsim.view.bars(units, ax=axes[0, 1], title="hidden units of blocks.0", xlabel="share of the change")
share = directions.values[0] / total
tnsim.image(directions.patterns[0], data.shape, axes[0, 2], cmap=tnsim.view.DIVERGING, outline=trigger.mask,
            title=f"first direction: {share:.0%}")  # fmt: skip

# %% The run as a path in function space, cut into phases. Nothing says where the attack begins; the last cut finds it.
gram = tnsim.gram(nets["attacked"], labels=attacked.steps, progress=False)
way = tnsim.trajectory(gram)
phases = tnsim.segment(gram, 4)
print(way)
print(phases)
print(tnsim.nearest(nets["continued"][-1], nets["attacked"]))

names = [f"{gram.labels[i]}–{gram.labels[j - 1]}" for i, j in phases.spans]
fig_run, axes = tnsim.view.grid(1, 2, width=4.3, height=3.4)
tnsim.view.path(way.points, axes[0, 0], labels=attacked.steps, boundaries=phases.boundaries, phases=names,
                explained=way.explained)  # fmt: skip
output = tnsim.trajectory(gram, output=k)
tnsim.curves(
    attacked.steps[1:],
    {"all outputs": way.speed, f"output {k}": output.speed},
    axes[0, 1],
    boundaries=[CLEAN],
    phases=["clean", "attack"],
    ylabel="distance per step",
)

# %% The pictures.
OUT.mkdir(parents=True, exist_ok=True)
fig.savefig(OUT / "localised.png", dpi=90, bbox_inches="tight")
split.savefig(OUT / "change-split.png", dpi=90, bbox_inches="tight")
fig_run.savefig(OUT / "run-path.png", dpi=90, bbox_inches="tight")
print(f"pictures in {OUT}")
