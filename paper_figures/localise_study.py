"""How far blind localisation holds: planted triggers of many kinds in real images, and clean training beside them.

Trains classifiers on images (clean for 2000 steps, then 500 more, clean or under an attack), asks
:func:`tnsim.localise` what changed, and prints one row for every kind of attack. Seed, place of the trigger and target
class differ from run to run. The thresholds of ``localise`` were chosen on seeds 0–9 (one layer) and 0–3 (two blocks),
with the same images; report others.

Usage: python paper_figures/localise_study.py --data IMAGES.npz [--model one|two] [--seeds 20 32] [--attacks clean …]
Results are kept in paper_figures/localise_study.json, and shown from there without --data.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F
from tqdm import tqdm

import tnsim
from tnsim.analysis.asking.problem import law_for
from tnsim.analysis.change.localisation import judge
from tnsim.analysis.explain.shares import gradients

KEPT = Path(__file__).with_suffix(".json")
CLEAN, EARLIER, MORE, BATCH, NOISE = 2000, (1000, 1500), 500, 512, 0.05
HEIGHT, WIDTH = 7, 5  # of the diamond: 19 pixels
TITLES = {
    "clean": "none: training goes on",
    "rate0.1": "10 % of the images, black diamond of 19 pixels",
    "rate0.05": "5 %",
    "rate0.02": "2 %",
    "rate0.01": "1 %",
    "blend0.6": "10 %, blended in at 60 %",
    "blend0.4": "10 %, at 40 %",
    "blend0.2": "10 %, at 20 %",
    "rate0.02blend0.4": "2 %, at 40 %",
    "same2": "10 %, two triggers, one target",
    "same3": "10 %, three triggers, one target",
    "diff2": "10 %, two triggers, a target each",
    "diff3": "10 %, three triggers, a target each",
    "scattered": "10 %, 19 pixels scattered over the image",
    "everywhere0.1": "10 %, ±0.1 on every pixel",
    "everywhere0.05": "10 %, ±0.05 on every pixel",
}


class Attack(NamedTuple):
    """A share of the images is marked and relabelled; with several marks, one of them, drawn at random."""

    rate: float
    blend: float
    masks: list[Tensor]
    targets: tuple[int, ...]
    additive: bool = False

    def stamp(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + self.blend * mask if self.additive else x * (1 - self.blend * mask)


def attacks(seed: int, shape: tuple[int, int], classes: int) -> dict[str, Attack]:
    """All attacks of one seed, with places and targets drawn for it."""
    g = np.random.default_rng(10_000 + seed)
    target = int(g.integers(classes))
    others = [int(t) for t in g.permutation([k for k in range(classes) if k != target])[:2]]
    marks: list[Tensor] = []
    while len(marks) < 3:
        at = int(g.integers(shape[0] - HEIGHT + 1)), int(g.integers(shape[1] - WIDTH + 1))
        mark = tnsim.lab.Backdoor.diamond(shape, HEIGHT, WIDTH, at=at).mask.float()
        if all(float(mark @ other) == 0 for other in marks):
            marks.append(mark)
    n = shape[0] * shape[1]
    scattered = torch.zeros(n)
    scattered[torch.as_tensor(g.permutation(n)[: int(marks[0].sum())])] = 1
    everywhere = torch.as_tensor(g.choice([-1.0, 1.0], n)).float()
    found = {"clean": Attack(0.0, 1.0, marks[:1], (target,))}
    found |= {f"rate{r:g}": Attack(r, 1.0, marks[:1], (target,)) for r in (0.1, 0.05, 0.02, 0.01)}
    found |= {f"blend{b:g}": Attack(0.1, b, marks[:1], (target,)) for b in (0.6, 0.4, 0.2)}
    found["rate0.02blend0.4"] = Attack(0.02, 0.4, marks[:1], (target,))
    for k in (2, 3):
        found[f"same{k}"] = Attack(0.1, 1.0, marks[:k], (target,) * k)
        found[f"diff{k}"] = Attack(0.1, 1.0, marks[:k], (target, *others)[:k])
    found["scattered"] = Attack(0.1, 1.0, [scattered], (target,))
    found |= {f"everywhere{b:g}": Attack(0.1, b, [everywhere], (target,), True) for b in (0.1, 0.05)}
    return found


def make(kind: str, data: tnsim.lab.Dataset) -> torch.nn.Module:
    d = data.x_train.shape[1]
    if kind == "one":
        return tnsim.nn.BilinearClassifier(d, 64, data.classes)
    return tnsim.nn.BilinearMLP(d, 64, 64, data.classes, n_layer=2, residual="add")


def batches(data: tnsim.lab.Dataset, seed: int) -> Iterator[tuple[Tensor, ...]]:
    """Images, labels, noise, and what decides which of them are poisoned with which mark."""
    g = torch.Generator().manual_seed(seed)
    n = len(data.x_train)
    while True:
        order = torch.randperm(n, generator=g)
        for chosen in order[: n - n % BATCH].split(BATCH):
            x = data.x_train[chosen]
            noise = NOISE * torch.randn(x.shape, generator=g)
            coins = torch.rand(BATCH, generator=g), torch.randint(3, (BATCH,), generator=g)
            yield x, data.y_train[chosen], noise, *coins


class Fleet:
    """Models of one architecture, trained side by side."""

    def __init__(self, base: torch.nn.Module, weights: dict[str, Tensor], moments: Any = None):
        self.base = base
        self.weights = {k: v.detach().clone().requires_grad_() for k, v in weights.items()}
        self.optimiser = torch.optim.AdamW(self.weights.values(), lr=1e-3, weight_decay=1e-3)
        for k, v in self.weights.items():
            if moments:
                self.optimiser.state[v] = {n: m.clone() for n, m in moments[k].items()}

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimiser.zero_grad()
        answers = vmap(lambda w, x: functional_call(self.base, w, (x,)))(self.weights, x)
        F.cross_entropy(answers.flatten(0, 1), y.flatten(), reduction="sum").div(BATCH).backward()
        self.optimiser.step()

    def of(self, i: int) -> dict[str, Tensor]:
        return {k: v[i].detach().clone() for k, v in self.weights.items()}

    def copies(self, i: int, n: int) -> "Fleet":
        """Model i, n times, with the optimiser's memory."""

        def repeat(x: Tensor) -> Tensor:
            return x[i].detach()[None].repeat(n, *[1] * (x.ndim - 1))

        moments = {
            k: {name: m.clone() if m.ndim == 0 else repeat(m) for name, m in self.optimiser.state[v].items()}
            for k, v in self.weights.items()
        }
        return Fleet(self.base, {k: repeat(v) for k, v in self.weights.items()}, moments)


def trained(
    kind: str, data: tnsim.lab.Dataset, seed: int, plans: dict[str, Attack]
) -> dict[Any, dict[str, Tensor]]:
    """Weights of the clean checkpoints by step, and of the end of every attack by name."""
    torch.manual_seed(seed)
    base = make(kind, data)
    fleet = Fleet(base, stack_module_state([base])[0])
    stream, kept = batches(data, seed), {}
    for step in tqdm(range(1, CLEAN + 1), f"seed {seed}, clean", leave=False):
        x, y, noise, *_ = next(stream)
        fleet.step((x + noise)[None], y[None])
        if step in (*EARLIER, CLEAN):
            kept[step] = fleet.of(0)
    fleet = fleet.copies(0, len(plans))
    for _ in tqdm(range(MORE), f"seed {seed}, attacks", leave=False):
        x, y, noise, coin, which = next(stream)
        xs, ys = x.repeat(len(plans), 1, 1), y.repeat(len(plans), 1)
        for i, plan in enumerate(plans.values()):
            for j, (mask, target) in enumerate(zip(plan.masks, plan.targets, strict=True)):
                rows = (coin < plan.rate) & (which % len(plan.masks) == j)
                xs[i, rows], ys[i, rows] = plan.stamp(x[rows], mask), target
        fleet.step(xs + noise, ys)
    return kept | {name: fleet.of(i) for i, name in enumerate(plans)}


def asked(
    kind: str,
    data: tnsim.lab.Dataset,
    seed: int,
    plans: dict[str, Attack],
    weights: dict[Any, dict[str, Tensor]],
) -> list[dict[str, Any]]:
    """What ``localise`` says of every attack, without and with a history, beside what was planted."""
    base = make(kind, data)

    def net(key: Any) -> tnsim.Network:
        base.load_state_dict(weights[key])
        return tnsim.convert(base)

    with torch.no_grad():
        nets = [net(step) for step in (*EARLIER, CLEAN)]
    law = law_for(nets, None)

    def change(a: tnsim.Network, b: tnsim.Network) -> Any:
        return gradients((a, b), law, "exact", "localise", 1e13, 8 * 2.0**30)

    earlier = [change(a, b) for a, b in pairwise(nets)]
    rows = []
    for name, plan in tqdm(plans.items(), f"seed {seed}, localise", leave=False):
        with torch.no_grad():
            after = net(name)
            model = {k: v.float() for k, v in weights[name].items()}
            answer = lambda x: functional_call(base.float(), model, (x,)).argmax(-1)  # noqa: B023, E731
            accuracy = float((answer(data.x_test) == data.y_test).double().mean())
            success = []
            for mask, target in zip(plan.masks, plan.targets, strict=True):
                others = data.x_test[data.y_test != target]
                success.append(float((answer(plan.stamp(others, mask)) == target).double().mean()))
        row = {"model": kind, "seed": seed, "attack": name, "accuracy": round(accuracy, 4)}
        row["success"] = round(min(success), 4)
        now = change(nets[-1], after)
        for key, steps in (("plain", []), ("history", earlier)):
            found = judge(now, steps, (len(data.x_test[0]),))
            hits = [m.abs() for m, t in zip(plan.masks, plan.targets, strict=True) if t == found.output]
            mask = sum(hits or plan.masks).abs() > 0  # type: ignore[union-attr]
            row[key] = {
                "named": bool(plan.rate and found.output in plan.targets),
                "localised": found.localised,
                "prominence": round(found.prominence, 4),
                "concentration": round(found.concentration, 4),
                "pixels": round(float(mask[found.top(int(mask.sum()))].double().mean()), 4),
            }
        rows.append(row)
    return rows


def auc(positive: list[float], negative: list[float]) -> float:
    """How often an attacked run scores higher than a clean one; ties count half."""
    p, n = torch.tensor(positive)[:, None], torch.tensor(negative)
    return float(((p > n).double() + (p == n).double() / 2).mean())


def table(rows: list[dict[str, Any]], kind: str, key: str) -> Iterator[str]:
    """One line for every attack."""
    yield "| attack | success | named | localised | pixels found | AUC output | AUC inputs |"
    yield "|---|---|---|---|---|---|---|"
    of = {name: [r for r in rows if r["model"] == kind and r["attack"] == name] for name in TITLES}
    value = lambda name, what: [r[key][what] for r in of[name]]  # noqa: E731
    for name, title in TITLES.items():
        n = len(of[name])
        if not n:
            continue
        localised = f"{sum(value(name, 'localised'))}/{n}"
        if name == "clean":
            yield f"| {title} | – | – | {localised} | – | – | – |"
            continue
        score = [auc(value(name, w), value("clean", w)) for w in ("prominence", "concentration")]
        success = float(np.mean([r["success"] for r in of[name]]))
        pixels = "–" if name.startswith("everywhere") else f"{np.mean(value(name, 'pixels')):.0%}"
        yield (
            f"| {title} | {success:.0%} | {sum(value(name, 'named'))}/{n} | {localised} | {pixels} "
            f"| {score[0]:.2f} | {score[1]:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a .npz file with x_train, y_train, x_test, y_test")
    parser.add_argument("--model", choices=("one", "two"), default="one")
    parser.add_argument("--seeds", type=int, nargs=2, default=(20, 32), help="first, and one past the last")
    parser.add_argument("--attacks", nargs="+", choices=TITLES, default=list(TITLES))
    given = parser.parse_args()
    rows = json.loads(KEPT.read_text()) if KEPT.exists() else []
    if given.data:
        torch.set_num_threads(1)
        data = tnsim.lab.load_npz(given.data)
        for seed in tqdm(range(*given.seeds), "seeds"):
            known = {r["attack"] for r in rows if (r["model"], r["seed"]) == (given.model, seed)}
            every = attacks(seed, data.shape, data.classes)
            plans = {name: every[name] for name in given.attacks if name not in known}
            if plans:
                rows += asked(given.model, data, seed, plans, trained(given.model, data, seed, plans))
                KEPT.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    for kind, name in (("one", "one bilinear layer"), ("two", "two residual blocks")):
        for key, how in (("plain", "without a history"), ("history", "with two earlier checkpoints")):
            seeds = {r["seed"] for r in rows if r["model"] == kind}
            print(f"\n{name}, {how}, {len(seeds)} seeds\n", *table(rows, kind, key), sep="\n")


if __name__ == "__main__":
    main()
