"""A folder of checkpoints as a run: models in order, read when they are asked for."""

import copy
import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, overload, runtime_checkable

import torch
from torch import nn

from tnsim.disk.folders import is_checkpoint
from tnsim.disk.loading import fill, read_source
from tnsim.disk.names import Names
from tnsim.disk.networks import is_network_file, load_network
from tnsim.disk.steps import order
from tnsim.disk.tree import numbers_in

__all__ = ["Checkpoints", "Stored", "checkpoints"]

Make = Callable[[], nn.Module] | nn.Module
Label = int | float | str

_ENDINGS = {".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".tar", ".pkl", ".pickle"}
# What training keeps beside the weights.
_OTHERS = {
    "optimizer", "optim", "scheduler", "scaler", "rng_state", "random_states_0", "training_args", "trainer_state",
    "progress",
}  # fmt: skip


@runtime_checkable
class Stored(Protocol):
    """What keeps the weights of a run by step, as `tnsim.lab.Run` does."""

    @property
    def steps(self) -> Sequence[int]:
        """The steps, increasing."""

    def state(self, step: int) -> Mapping[str, Any]:
        """The weights at a step."""


@dataclass(frozen=True, eq=False)
class Checkpoints(Sequence[nn.Module]):
    """The models of a run, in order: what `checkpoints` returns. Each is read when it is asked for, and not kept.

    ``run[3]`` and ``run[-1]`` are modules, ``run[2:5]`` is a shorter run, and ``for model in run`` has one model in
    memory at a time. :func:`tnsim.gram`, `trajectory`, `segment`, `nearest`, `heatmap` and the history of `localise`
    take a run as it is, and its labels with it.

    Attributes:
        labels: one for every model: its step, or its name where there is none.
        names: where every model comes from.
        apart: checkpoints that have no moment of their own, by name, such as the best: ``run.apart["best"]`` reads it.
        notes: what had to be done for the models that were read so far, such as prefixes taken off, once each.

    Example:
        >>> import torch, tnsim
        >>> run = tnsim.checkpoints({step: torch.nn.Linear(3, 2) for step in (0, 500, 1000)})
        >>> run[1:]
        Checkpoints(2: 500, 1000)
        >>> run.at(500)
        Linear(in_features=3, out_features=2, bias=True)
    """

    labels: tuple[Label, ...]
    names: tuple[str, ...]
    apart: Mapping[str, nn.Module]
    _read: Callable[[str], nn.Module] = field(repr=False)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, at: int) -> nn.Module: ...
    @overload
    def __getitem__(self, at: slice) -> "Checkpoints": ...
    def __getitem__(self, at: int | slice) -> "nn.Module | Checkpoints":
        if isinstance(at, slice):
            return replace(self, labels=self.labels[at], names=self.names[at])
        return self._read(self.names[at])

    @property
    def steps(self) -> tuple[int | float, ...]:
        """The steps of all models.

        Raises:
            ValueError: if one has none.
        """
        numbers = tuple(x for x in self.labels if not isinstance(x, str))
        if len(numbers) < len(self):
            raise ValueError(f"not every checkpoint has a step; the labels are {list(self.labels)}.")
        return numbers

    def at(self, label: Label) -> nn.Module:
        """The model of a label, such as a step.

        Raises:
            KeyError: if there is none.
        """
        if label not in self.labels:
            raise KeyError(f"no checkpoint {label!r}; the run has {', '.join(map(str, self.labels))}.")
        return self[self.labels.index(label)]

    def __repr__(self) -> str:
        shown = self.labels if len(self) <= 8 else (*self.labels[:4], "…", *self.labels[-3:])
        notes = "".join(f"; {note}" for note in self.notes)
        beside = f"; apart: {', '.join(self.apart)}" if self.apart else ""
        return f"Checkpoints({len(self)}: {', '.join(map(str, shown))}{beside}{notes})"


class _Apart(Mapping[str, nn.Module]):
    """Models by name, read when they are asked for."""

    def __init__(self, names: Iterable[str], read: Callable[[str], nn.Module]):
        self._names, self._read = {Path(n).name: n for n in names}, read

    def __getitem__(self, name: str) -> nn.Module:
        for short, whole in self._names.items():
            if name in (short, short.split(".")[0], whole):
                return self._read(whole)
        raise KeyError(f"{name!r}; there are {', '.join(self._names)}.")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def checkpoints(
    source: Any,
    make: Make | None = None,
    *,
    names: Names | None = None,
    ignore: Iterable[str] = (),
    key: str | None = None,
) -> Checkpoints:
    """The checkpoints of a training run, from wherever they are, in order.

    Steps come from the numbers in the names: the one after "step", else "iter", else "epoch", else the only one that
    differs (so 10000 comes after 2000). Where names say nothing, from ``step``, ``global_step``, ``iter`` or ``epoch``
    in the files. What is called "init" comes first, "final" or "last" last; "best" is set apart. Weights are found and
    fitted as :func:`load` does it: nestings, wrappers and prefixes need no option, and no code of a file is run.

    Args:
        source: a pattern such as ``"ckpts/*.pt"``, a folder, a list of files, folders of one checkpoint each, state
            dicts or modules, a dict of these by label (kept in its order), or a `tnsim.lab.Run`.
        make: builds a module of the right sizes, such as its class or a lambda; or one such module, which is copied.
            Not needed for modules, and for files that ``tnsim.save`` wrote: these are networks as they are.
        names: as in :func:`load`.
        ignore: as in :func:`load`.
        key: as in :func:`load`.

    Returns:
        The models in evaluation mode with frozen weights, each read when it is asked for.

    Raises:
        FileNotFoundError: if there are no such files.
        ValueError: if there is nothing to read, or ``make`` is missing. When a model is read: as :func:`load`.

    Example:
        >>> trained = [nn.Linear(3, 2) for _ in range(3)]
        >>> states = {f"module.step_{k}00": m.state_dict() for k, m in enumerate(trained)}
        >>> run = checkpoints(states, make=lambda: nn.Linear(3, 2))
        >>> len(run), torch.equal(run[2].weight, trained[2].weight)
        (3, True)
    """
    given, labels = _sources(source)
    if not given:
        raise ValueError("there are no checkpoints to read: the list is empty.")
    if make is None and not all(isinstance(x, nn.Module) or _is_network(x) for x in given.values()):
        raise ValueError(
            "weights alone are no model: write make=, the class of the module or a function that builds it, "
            "such as make=lambda: MyModel(64, 10)."
        )
    notes: list[str] = []
    options = names or {}, tuple(ignore), key

    def read(name: str) -> Any:
        content = given[name]
        if isinstance(content, nn.Module):
            return content
        if _is_network(content):
            with torch.no_grad():
                return load_network(content)
        assert make is not None
        model = _built(make)
        note = fill(model, content() if callable(content) else read_source(content), *options, name)
        if note and note not in notes:
            notes.append(note)
        return model.requires_grad_(False)

    if labels is not None:
        return Checkpoints(labels, tuple(given), {}, read, notes)
    ranks = list(given)
    plain = _plain(ranks)
    found = order(plain)
    if len(given) > 1 and all(step is None for step in found.steps):
        inside = [_step_inside(given[name]) for name in ranks]
        found = order(plain, inside) if any(n is not None for n in inside) else found
    apart = _Apart([ranks[i] for i in found.apart], read)
    chosen = tuple(ranks[i] for i in found.positions)
    texts = (plain[i] if step is None else step for i, step in zip(found.positions, found.steps, strict=True))
    return Checkpoints(tuple(texts), chosen, apart, read, notes)


def _is_network(source: Any) -> bool:
    return isinstance(source, str | os.PathLike) and is_network_file(source)


def _built(make: Make) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # the initial weights are thrown away: draw them unnoticed
        model = copy.deepcopy(make) if isinstance(make, nn.Module) else make()
    if not isinstance(model, nn.Module):
        raise TypeError(f"make= builds a {type(model).__name__}; it is to build a torch.nn.Module.")
    return model


def _sources(source: Any) -> tuple[dict[str, Any], tuple[Label, ...] | None]:
    """What is to be read, by name, and labels where these are given."""
    if isinstance(source, Stored):
        return {f"step {n}": _later(source, n) for n in source.steps}, tuple(source.steps)
    if isinstance(source, Mapping):
        if all(isinstance(x, torch.Tensor) for x in source.values()):
            raise ValueError("this is one state dict; tnsim.load(model, state) fills a module with it.")
        return {str(k): x for k, x in source.items()}, tuple(
            k if isinstance(k, int | float | str) else str(k) for k in source
        )
    if isinstance(source, nn.Module):
        raise ValueError("this is one module; pass a list of them.")
    if isinstance(source, str | os.PathLike):
        return {str(path): path for path in _files(os.fspath(source))}, None
    rows = list(source)
    paths = [isinstance(x, str | os.PathLike) for x in rows]
    if rows and all(paths):
        return {str(path): path for x in rows for path in _files(os.fspath(x))}, None
    return {str(k): x for k, x in enumerate(rows)}, tuple(range(len(rows)))


def _later(run: Stored, step: int) -> Callable[[], Mapping[str, Any]]:
    return lambda: run.state(step)


def _files(source: str) -> list[Path]:
    """The checkpoints that a pattern, a folder or a path names."""
    path = Path(source).expanduser()
    if path.is_dir() and not is_checkpoint(path):
        found = [x for x in sorted(path.iterdir()) if _is_one(x)]
        if not found:
            inside = ", ".join(sorted(x.name for x in path.iterdir())) or "nothing"
            raise FileNotFoundError(f"there are no checkpoints in {path}; it holds {inside}.")
        return found
    if path.exists():
        return [path]
    found = [Path(x) for x in sorted(glob.glob(str(path), recursive=True))]
    found = [x for x in found if x.is_file() or is_checkpoint(x)]
    if not found:
        fixed = Path(*[p for p in path.parts[: next((i for i, p in enumerate(path.parts) if "*" in p), -1)]])
        near = (
            f" {fixed} holds {', '.join(sorted(x.name for x in fixed.iterdir())) or 'nothing'}."
            if fixed.is_dir()
            else ""
        )
        raise FileNotFoundError(f"there is no file {path}.{near}")
    return found


def _is_one(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return is_checkpoint(path)
    return path.suffix.lower() in _ENDINGS and path.name.split(".")[0] not in _OTHERS


def _plain(names: Sequence[str]) -> list[str]:
    """Names without what all paths have in common, and without endings."""
    paths = [Path(name) for name in names]
    shared = Path(os.path.commonpath([str(p.parent) for p in paths]))
    short = [p.relative_to(shared) for p in paths]
    return [str(p.with_suffix("")) if p.suffix.lower() in _ENDINGS else str(p) for p in short]


def _step_inside(content: Any) -> int | None:
    """The step that a checkpoint tells itself."""
    if isinstance(content, nn.Module) or _is_network(content):
        return None
    return next(iter(numbers_in(read_source(content)).values()), None)
