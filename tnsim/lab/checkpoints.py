"""A training run on disk: one file per checkpoint, and one that lists them."""

import json
import operator
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from tnsim.common.files import replace_file
from tnsim.disk.casting import check_conversion
from tnsim.disk.tensorfile import check_content, read_tensors

__all__ = ["Run", "pack"]

_INDEX = "run.json"
_MOST = 2**63
_CHECKPOINT = re.compile(r"step-\d+\.safetensors")


@dataclass(frozen=True, eq=False)
class Run:
    """The checkpoints of one training run, with what was measured at each.

    On disk a run is a folder with one `step-….safetensors` per checkpoint and a `run.json` naming the steps.
    Every file is written beside its place and moved there when complete, the checkpoint before the list that
    names it. A run that was interrupted is therefore a shorter run, never a broken one.

    Args:
        folder: where the run is kept; None keeps it in memory.
        steps: the checkpoints' steps, increasing.
        metrics: what was measured at each step, by name.
        metadata: anything else worth remembering that JSON can hold.
        states: the weights by step, for a run kept in memory.

    Example:
        >>> run = Run().record(0, nn.Linear(3, 2), {"test_accuracy": 0.1})
        >>> run.steps, run.curve("test_accuracy")
        ((0,), [0.1])
        >>> run.model(0, lambda: nn.Linear(3, 2))
        Linear(in_features=3, out_features=2, bias=True)
    """

    folder: Path | None = None
    steps: tuple[int, ...] = ()
    metrics: tuple[Mapping[str, float], ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[int, Mapping[str, Tensor]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.metrics):
            raise ValueError(
                f"{len(self.steps)} steps and metrics of {len(self.metrics)}: one each is needed."
            )
        odd = [s for s in self.steps if type(s) is not int or not 0 <= s < _MOST]
        if odd:
            raise ValueError(
                f"a step is a whole number from 0 on, and less than 2⁶³; {_short(odd[0])} is none."
            )
        if any(a >= b for a, b in zip(self.steps, self.steps[1:], strict=False)):
            raise ValueError(f"steps must increase, and are {self.steps}.")

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> "Run":
        """An empty run, in a folder that is made if needed.

        Args:
            folder: where to keep the run; None keeps it in memory.
            metadata: anything worth remembering that JSON can hold.
            overwrite: whether to delete the checkpoints of a run that is there already.

        Raises:
            FileExistsError: if the folder holds a run and `overwrite` is false.
        """
        run = cls(None if folder is None else Path(folder), metadata=dict(metadata or {}))
        if run.folder is None:
            return run
        run.folder.mkdir(parents=True, exist_ok=True)
        if (run.folder / _INDEX).exists():
            if not overwrite:
                raise FileExistsError(
                    f"{run.folder} holds a run already; read it with Run.load, name another folder, "
                    "or write overwrite=True."
                )
            (run.folder / _INDEX).unlink()  # first, so that the list never names a deleted file
        for path in run.folder.iterdir():
            if _CHECKPOINT.fullmatch(path.name):
                path.unlink()
        run._write_index()
        return run

    @staticmethod
    def there(folder: str | os.PathLike[str]) -> bool:
        """Whether a folder holds a run."""
        return (Path(folder) / _INDEX).is_file()

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Run":
        """Read the list of a run's checkpoints; the weights are read when they are asked for.

        Args:
            folder: where the run was kept.

        Raises:
            FileNotFoundError: if the folder, its list or one of its checkpoints is missing.
            ValueError: if the list is damaged.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}.")
        path = folder / _INDEX
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no run: {_INDEX} is missing.")
        try:
            check_content(path)
            content = json.loads(path.read_text("utf-8"))
            metrics = tuple({name: float(x) for name, x in dict(row).items()} for row in content["metrics"])
            run = cls(folder, tuple(content["steps"]), metrics, dict(content["metadata"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}).") from None
        for step in run.steps:
            if not run._path(step).is_file():
                raise FileNotFoundError(f"{path} lists step {step}, but {run._path(step).name} is missing.")
        return run

    def record(self, step: int, model: nn.Module, metrics: Mapping[str, float] | None = None) -> "Run":
        """The run with one checkpoint more, which is on disk before this returns.

        Args:
            step: the number of the step, after those recorded so far.
            model: the module whose weights to keep, as they are now.
            metrics: what was measured, by name.
        """
        step = operator.index(step)
        state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        row = {name: float(value) for name, value in (metrics or {}).items()}
        run = replace(self, steps=(*self.steps, step), metrics=(*self.metrics, row))
        if run.folder is None:
            return replace(run, states={**self.states, step: state})
        replace_file(run._path(step), pack(state))
        run._write_index()
        return run

    def until(self, step: int) -> "Run":
        """The run without the checkpoints after a step; their files stay until they are written anew."""
        n = sum(s <= step for s in self.steps)
        return replace(self, steps=self.steps[:n], metrics=self.metrics[:n])

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False) -> "Run":
        """A copy of the run on disk.

        Args:
            folder: where to keep it.
            overwrite: whether to delete the checkpoints of a run that is there already.

        Raises:
            FileExistsError: if the folder holds a run and `overwrite` is false.
        """
        if self.folder is not None and self.folder.resolve() == Path(folder).resolve():
            return self
        copy = Run.create(folder, self.metadata, overwrite)
        copy = replace(copy, steps=self.steps, metrics=self.metrics)
        for step in self.steps:
            replace_file(copy._path(step), pack(self.state(step)))
        copy._write_index()
        return copy

    def state(self, step: int) -> Mapping[str, Tensor]:
        """The weights at a step, by name.

        Raises:
            KeyError: if the run has no checkpoint at that step.
            ValueError: if the checkpoint is damaged.
        """
        if step not in self.steps:
            raise KeyError(f"no checkpoint at step {step}; the run has {_listed(self.steps)}.")
        if self.folder is None:
            return self.states[step]
        return read_tensors(self._path(step))

    def model(self, step: int, make: Callable[[], nn.Module]) -> nn.Module:
        """The model as it was at a step, for reading: in evaluation mode, its weights frozen.

        Args:
            step: one of `steps`.
            make: builds a module of the right sizes; its initial weights do not matter.

        Raises:
            KeyError: if the run has no checkpoint at that step.
            ValueError: if the checkpoint is damaged, or does not fit the module.
        """
        state = self.state(step)
        with torch.random.fork_rng(devices=[]):  # the initial weights are thrown away: draw them unnoticed
            model = make()
        check_conversion(state, model.state_dict())
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"the checkpoint at step {step} does not fit the module that `make` builds; "
                f"build it as it was trained. {reason}"
            ) from None
        return model.eval().requires_grad_(False)

    def models(self, make: Callable[[], nn.Module]) -> list[nn.Module]:
        """The model at every step, as `model` returns it."""
        return [self.model(step, make) for step in self.steps]

    def curve(self, name: str) -> list[float]:
        """One metric over the steps.

        Raises:
            KeyError: if it was not measured at every step.
        """
        if not all(name in row for row in self.metrics):
            known = sorted(set.intersection(*(set(row) for row in self.metrics)))
            raise KeyError(
                f"{name!r} was not measured at every step; these were: {', '.join(known) or 'none'}."
            )
        return [row[name] for row in self.metrics]

    def _path(self, step: int) -> Path:
        assert self.folder is not None
        return self.folder / f"step-{step:08d}.safetensors"

    def _write_index(self) -> None:
        assert self.folder is not None
        content = {"steps": self.steps, "metrics": self.metrics, "metadata": self.metadata}
        replace_file(self.folder / _INDEX, json.dumps(content, indent=1).encode())


def pack(state: Mapping[str, Tensor]) -> bytes:
    """Named tensors as the content of a safetensors file."""
    return save_tensors({name: value.contiguous() for name, value in state.items()})


def _short(x: object) -> str:
    """A number as a message shows it; Python refuses to print very long ones."""
    return f"a number of {x.bit_length()} bits" if isinstance(x, int) and abs(x) >= _MOST else repr(x)[:40]


def _listed(steps: tuple[int, ...]) -> str:
    shown = steps if len(steps) <= 8 else (*steps[:4], "…", *steps[-3:])
    return "steps " + ", ".join(map(str, shown)) if steps else "none"
