"""Training in stages, with checkpoints, which goes on where it was interrupted."""

import json
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from tnsim.lab.checkpoints import Run, pack
from tnsim.lab.progress import Progress
from tnsim.lab.streams import Stream

__all__ = ["Stage", "cosine", "fit", "threads"]

SAVE_EVERY = 15.0  # seconds


def cosine(share: float) -> float:
    """Half a cosine, from 1 at the beginning of a stage to 0 at its end.

    Example:
        >>> cosine(0.0), round(cosine(0.5), 3), cosine(1.0)
        (1.0, 0.5, 0.0)
    """
    return 0.5 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True)
class Stage:
    """A part of a run with data and settings of its own; it begins with a new optimiser.

    Args:
        steps: number of optimiser steps.
        batches: from the number of a step in this stage, counted from 1, to inputs and labels.
        lr: learning rate.
        weight_decay: AdamW's decoupled weight decay.
        schedule: from the share of the stage that is done to a factor on the learning rate, for instance
            :func:`cosine`; None is a constant 1.
        betas: AdamW's averages.
        clip: largest norm of the gradient; None leaves it as it is.
        name: for progress bars and pictures.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import torch, tnsim
        >>> x, y = torch.rand(20, 6), torch.arange(20) % 2
        >>> stage = tnsim.lab.Stage(4, tnsim.lab.epochs(x, y, batch=10), schedule=tnsim.lab.cosine, name="all")
        >>> stage.steps, stage.schedule(0.5) < 1
        (4, True)
    """

    steps: int
    batches: Stream
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: Callable[[float], float] | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = None
    name: str = "training"

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps={self.steps} is negative; write 0 or more.")
        for name, value in (("lr", self.lr), ("weight_decay", self.weight_decay)):
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name}={value} is not a finite number, 0 or more.")

    def settings(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        schedule = getattr(self.schedule, "__name__", None)
        return {
            "name": self.name,
            "steps": self.steps,
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "schedule": schedule,
            "betas": list(self.betas),
            "clip": self.clip,
        }


def fit(
    model: nn.Module,
    stages: Sequence[Stage],
    *,
    keep: Collection[int] = (),
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    metrics: Callable[[nn.Module], Mapping[str, float]] | None = None,
    folder: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    seed: int = 0,
    progress: bool = True,
    metadata: Mapping[str, Any] | None = None,
) -> Run:
    """Train a model in place, stage after stage, and keep its checkpoints.

    Steps are counted from the start of the run. Step 0 and the last step of every stage are always kept.
    With `resume`, weights, optimiser and torch's global generator are saved every few seconds, and a run
    that was interrupted goes on from there, with the same result to the last bit; a run that is complete is
    read, and nothing is trained.

    Args:
        model: what to train.
        stages: what to train it on, and how.
        keep: steps after which to keep a checkpoint.
        loss: from outputs and labels to a number.
        metrics: what to measure at every checkpoint, by name; called in evaluation mode, without gradients.
        folder: where to keep the run; None keeps it in memory.
        overwrite: whether to replace a run that is in the folder already.
        resume: whether to go on with a run that is in the folder already.
        seed: seed of layers that are random, such as dropout.
        progress: whether to show a progress bar.
        metadata: remembered with the run, beside the stages; a run with other metadata is another run.

    Returns:
        The run.

    Raises:
        FileExistsError: if the folder holds a run and neither `overwrite` nor `resume` is true.
        ValueError: if the folder holds a run with other stages, metadata or first weights.

    Example:
        >>> from tnsim.lab.streams import epochs
        >>> x, y = torch.randn(32, 3), torch.randint(2, (32,))
        >>> stage = Stage(4, epochs(x, y, batch=8), schedule=cosine)
        >>> fit(nn.Linear(3, 2), [stage, stage], keep=[2], progress=False).steps
        (0, 2, 4, 8)
    """
    if not stages:
        raise ValueError("fit needs at least one stage.")
    if resume and folder is None:
        raise ValueError("a run in memory cannot be resumed; write folder=... as well.")
    ends = [sum(s.steps for s in stages[: k + 1]) for k in range(len(stages))]
    kept = {0, *keep, *ends}
    facts = dict(metadata or {}) | {"seed": seed, "stages": [s.settings() for s in stages]}
    if resume:
        facts["start"] = _hash(model)
    run, saved = _begun(folder, facts, overwrite, resume)
    if run.steps and run.steps[-1] == ends[-1]:
        model.load_state_dict(run.state(ends[-1]))
        return run
    done = 0 if saved is None else saved.step

    def measured() -> Mapping[str, float]:
        if metrics is None:
            return {}
        training = model.training
        model.eval()
        with torch.no_grad():
            row = metrics(model)
        model.train(training)
        return row

    device = next(model.parameters()).device
    saved_at = time.monotonic()
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        tqdm(total=ends[-1], initial=done, disable=not progress, desc=stages[0].name, unit="step") as bar,
    ):
        torch.manual_seed(seed)
        if saved is None:
            run = run.record(0, model, measured())
        model.train()
        for stage, end in zip(stages, ends, strict=True):
            before = end - stage.steps
            if end <= done:
                continue
            optimiser = torch.optim.AdamW(
                model.parameters(), lr=stage.lr, weight_decay=stage.weight_decay, betas=stage.betas
            )
            if saved is not None and before <= done:
                saved.restore(model, optimiser if before < done else None)
            bar.set_description(stage.name)
            for step in range(max(before, done) + 1, end + 1):
                if stage.schedule is not None:
                    for group in optimiser.param_groups:
                        group["lr"] = stage.lr * stage.schedule((step - 1 - before) / stage.steps)
                x, y = stage.batches(step - before)
                optimiser.zero_grad()
                loss(model(x), y).backward()
                if stage.clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), stage.clip)
                optimiser.step()
                bar.update()
                if step in kept:
                    run = run.record(step, model, measured())
                    if "test_accuracy" in run.metrics[-1]:
                        bar.set_postfix(test=f"{run.metrics[-1]['test_accuracy']:.1%}", refresh=False)
                if resume and time.monotonic() - saved_at > SAVE_EVERY:
                    Progress.of(step, model, optimiser).save(_folder(run))
                    saved_at = time.monotonic()
    if resume:
        Progress.remove(_folder(run))
    return run


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let torch use n threads for a while; small batches train several times faster on one.

    Example:
        >>> with threads(1):
        ...     torch.get_num_threads()
        1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begun(
    folder: str | os.PathLike[str] | None, facts: Mapping[str, Any], overwrite: bool, resume: bool
) -> tuple[Run, Progress | None]:
    """The run as far as it is there, and where it stands."""
    if not resume or overwrite or folder is None or not Run.there(folder):
        run = Run.create(folder, facts, overwrite)
        if run.folder is not None:
            Progress.remove(run.folder)
        return run, None
    run = Run.load(folder)
    wanted = json.loads(json.dumps(facts))
    if run.metadata != wanted:
        other = sorted(k for k in {*wanted, *run.metadata} if wanted.get(k) != run.metadata.get(k))
        raise ValueError(
            f"{_folder(run)} holds another run: it differs in {', '.join(other)}. "
            "Name another folder, or write overwrite=True."
        )
    if run.steps and run.steps[-1] == sum(stage["steps"] for stage in wanted["stages"]):
        return run, None
    saved = Progress.load(_folder(run))
    return run.until(-1 if saved is None else saved.step), saved


def _folder(run: Run) -> Path:
    assert run.folder is not None
    return run.folder


def _hash(model: nn.Module) -> str:
    """What tells one set of weights from another."""
    return sha256(pack({k: v.detach().cpu() for k, v in model.state_dict().items()})).hexdigest()[:16]
