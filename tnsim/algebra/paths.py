"""Contraction paths on disk: what one process has searched, the next one reads."""

import json
import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from tnsim.algebra.files import replace_file

__all__ = ["FOLDER", "kept_path"]

ContractionPath = tuple[tuple[int, ...], ...]

FOLDER = (
    "TNSIM_PATHS"  # the environment variable that names the folder; without it nothing is read or written
)


def kept_path(
    inputs: Sequence[Sequence[int]],
    output: Sequence[int],
    sizes: Sequence[int],
    search: Callable[[], ContractionPath],
) -> ContractionPath:
    """The path of a contraction: read from the folder in ``TNSIM_PATHS``, or searched and put there.

    One JSON file for every structure, named by its hash. A file holds the structure and the path, no code.

    Args:
        inputs: for every tensor its indices, by number.
        output: indices that are kept.
        sizes: the size of every index.
        search: finds the path: for every step the positions of the tensors that are contracted.

    Raises:
        ValueError: if a file there is not what was written.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return search()
    structure = {"inputs": [list(i) for i in inputs], "output": list(output), "sizes": list(sizes)}
    name = sha256(json.dumps(structure).encode()).hexdigest()[:32]
    file = Path(folder) / f"{name}.json"
    if file.exists():
        return _read(file, structure)
    path = search()
    replace_file(file, json.dumps(structure | {"path": path}).encode())
    return path


def _read(file: Path, structure: dict[str, Any]) -> ContractionPath:
    try:
        found = json.loads(file.read_text("utf-8"))
        path = tuple(tuple(map(int, step)) for step in found.pop("path"))
    except (ValueError, KeyError, TypeError, AttributeError):
        found, path = None, ()
    if found != structure or not _contracts(path, len(structure["inputs"])):
        raise ValueError(f"{file} is not a contraction path as tnsim writes it; delete it.")
    return path


def _contracts(path: ContractionPath, count: int) -> bool:
    """Whether a path joins so many tensors to one."""
    for step in path:
        if not step or len(set(step)) < len(step) or not all(0 <= k < count for k in step):
            return False
        count -= len(step) - 1
    return count == 1
