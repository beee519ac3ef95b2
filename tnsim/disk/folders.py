"""A folder that is one checkpoint: as Hugging Face writes it, in shards or not, or ``torch.distributed.checkpoint``."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tnsim.disk.pickles import StandIn, read_pickle
from tnsim.disk.tensorfile import check_content, read_tensors

__all__ = ["is_checkpoint", "read_folder"]

_WHOLE = ("model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors")
_INDEX = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_DISTRIBUTED = ".metadata"


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is one checkpoint, and not one of several files that are each a checkpoint."""
    return any((folder / name).is_file() for name in (*_WHOLE, *_INDEX, _DISTRIBUTED))


def read_folder(folder: Path) -> dict[str, Any]:
    """The weights in a folder, by name. No code of it is run.

    Raises:
        ValueError: if it is no checkpoint, or a file of it is damaged or missing.
    """
    for name in _INDEX:
        if (folder / name).is_file():
            return _sharded(folder / name)
    for name in _WHOLE:
        if (folder / name).is_file():
            return dict(read_tensors(folder / name))
    if (folder / _DISTRIBUTED).is_file():
        return _distributed(folder)
    inside = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    raise ValueError(
        f"{folder} is a folder, and no checkpoint as Hugging Face or torch.distributed.checkpoint write it; it holds "
        f"{inside}. A folder of several checkpoints is read with tnsim.checkpoints."
    )


def _sharded(index: Path) -> dict[str, Tensor]:
    """The tensors of several files, which an index names."""
    check_content(index)
    try:
        where = json.loads(index.read_text("utf-8"))["weight_map"]
        files = sorted(set(where.values()))
        if any(Path(file).name != file for file in files):
            raise ValueError("it names a file elsewhere")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{index} is damaged ({type(error).__name__}: {error}).") from None
    found: dict[str, Tensor] = {}
    for file in files:
        if not (index.parent / file).is_file():
            raise ValueError(f"{index} names {file}, which is missing.")
        found |= read_tensors(index.parent / file)
    lost = [name for name in where if name not in found]
    if lost:
        raise ValueError(f"{index} names {', '.join(map(repr, lost))}, which no file holds.")
    return found


def _distributed(folder: Path) -> dict[str, Any]:
    """The tensors of ``torch.distributed.checkpoint``: every chunk is a file of torch's within a file."""
    path = folder / _DISTRIBUTED
    check_content(path)
    try:
        with open(path, "rb") as file:
            content = read_pickle(file, StandIn).state
        sizes = {
            name: _numbers(x.state["size"])
            for name, x in content["state_dict_metadata"].items()
            if x.name.endswith(".TensorStorageMetadata")
        }
        chunks = [
            (key.state["fqn"], _numbers(key.state["offset"]), info.state)
            for key, info in content["storage_data"].items()
            if key.state["fqn"] in sizes
        ]
        return _nested(_assembled(folder, sizes, chunks), content.get("planner_data") or {})
    except (KeyError, TypeError, AttributeError, RuntimeError, IndexError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {reason}).") from None


def _assembled(
    folder: Path, sizes: dict[str, tuple[int, ...]], chunks: Iterable[tuple[str, tuple[int, ...], Any]]
) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    filled = dict.fromkeys(sizes, 0)
    held = sum(path.stat().st_size for path in folder.iterdir())
    for name, offset, info in chunks:
        file = Path(info["relative_path"])
        if file.name != str(file):
            raise ValueError(f"{folder} names a file elsewhere, {str(file)!r}.")
        with open(folder / file, "rb") as stream:
            stream.seek(info["offset"])
            data = stream.read(info["length"])
        part = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if name not in found:
            whole = torch.empty(sizes[name], device="meta", dtype=part.dtype)
            if whole.numel() * whole.element_size() > held:
                raise ValueError(f"{folder}: {name!r} has shape {sizes[name]}, more than the files hold.")
            found[name] = torch.empty(sizes[name], dtype=part.dtype)
        target = found[name]
        for axis, start in enumerate(offset):
            target = target.narrow(axis, start, part.shape[axis])
        target.copy_(part)
        filled[name] += part.numel()
    short = [name for name, size in filled.items() if name not in found or size < found[name].numel()]
    if short:
        raise ValueError(f"{folder}: parts of {', '.join(map(repr, short))} are missing.")
    return found


def _nested(tensors: dict[str, Tensor], paths: Any) -> dict[str, Any]:
    """Tensors below the keys under which they were saved."""
    found: dict[str, Any] = {}
    for name, x in tensors.items():
        inner = found
        *above, last = map(str, paths.get(name, (name,)))
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = x
    return found


def _numbers(x: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in (x or ()))
