"""Training with checkpoints, and with a backdoor planted on the way."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tnsim.lab.backdoor import Backdoor, attack_success
from tnsim.lab.checkpoints import Run
from tnsim.lab.data import Dataset
from tnsim.lab.evaluate import logits
from tnsim.lab.fit import Stage, fit

__all__ = ["train"]


def train(
    model: nn.Module,
    data: Dataset,
    steps: int,
    *,
    batch: int = 128,
    lr: float = 1e-3,
    weight_decay: float = 1e-3,
    noise: float = 0.0,
    every: int = 100,
    folder: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    backdoor: Backdoor | None = None,
    poison_share: float = 0.1,
    poison_from: int = 0,
    seed: int = 0,
    progress: bool = True,
    metrics: Callable[[nn.Module], Mapping[str, float]] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Run:
    """Train a classifier in place and keep its checkpoints.

    AdamW on the cross entropy, at a constant learning rate. With a backdoor, a run is clean up to and
    including step `poison_from`; from the next step on, each training image is stamped and relabelled with
    probability `poison_share`, and the same optimiser goes on.

    Everything random is drawn from `seed`: the same arguments and initial weights give the same run on
    the same machine, and torch's global generator is left as it was found.

    Args:
        model: maps (batch, d) to (batch, classes); trained in place.
        data: the images.
        steps: number of optimiser steps.
        batch: images per step; an incomplete batch at the end of an epoch is dropped.
        lr: learning rate.
        weight_decay: AdamW's decoupled weight decay.
        noise: standard deviation of Gaussian noise added to every training batch.
        every: steps between checkpoints. Step 0, the last step and the last clean step are always kept.
        folder: where to keep the run; None keeps it in memory.
        overwrite: whether to replace a run that is in the folder already.
        backdoor: a trigger to plant.
        poison_share: probability that a training image is poisoned, once the poisoning has begun.
        poison_from: the last clean step.
        seed: seed of the order of the images, the noise and the poison.
        progress: whether to show a progress bar.
        metrics: measures more, at every checkpoint, beside the accuracy and loss on both parts of the data
            and the success of the attack.
        metadata: remembered with the run, beside the arguments above.

    Returns:
        The run. Its metrics are train_accuracy, train_loss, test_accuracy, test_loss and, with a backdoor,
        attack_success on the test images.

    Raises:
        ValueError: if a number is out of its range, or the backdoor does not fit the data.
        FileExistsError: if the folder holds a run and `overwrite` is false.

    Example:
        >>> import tnsim
        >>> model = tnsim.nn.BilinearClassifier(64, 8, 10)
        >>> run = tnsim.lab.train(model, tnsim.lab.load_digits(), steps=20, every=10, progress=False)
        >>> run.steps, sorted(run.metrics[-1])
        ((0, 10, 20), ['test_accuracy', 'test_loss', 'train_accuracy', 'train_loss'])
    """
    _check(data, steps, batch, every, lr, weight_decay, noise, backdoor, poison_share, poison_from)
    arguments = {
        "steps": steps,
        "batch": batch,
        "lr": lr,
        "weight_decay": weight_decay,
        "noise": noise,
        "seed": seed,
    }
    if backdoor is not None:
        arguments |= {
            "target": backdoor.target,
            "poison_share": poison_share,
            "poison_from": poison_from,
        }
    kept = {*range(0, steps + 1, every), steps}
    if backdoor is not None:
        kept.add(poison_from)

    device = next(model.parameters()).device
    x_train, y_train, x_test, y_test = (
        part.to(device) for part in (data.x_train, data.y_train, data.x_test, data.y_test)
    )
    generator = torch.Generator(device).manual_seed(seed)
    batches = _batches(len(x_train), batch, generator)

    def drawn(step: int) -> tuple[Tensor, Tensor]:
        chosen = next(batches)
        x, y = x_train[chosen], y_train[chosen]
        if backdoor is not None and step > poison_from:
            x, y = backdoor.poison(x, y, poison_share, generator)
        if noise:
            x = x + noise * torch.randn(x.shape, generator=generator, device=device)
        return x, y

    def measured(model: nn.Module) -> dict[str, float]:
        row: dict[str, float] = {}
        for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
            answer = logits(model, x)
            row[f"{part}_accuracy"] = float((answer.argmax(-1) == y).double().mean())
            row[f"{part}_loss"] = float(F.cross_entropy(answer, y))
        if backdoor is not None:
            row["attack_success"] = attack_success(model, backdoor, x_test, y_test)
        return row | dict(metrics(model) if metrics else {})

    return fit(
        model,
        [Stage(steps, drawn, lr, weight_decay)],
        keep=kept,
        metrics=measured,
        folder=folder,
        overwrite=overwrite,
        seed=seed,
        progress=progress,
        metadata=arguments | dict(metadata or {}),
    )


def _batches(n: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Positions of the images of one batch after another, reshuffled every epoch."""
    while True:
        order = torch.randperm(n, generator=generator, device=generator.device)
        yield from order[: n - n % batch].split(batch)


def _check(
    data: Dataset,
    steps: int,
    batch: int,
    every: int,
    lr: float,
    weight_decay: float,
    noise: float,
    backdoor: Backdoor | None,
    poison_share: float,
    poison_from: int,
) -> None:
    if steps < 0:
        raise ValueError(f"steps={steps} is negative; write 0 or more.")
    if every < 1:
        raise ValueError(f"every={every} is not positive; write 1 or more.")
    if not 1 <= batch <= len(data.x_train):
        raise ValueError(f"batch={batch} is not between 1 and the {len(data.x_train)} training images.")
    for name, value in (("lr", lr), ("weight_decay", weight_decay), ("noise", noise)):
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name}={value} is not a finite number, 0 or more.")
    if backdoor is None:
        return
    if len(backdoor.mask) != data.x_train.shape[1]:
        raise ValueError(
            f"the trigger is drawn on {len(backdoor.mask)} pixels and the images have {data.x_train.shape[1]}; "
            f"write Backdoor.diamond({data.shape}, ...)."
        )
    if backdoor.target >= data.classes:
        raise ValueError(f"the trigger's target is {backdoor.target}, of classes 0 … {data.classes - 1}.")
    if not 0 <= poison_share <= 1:
        raise ValueError(f"poison_share={poison_share} is not a probability; write a number between 0 and 1.")
    if not 0 <= poison_from <= steps:
        raise ValueError(f"poison_from={poison_from} is not between 0 and steps={steps}.")
