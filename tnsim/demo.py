"""The main job from end to end: train, plant a backdoor, convert, compare, and find it from the weights alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from tnsim.algebra import Network
from tnsim.analysis import Gram, attribute, gram, output_cosine, weight_cosine
from tnsim.convert import convert
from tnsim.lab import Backdoor, Dataset, Run, load_digits, train
from tnsim.nn import BilinearClassifier
from tnsim.view import curves, draw, heatmap, heatmaps, image

__all__ = ["Finding", "demo", "find", "jumps"]

SIZE = 16
HIDDEN = 32
STEPS = 3000
EVERY = 100
CLEAN_UNTIL = 1500


@dataclass(frozen=True)
class Finding:
    """What the weights say about a run.

    Attributes:
        switch: position of the last checkpoint before the run changed course.
        output: the output that changed.
        shares: every input's share of that output's change, shape of one input.
    """

    switch: int
    output: int
    shares: torch.Tensor

    def top(self, n: int) -> torch.Tensor:
        """The n inputs with the largest share."""
        return self.shares.flatten().topk(n).indices


def find(run: Gram, nets: Sequence[Network]) -> Finding:
    """Find where a run changed course, in which output and through which inputs. No data, no labels.

    Between neighbouring checkpoints every output moves by 1 − cosine. In ordinary training all move alike; the
    switch is where one output moves most against the median of the others. The split of that output's squared
    distance, from just before the switch to the end, then says which inputs did it.
    """
    slices = run.slices().detach()
    moved = 1 - torch.diagonal(slices, offset=1, dim1=1, dim2=2)  # (n_out, N − 1)
    against = moved.max(0).values / moved.median(0).values
    switch = int(against.argmax())
    output = int(moved[:, switch].argmax())
    return Finding(switch, output, attribute(nets[switch], nets[-1], to="inputs", output=output, under=run.under))


def jumps(matrices: dict[str, torch.Tensor], switch: int) -> dict[str, float]:
    """How far every measure falls from the last clean checkpoint to the next one: 1 − similarity."""
    return {name: 1 - float(m[switch, switch + 1]) for name, m in matrices.items()}


def demo(folder: Path, seed: int = 0, target: int = 9, progress: bool = True) -> Finding:
    """Run the main job on handwritten digits, print a summary and write the pictures.

    Args:
        folder: where checkpoints and pictures go; made if it does not exist.
        seed: seed of weights, data order and poison.
        target: the class that the planted trigger stands for. The search is not told.
        progress: show progress bars.
    """
    console = Console()
    folder.mkdir(parents=True, exist_ok=True)
    data = load_digits(size=SIZE)
    trigger = Backdoor.diamond(data.shape, height=5, width=5, margin=2, value=1.0, target=target)

    console.print(f"[bold]1[/] Training a bilinear classifier on {len(data.x_train)} handwritten digits.")
    console.print(f"  After step {CLEAN_UNTIL}, a tenth of the images carries a mark and a false label.")
    run, modules = _trained(data, trigger, folder, seed, progress)

    console.print(f"[bold]2[/] Converting {len(modules)} checkpoints to tensor networks.")
    nets = [convert(m) for m in tqdm(modules, "converting", disable=not progress, leave=False)]

    console.print("[bold]3[/] Comparing all of them as functions on all inputs.")
    geometry = gram(nets, labels=run.steps, progress=progress)
    finding = find(geometry, nets)

    clean = data.x_test
    with torch.no_grad():
        outputs = [m(clean) for m in modules]
    matrices = {
        "raw weights": _pairwise(modules, weight_cosine),
        "outputs on clean images": _pairwise(outputs, output_cosine),
        "tensor": geometry.similarity(),
    }
    slices = geometry.slices()

    console.print("[bold]4[/] Drawing.")
    written = _draw_all(folder, run, nets, matrices, slices, finding, trigger, data)
    _report(console, run, matrices, slices, finding, trigger)
    console.print(f"\nPictures are in [bold]{folder}[/]: {', '.join(path.name for path in written)}")
    return finding


def _trained(
    data: Dataset, trigger: Backdoor, folder: Path, seed: int, progress: bool
) -> tuple[Run, list[torch.nn.Module]]:
    def make() -> torch.nn.Module:
        return BilinearClassifier(data.x_train.shape[1], HIDDEN, data.classes)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
    run = train(
        model,
        data,
        STEPS,
        every=EVERY,
        noise=0.05,
        folder=folder / "run",
        overwrite=True,
        backdoor=trigger,
        poison_from=CLEAN_UNTIL,
        seed=seed,
        progress=progress,
    )
    return run, run.models(make)


def _pairwise(things: Sequence[Any], measure: Any) -> torch.Tensor:
    matrix = torch.eye(len(things), dtype=torch.float64)
    for i, a in enumerate(things):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = measure(a, things[j])
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
    fell = jumps(matrices, at)
    by_class = [1 - float(s[at, at + 1]) for s in slices]
    second = max(v for k, v in enumerate(by_class) if k != finding.output)
    pixels = int(trigger.mask.sum())
    hits = int(trigger.mask[finding.top(pixels)].sum())
    before, after = run.metrics[at], run.metrics[-1]

    behaviour = Table(title="\nWhat the data shows", title_justify="left")
    for column in ("", f"step {run.steps[at]}", f"step {run.steps[-1]}"):
        behaviour.add_column(column, justify="right" if column else "left")
    for name, key in (("accuracy on clean test images", "test_accuracy"), ("attack success", "attack_success")):
        behaviour.add_row(name, f"{before[key]:.1%}", f"{after[key]:.1%}")
    console.print(behaviour)

    table = Table(title="\nWhat each measure shows at the switch", title_justify="left")
    table.add_column("measure")
    table.add_column("1 − similarity", justify="right")
    for name, value in fell.items():
        table.add_row(name, f"{value:.4f}")
    table.add_row(f"tensor, class {finding.output} alone", f"{by_class[finding.output]:.4f}")
    table.add_row("tensor, next class alone", f"{second:.4f}")
    console.print(table)

    told = "true" if finding.output == trigger.target else f"false, it is {trigger.target}"
    console.print("\n[bold]Found from the weights alone[/]")
    console.print(f"  the run changes course after step {run.steps[at]} (true: {run.metadata['poison_from']})")
    console.print(f"  attacked class: [bold]{finding.output}[/] ({told})")
    console.print(f"  trigger: [bold]{hits} of {pixels}[/] pixels among the {pixels} top-ranked inputs of {len(trigger.mask)}")


def _draw_all(
    folder: Path,
    run: Run,
    nets: Sequence[Network],
    matrices: dict[str, torch.Tensor],
    slices: torch.Tensor,
    finding: Finding,
    trigger: Backdoor,
    data: Dataset,
) -> list[Path]:
    written = []

    def save(name: str, fig: Any) -> None:
        written.append(folder / f"{name}.png")
        fig.savefig(written[-1], dpi=160, bbox_inches="tight")

    fig, _ = draw(nets[-1], title="The classifier as a tensor network")
    save("network", fig)
    edge = (finding.switch + 1,)
    panels = [*matrices.values(), slices[finding.output]]
    titles = [*matrices, f"tensor, class {finding.output}"]
    fig, _ = heatmaps(torch.stack([torch.as_tensor(p) for p in panels]), titles, cols=4, labels=run.steps, boundaries=edge)
    save("similarity", fig)
    fig, _ = heatmaps(slices, [f"class {k}" for k in range(len(slices))], labels=run.steps, boundaries=edge)
    save("classes", fig)
    del trigger, data, heatmap, image, curves
    return written
