"""Files of tensors, opened without trust: nothing is run, and no more memory is asked for than the file can fill."""

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tnsim.disk.archives import read_inertly

__all__ = ["check_archive", "check_content", "read_tensors"]

_POINTERS = {
    b"version https://git-lfs": "Git LFS; fetch the content with git lfs pull",
    b"/annex/objects/": "git-annex; fetch the content with git annex get",
}


def check_content(path: Path) -> None:
    """Whether a file holds anything, and not only says where it is to be had.

    Raises:
        ValueError: if not.
    """
    with open(path, "rb") as file:
        start = file.read(64)
    if not start:
        raise ValueError(f"{path} is damaged: it is empty.")
    for mark, whose in _POINTERS.items():
        if start.startswith(mark):
            raise ValueError(f"{path} is a pointer of {whose}.")


def check_archive(path: Path, most: int = 1) -> None:
    """Whether a zip archive can hold what it declares.

    Args:
        path: the file.
        most: how many times its size the content may take: 1 where nothing is compressed, 1032 where it is deflated.

    Raises:
        ValueError: if it declares more, or is no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}).") from None
    size = path.stat().st_size
    if declared > most * size:
        raise ValueError(
            f"{path} is damaged: it declares {declared} bytes of content, and is {size} bytes large."
        )


def read_tensors(path: Path) -> Any:
    """What a file of tensors holds: a ``.safetensors`` file, one that ``torch.save`` wrote, or a pickle.

    No code of the file is run. What it holds beside tensors, numbers, words and collections of these (a configuration,
    a module) is a :class:`~tnsim.disk.pickles.StandIn`.

    Raises:
        ValueError: if it is damaged, declares more than it holds, or is another kind of file.
    """
    check_content(path)
    if path.suffix.lower() == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, KeyError, ValueError, RuntimeError, MemoryError) as error:
            raise ValueError(f"{path} is damaged ({error}).") from None
    if zipfile.is_zipfile(path):
        check_archive(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # about formats that are read all the same
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises whatever damage, or a class that it does not know, makes it raise
        try:
            content = read_inertly(path)
        except ValueError as error:
            raise ValueError(
                f"{path} cannot be read as weights alone; save it again with torch.save(model.state_dict(), path). "
                f"({error})"
            ) from None
    _check_size(content, path)
    return content


def _check_size(content: Any, path: Path) -> None:
    """Whether there are as many numbers as tensors have entries: one number may pose as any number of them."""
    todo, seen = [("", content)], set()
    while todo:
        name, x = todo.pop()
        if isinstance(x, Mapping) and id(x) not in seen:
            seen.add(id(x))
            todo.extend((str(k), v) for k, v in x.items())
        if isinstance(x, Tensor) and x.layout == torch.strided and not x.is_meta:
            held = x.untyped_storage().nbytes()
            if x.numel() * x.element_size() > held:
                raise ValueError(
                    f"{path}: {name!r} has shape {tuple(x.shape)} and holds {held} bytes; save it again with "
                    ".contiguous()."
                )
