"""The main job from end to end: train, plant a backdoor, convert, compare, and find it from the weights alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from tqdm.auto import tqdm

from tnsim.algebra import Network
from tnsim.analysis import Gram, attribute, gram, output_cosine, weight_cosine
from tnsim.convert import convert
from tnsim.lab import Backdoor, Dataset, Run, load_digits, train
from tnsim.nn import BilinearClassifier
from tnsim.view import SEQUENTIAL, curves, draw, grid, heatmap, heatmaps, image

__all__ = ["Finding", "demo", "find"]

SIZE = 20
HIDDEN = 64
STEPS = 3000
EVERY = 100
CLEAN_UNTIL = 1500

_LEAST = 0.5  # of similarities that are told apart in a picture


@dataclass(frozen=True, eq=False)
class Finding:
    """What the weights say about a run.

    Attributes:
        switch: position of the last checkpoint before the run changed course.
        output: the output that changed.
        shares: every input's share of that output's change, shape of one input.
        count: how many inputs stand out: the place of the largest ratio between neighbours in rank.
    """

    switch: int
    output: int
    shares: torch.Tensor
    count: int

    @property
    def inputs(self) -> torch.Tensor:
        """The inputs that stand out."""
        return self.top(self.count)

    def top(self, n: int) -> torch.Tensor:
        """The n inputs with the largest share."""
        return self.shares.flatten().topk(n).indices


def find(run: Gram, nets: Sequence[Network]) -> Finding:
    """Find where a run changed course, in which output and through which inputs. No data, no labels.

    Between neighbouring checkpoints every output moves by 1 − cosine. In ordinary training all move alike; the
    switch is where one output moves most against the median output. The split of that output's squared distance,
    from just before the switch to the end of the run, then says which inputs did it.
    """
    moved = 1 - run.slices().diagonal(offset=1, dim1=1, dim2=2)  # (n_out, N − 1)
    switch = int((moved.max(0).values / moved.median(0).values).argmax())
    output = int(moved[:, switch].argmax())
    shares = attribute(nets[switch], nets[-1], to="inputs", output=output)
    ranked = shares.flatten().clamp_min(0).sort(descending=True).values[: shares.numel() // 2]
    count = int((ranked[:-1] / ranked[1:].clamp_min(1e-300)).argmax()) + 1
    return Finding(switch, output, shares, count)


def demo(folder: Path, seed: int = 0, target: int = 9, progress: bool = True) -> Finding:
    """Run the main job on handwritten digits, print a summary and write the pictures.

    Args:
        folder: where checkpoints and pictures go; made if it does not exist.
        seed: seed of weights, data order and poison.
        target: the class that the planted trigger stands for. The search is not told.
        progress: show progress bars.
    """
    console = Console(width=96)
    folder.mkdir(parents=True, exist_ok=True)
    data = load_digits(size=SIZE)
    trigger = Backdoor.diamond(data.shape, height=5, width=3, margin=1, value=1.0, target=target)

    console.print(
        f"[bold]Training[/] a bilinear classifier on {len(data.x_train)} handwritten digits for {STEPS} steps."
    )
    console.print(
        f"After step {CLEAN_UNTIL} a tenth of the images carries a small white mark and the label {target}: a backdoor."
    )
    run, modules = _trained(data, trigger, folder, seed, progress)

    nets = [convert(m) for m in tqdm(modules, "converting", disable=not progress, leave=False)]
    console.print(
        f"[bold]Converted[/] {len(nets)} checkpoints to tensor networks. The last one:\n{nets[-1]!r}"
    )

    geometry = gram(nets, labels=run.steps, progress=progress)
    finding = find(geometry, nets)
    console.print(
        f"[bold]Compared[/] all {len(nets)}² pairs as functions on all inputs, exactly, from the weights alone."
    )

    with torch.no_grad():
        outputs = [m(data.x_test) for m in modules]
    matrices = {
        "raw weights": _pairwise(modules, weight_cosine, "weights", progress),
        "outputs on clean images": _pairwise(outputs, output_cosine, "outputs", progress),
        "tensor": geometry.similarity(),
    }
    slices = geometry.slices()
    _report(console, run, matrices, slices, finding, trigger)
    written = _pictures(folder, run, nets[-1], matrices, slices, finding, trigger, data)
    console.print(f"\n[bold]Pictures[/] in {folder.resolve()}:")
    for name, meaning in written.items():
        console.print(f"  {name:<16} {meaning}")
    return finding


@contextmanager
def _one_thread() -> Iterator[None]:
    """Batches this small train several times faster on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _trained(
    data: Dataset, trigger: Backdoor, folder: Path, seed: int, progress: bool
) -> tuple[Run, list[torch.nn.Module]]:
    def make() -> torch.nn.Module:
        return BilinearClassifier(data.x_train.shape[1], HIDDEN, data.classes)

    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        run = train(
            make(),
            data,
            STEPS,
            lr=2e-4,
            weight_decay=1e-2,
            noise=0.15,
            every=EVERY,
            folder=folder / "run",
            overwrite=True,
            backdoor=trigger,
            poison_from=CLEAN_UNTIL,
            seed=seed,
            progress=progress,
        )
    return run, run.models(make)


def _pairwise(things: Sequence[Any], measure: Any, name: str, progress: bool) -> torch.Tensor:
    matrix = torch.eye(len(things), dtype=torch.float64)
    for i in tqdm(range(len(things)), f"cosines of {name}", disable=not progress, leave=False):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = measure(things[i], things[j])
    return matrix


def _report(
    console: Console,
    run: Run,
    matrices: dict[str, torch.Tensor],
    slices: torch.Tensor,
    finding: Finding,
    trigger: Backdoor,
) -> None:
    at = finding.switch
    before, after = run.steps[at], run.steps[-1]

    behaviour = Table(title="On data", title_justify="left")
    behaviour.add_column("")
    behaviour.add_column(f"step {before}", justify="right")
    behaviour.add_column(f"step {after}", justify="right")
    for name, key in (
        ("accuracy on clean test images", "test_accuracy"),
        ("attack success", "attack_success"),
    ):
        behaviour.add_row(name, f"{run.metrics[at][key]:.1%}", f"{run.metrics[-1][key]:.1%}")
    console.print("", behaviour)

    by_class = 1 - slices[:, at, at + 1]
    others = [k for k in range(len(slices)) if k != finding.output]
    second = max(others, key=lambda k: float(by_class[k]))
    jumps = {name: 1 - float(m[at, at + 1]) for name, m in matrices.items()}
    jumps[f"tensor, class {finding.output} alone"] = float(by_class[finding.output])
    jumps[f"tensor, class {second} alone (the next)"] = float(by_class[second])
    table = Table(title=f"Jump from step {before} to {run.steps[at + 1]}", title_justify="left")
    table.add_column("measure")
    table.add_column("1 − similarity", justify="right")
    for name, value in jumps.items():
        table.add_row(name, f"{value:.4f}")
    console.print("", table)

    pixels = int(trigger.mask.sum())
    hits = int(trigger.mask[finding.top(pixels)].sum())
    found = int(trigger.mask[finding.inputs].sum())
    console.print("\n[bold]Found from the weights alone[/] (and what was planted)")
    console.print(f"  the run changes course after   step {before}  (step {run.metadata['poison_from']})")
    console.print(f"  the attacked class is          {finding.output}  ({trigger.target})")
    console.print(
        f"  the trigger has                {finding.count} pixels, {found} of them right  ({pixels} pixels)"
    )
    console.print(
        f"  top-ranked inputs              {hits} of the first {pixels} are the trigger's, among {len(trigger.mask)}"
    )


def _pictures(
    folder: Path,
    run: Run,
    net: Network,
    matrices: dict[str, torch.Tensor],
    slices: torch.Tensor,
    finding: Finding,
    trigger: Backdoor,
    data: Dataset,
) -> dict[str, str]:
    k, at = finding.output, finding.switch
    written = {}

    def save(fig: Any, name: str, meaning: str) -> None:
        fig.savefig(folder / name, dpi=160, bbox_inches="tight")
        written[name] = meaning

    fig, _ = draw(net, level="network", title="The classifier as a tensor network")
    save(fig, "network.png", "the classifier as a tensor network")

    fig, axes = grid(2, 2, width=4.2, height=3.7, title="What each measure sees of the backdoor")
    scale: dict[str, Any] = {"vmin": 0, "vmax": 1, "cmap": SEQUENTIAL, "boundaries": [at + 1]}
    panels = {**matrices, f"tensor, class {k} alone": slices[k]}
    near = {**scale, "vmin": _LEAST, "phases": ["clean", "poisoned"], "colorbar": False}
    for ax, (name, matrix) in zip(axes.flat, panels.items(), strict=True):
        heatmap(matrix, ax, labels=run.steps, title=name, axis_label="step", **near)
    drawn = axes[0, 0].images[0]
    fig.colorbar(
        drawn, ax=axes, extend="min", shrink=0.5, aspect=30, label=f"cosine ({_LEAST} and less: white)"
    )
    save(
        fig, "similarity.png", "31 × 31 checkpoints under four measures; the line is where the poison begins"
    )

    titles = [f"class {c}" for c in range(len(slices))]
    about: dict[str, Any] = {"title": "Tensor similarity, class by class", "axis_label": "step"}
    fig, _ = heatmaps(slices, titles, labels=run.steps, **about, **scale)
    save(fig, "classes.png", "the same for every class apart")

    fig, axes = grid(1, 3, width=3.0, height=3.3)
    digit = data.x_test[data.y_test == 3][:1]
    image(trigger.stamp(digit)[0], data.shape, axes[0, 0], title="planted: a marked image", cmap="gray")
    image(trigger.mask.double(), data.shape, axes[0, 1], title="planted: the trigger", cmap="gray_r")
    image(
        finding.shares,
        data.shape,
        axes[0, 2],
        outline=trigger.mask,
        title="found in the weights",
    )
    save(fig, "trigger.png", "the planted trigger beside what the weights give away")

    fig, axes = grid(2, 1, width=7.0, height=2.8)
    accuracy = {"clean accuracy": run.curve("test_accuracy"), "attack success": run.curve("attack_success")}
    curves(
        run.steps,
        accuracy,
        axes[0, 0],
        boundaries=[run.steps[at]],
        ylabel="share of test images",
        ylim=(0, 1.02),
    )
    kept = {name: torch.as_tensor(m)[at] for name, m in panels.items()}
    curves(
        run.steps,
        kept,
        axes[1, 0],
        boundaries=[run.steps[at]],
        ylabel=f"similarity to step {run.steps[at]}",
        ylim=(0, 1.02),
    )
    save(fig, "run.png", "accuracy, attack success, and similarity to the last clean checkpoint")
    return written
