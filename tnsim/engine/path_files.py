"""Contraction paths on disk: what one process has searched, the next one reads."""

import json
import os
import warnings
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from tnsim.common.files import replace_file

__all__ = ["FOLDER", "kept_path"]

ContractionPath = tuple[tuple[int, ...], ...]

FOLDER = (
    "TNSIM_PATHS"  # the environment variable that names the folder; without it nothing is read or written
)

_LARGEST = 2**26  # bytes of a file
_SAID: set[str] = set()  # folders of which something was said


def kept_path(
    inputs: Sequence[Sequence[int]],
    output: Sequence[int],
    sizes: Sequence[int],
    search: Callable[[], ContractionPath],
) -> ContractionPath:
    """The path of a contraction: read from the folder in ``TNSIM_PATHS``, or searched and put there.

    One JSON file for every structure, named by its hash. A file holds the structure, the path and a hash of both, no
    code. The folder is a cache: what cannot be read there is searched anew, and what cannot be written is not kept. A
    warning says so, once for every folder.

    Args:
        inputs: for every tensor its indices, by number.
        output: indices that are kept.
        sizes: the size of every index.
        search: finds the path: for every step the positions of the tensors that are contracted.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return search()
    structure = {"inputs": [list(i) for i in inputs], "output": list(output), "sizes": list(sizes)}
    file = Path(folder) / f"{_hash(structure)[:32]}.json"
    kept = _read(file, structure)
    if kept is not None:
        return kept
    path = search()
    content = structure | {"path": [list(step) for step in path]}
    try:
        replace_file(file, json.dumps(content | {"hash": _hash(content)}).encode())
    except OSError as error:
        _warn(folder, f"cannot be written ({error.strerror or error}); contraction paths are not kept there.")
    return path


def _read(file: Path, structure: dict[str, Any]) -> ContractionPath | None:
    """The path that a file holds, if it is there and as it was written."""
    try:
        if not file.exists():
            return None
        if not file.is_file() or file.stat().st_size > _LARGEST:
            raise ValueError("it is no such file")
        found = json.loads(file.read_bytes())
        check = found.pop("hash")
        path = tuple(tuple(step) for step in found["path"])
        if check != _hash(found) or found != structure | {"path": found["path"]}:
            raise ValueError("it is not what was written")
        if not _contracts(path, len(structure["inputs"])):
            raise ValueError("it is no path")
    except OSError as error:
        _warn(
            str(file.parent),
            f"cannot be read ({error.strerror or error}); contraction paths are searched anew.",
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _warn(
            str(file.parent),
            f"holds {file.name}, which is not a contraction path as this version of tnsim writes it ({error}); it is "
            "searched anew.",
        )
    else:
        return path
    return None


def _hash(content: dict[str, Any]) -> str:
    return sha256(json.dumps(content).encode()).hexdigest()


def _warn(folder: str, what: str) -> None:
    if folder not in _SAID:
        _SAID.add(folder)
        warnings.warn(f"{folder} ({FOLDER}) {what}", RuntimeWarning, stacklevel=4)


def _contracts(path: ContractionPath, count: int) -> bool:
    """Whether a path joins so many tensors to one."""
    for step in path:
        if not step or len(set(step)) < len(step):
            return False
        if not all(type(k) is int and 0 <= k < count for k in step):
            return False
        count -= len(step) - 1
    return count == 1
