"""A shelf: tensors that processes of one machine read from a file, in place of being sent them with every task.

Through pipes weights travel at a few hundred MiB a second, and the process that gives out tasks is busy with it; a file
that is mapped into memory is there at once, and once for all processes (bench row "workers").
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

__all__ = ["Shelf", "Shelved", "nearby"]

_ALIGNED = 64  # bytes; where an array begins


@dataclass(frozen=True)
class Shelved:
    """Bytes in a file.

    Attributes:
        path: the file.
        start: where they begin.
        count: how many they are.
    """

    path: str
    start: int
    count: int

    def read(self) -> np.ndarray:
        """The bytes, in memory that no other process sees change."""
        return np.memmap(self.path, np.uint8, "c", self.start, (self.count,))


class Shelf:
    """A file that grows.

    Args:
        folder: where it is; ``None`` takes nothing.
    """

    def __init__(self, folder: str | None):
        self._path = None if folder is None else Path(folder, "tensors")
        self._end = 0

    def put(self, data: np.ndarray) -> np.ndarray | Shelved:
        """Flat bytes as what reads them; as they are where nothing is taken, or the disk is full."""
        if self._path is None or not data.size:
            return data
        start = -(-self._end // _ALIGNED) * _ALIGNED
        try:
            with self._path.open("ab") as file:
                file.write(bytes(start - self._end))
                file.write(data.data)
        except OSError:
            self._path = None
            return data
        self._end = start + data.size
        return Shelved(str(self._path), start, data.size)


@contextmanager
def nearby(executor: Any) -> Iterator[Shelf]:
    """A file for as long as an executor works, if that starts its processes on this machine and there is room for files."""
    with ExitStack() as stack:
        folder = None
        if isinstance(executor, ProcessPoolExecutor):
            with suppress(OSError):  # then tensors are sent
                folder = stack.enter_context(TemporaryDirectory(prefix="tnsim-", ignore_cleanup_errors=True))
        yield Shelf(folder)
