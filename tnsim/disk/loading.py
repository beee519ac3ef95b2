"""A module filled with the weights of a checkpoint: wherever they stand in it, and whatever is in front of their names."""

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tnsim.disk.casting import check_conversion
from tnsim.disk.fit import check_tied, found_in, shape_of, tied_names
from tnsim.disk.folders import read_folder
from tnsim.disk.names import Names, listed, shown
from tnsim.disk.pickles import StandIn
from tnsim.disk.tensorfile import read_tensors
from tnsim.disk.tree import branches

__all__ = ["Source", "check_state", "fill", "load", "read_source", "read_state"]

Model = TypeVar("Model", bound=nn.Module)
Source = str | os.PathLike[str] | Mapping[str, Any]

_INSIDE = ("state_dict", "model_state_dict", "model")
_LOG = logging.getLogger("tnsim")


def read_source(source: Source) -> Any:
    """What a file, a folder of one checkpoint, or a dict holds. No code of it is run.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is empty, damaged or a pointer of Git LFS, or declares more than it holds.
    """
    if isinstance(source, Mapping):
        return dict(source)
    path = Path(source).expanduser()
    if path.is_dir():
        return read_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    return read_tensors(path)


def read_state(source: Source) -> dict[str, Tensor]:
    """The weights in a checkpoint, by name. No code of it is run.

    Args:
        source: a ``.safetensors`` file, a file written by ``torch.save`` that holds a state dict (or a dict with one
            under "state_dict", "model_state_dict" or "model") or a module, a folder as Hugging Face or
            ``torch.distributed.checkpoint`` write it, or a state dict.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds anything else, is empty, damaged or a pointer of Git LFS, or declares more than it holds.

    Example:
        >>> read_state({"w": torch.ones(2)})
        {'w': tensor([1., 1.])}
    """
    content = read_source(source)
    seen = set()
    while isinstance(content, Mapping) and (key := next((k for k in _INSIDE if _holds(content, k)), None)):
        if id(content) in seen:
            raise ValueError(f"what is called {key!r} contains itself; pass the state dict alone.")
        seen.add(id(content))
        content = content[key]
    if isinstance(content, StandIn):
        content = next((branch.tensors for branch in branches(content)[::-1]), None)
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{_whose(source)} holds no weights by name.")
    nameless = [name for name in content if not isinstance(name, str)]
    odd = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if nameless:
        raise ValueError(f"weights go by names; {', '.join(map(shown, nameless))} are none.")
    if odd:
        raise ValueError(
            f"a state dict holds tensors only; {', '.join(map(shown, odd))} are not. Take them out."
        )
    return dict(content)


def load(
    model: Model,
    source: Source,
    names: Names | None = None,
    ignore: Iterable[str] = (),
    key: str | None = None,
) -> Model:
    """Fill a model with the weights of a checkpoint, every one of them, and set it to evaluation mode.

    The weights are found wherever they are: in a file or a folder, under "model", "state_dict", "ema" or any other key,
    in a module that was pickled whole, behind "module." or "_orig_mod." or any one prefix that all names share. No
    code of the checkpoint is run: classes that it names are never looked up.

    Args:
        model: any module; filled in place, in its own dtype.
        source: a file (``.safetensors``, or what ``torch.save`` or ``pickle`` wrote), a folder as Hugging Face
            (shards with an index included) or ``torch.distributed.checkpoint`` write it, or a state dict.
        names: what the checkpoint calls its weights, and what the model calls them. A ``*`` stands for any text and
            is carried over: ``{"layers.*.attn.wq.weight": "blocks.*.q1.weight"}``. A pair of a name and a function
            also changes the tensor: ``{"embed": ("embed.weight", torch.t)}``. Names that are not mentioned stay. Where
            names do not fit, the error says what to write.
        ignore: names in the checkpoint to pass over, also with ``*``.
        key: which part of the checkpoint, such as ``"ema"`` or ``"state_dict.student"``; needed where several fit.

    Returns:
        The model.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if weights are missing, left over, of another shape, not finite, complex where the model is real, or
            too large for its dtype; if tied weights differ; if several parts of the checkpoint fit, or none. The
            message names them, and the model is as it was.

    Example:
        >>> trained, fresh = nn.Linear(2, 1), nn.Linear(2, 1)
        >>> state = {f"_orig_mod.{name}": value for name, value in trained.state_dict().items()}
        >>> torch.equal(load(fresh, {"step": 100, "model": state}).weight, trained.weight)
        True
    """
    note = fill(model, read_source(source), names or {}, tuple(ignore), key, _whose(source))
    if note:
        _LOG.info("%s: %s", _whose(source), note)
    return model


def fill(
    model: nn.Module, content: Any, names: Names, ignore: tuple[str, ...], key: str | None, whose: str
) -> str:
    """Fill a module from what was read of a checkpoint; what had to be done for it, in words.

    Args:
        model: filled in place, and set to evaluation mode.
        content: what :func:`read_source` gave.
        names: as in :func:`load`.
        ignore: as in :func:`load`.
        key: as in :func:`load`.
        whose: where the content comes from, for messages.
    """
    wanted = model.state_dict()
    kind = type(model).__name__
    other = [n for n, value in wanted.items() if not isinstance(value, Tensor)]
    if other:
        raise ValueError(f"{kind} keeps {listed(other)} beside its weights; use load_state_dict.")
    found = found_in(content, wanted, tied_names(model), names, ignore, key, kind, whose)
    check_state(found.state, wanted, kind, whose)
    check_tied(model, found.state, kind, whose)
    check_conversion(found.state, wanted)
    with torch.no_grad():
        model.load_state_dict({n: value.reshape(wanted[n].shape) for n, value in found.state.items()})
    model.eval()
    return found.note


def check_state(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], kind: str, whose: str = "the checkpoint"
) -> None:
    """Whether names and shapes are those of a module, and all numbers are finite.

    Raises:
        ValueError: if not; the message names what does not fit.
    """
    missing, extra = [n for n in wanted if n not in state], [n for n in state if n not in wanted]
    if missing or extra:
        parts = [f"the checkpoint has no {listed(missing)}"] if missing else []
        parts += [f"{kind} has no {listed(extra)}"] if extra else []
        raise ValueError(
            f"{whose} does not fit {kind}: {'; '.join(parts)}. Say in names= what belongs where, and in ignore= "
            "what to pass over."
        )
    wrong = [
        f"{n} is {shape_of(state[n])}, {kind} needs {shape_of(wanted[n])}"
        for n in wanted
        if shape_of(state[n]) != shape_of(wanted[n]) and not state[n].numel() == wanted[n].numel() == 1
    ]
    if wrong:
        raise ValueError(f"{whose} does not fit {kind}: {'; '.join(wrong)}.")
    broken = [n for n, value in state.items() if _is_dense(value) and not bool(value.isfinite().all())]
    if broken:
        raise ValueError(f"{whose} holds NaN or infinite entries in {listed(broken)}.")


def _is_dense(x: Tensor) -> bool:
    return x.layout == torch.strided and not x.is_meta and not x.is_quantized


def _holds(content: Mapping[str, Any], key: str) -> bool:
    return isinstance(content.get(key), Mapping)


def _whose(source: Source) -> str:
    return "the checkpoint" if isinstance(source, Mapping) else str(source)
