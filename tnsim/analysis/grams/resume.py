"""Results kept on disk while a long computation runs, so that an interrupted one can go on."""

import os
import shutil
import time
import warnings
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch

from tnsim.analysis.grams.records import Records, record
from tnsim.common.files import FileError, is_locked

__all__ = ["Layout", "Saved"]

Layout = Mapping[str, Mapping[str, tuple[tuple[int, ...], str]]]

_FLUSHED_EVERY = 1.0  # seconds; what a power failure may cost. A killed process loses nothing
_OVERHEAD = 1024  # bytes that a record takes beside its numbers


class Saved:
    """Named results in one file that grows by a record with each; a context, which closes the file.

    A file that is complete is only read. Any other is opened for writing, and held against other processes, before
    anything is computed. If writing fails later, that is said once in a warning, and the computation goes on.

    Args:
        path: the file; ``None`` keeps nothing.
        key: what the results belong to.
        layout: for every result the tensors it is made of, with shape and name of the dtype.

    Raises:
        ValueError: if the file belongs to another computation, is damaged or is used by another process; it is left as
            it is.
        FileError: if it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str] | None, key: str, layout: Layout):
        self._path = Path() if path is None else Path(os.path.realpath(path))
        self._key, self._layout = key, layout
        self._file: BinaryIO | None = None
        self._held = Records.none(key)
        self._flushed = time.monotonic()
        if path is None:
            return
        try:
            self._open()
        except BaseException as error:
            self._let_go()
            if not isinstance(error, OSError) or isinstance(error, FileError):
                raise
            raise FileError(
                f"the checkpoint {self._path} cannot be written ({error.strerror or error}); name another checkpoint=, "
                "or leave it out."
            ) from None

    def __enter__(self) -> "Saved":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def get(self, name: str) -> Mapping[str, torch.Tensor] | None:
        """A result that was kept, or ``None``."""
        return self._held.parts.get(name)

    def put(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep a result. One that is not finite is not kept. An interruption leaves those before it as they are.

        Args:
            name: one of the layout.
            value: its tensors, or arrays, as the layout says.
        """
        if self._file is None:
            return
        try:
            tensors = {k: torch.as_tensor(x).detach().cpu().contiguous().clone() for k, x in value.items()}
            if not all(bool(x.isfinite().all()) for x in tensors.values()):
                return
            self._check(name, tensors)
            self._append(self._file, name, tensors)
        except Exception as error:  # whatever it is: the result is worth more than the file
            self._let_go()
            self._warn(error)

    def close(self) -> None:
        """Let the file go; one that holds no result is removed."""
        if error := self._let_go():
            self._warn(error)

    def _let_go(self) -> OSError | None:
        """What kept the end of the file from being written, if anything did."""
        file, self._file = self._file, None
        if file is None:
            return None
        with file:
            try:
                if self._is_in_place(file) and os.fstat(file.fileno()).st_size <= len(
                    Records.head(self._key)
                ):
                    self._path.unlink()
                else:
                    os.fsync(file.fileno())
            except OSError as error:
                return error
        return None

    def _open(self) -> None:
        path = self._path
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._hold("x+b")
            self._write(self._file, 0, Records.head(self._key))
            os.fsync(self._file.fileno())
        else:
            if not path.is_file():
                raise FileError(f"{path} is not a file; name one in checkpoint=.")
            with self._readable() as file:
                self._held = self._read(file)
            if self._missing():
                self._file = self._hold("r+b")
                self._held = self._read(self._file)  # with what others have written in the meantime
        self._check_room()

    def _readable(self) -> BinaryIO:
        try:
            return open(self._path, "rb")
        except OSError as error:
            raise ValueError(f"{self._path} is not a readable checkpoint ({error.strerror}).") from None

    def _hold(self, mode: Literal["x+b", "r+b"]) -> BinaryIO:
        """The file, open for writing, and held against others."""
        used = f"another process is writing to {self._path}; wait for it, or write another checkpoint=."
        try:
            file = open(self._path, mode, buffering=0)  # noqa: SIM115 (held until it is closed)
        except FileExistsError:
            raise ValueError(used) from None
        if is_locked(file) or not self._is_in_place(file):
            file.close()
            raise ValueError(used)
        return file

    def _is_in_place(self, file: BinaryIO) -> bool:
        """Whether the open file is still the one of that name."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _read(self, file: BinaryIO) -> Records:
        try:
            found = Records.read(file, os.fstat(file.fileno()).st_size, self._key)
            for name, tensors in found.parts.items():
                self._check(name, tensors)
        except ValueError as error:
            raise ValueError(
                f"{self._path} {error}. It is left as it is: delete it to start afresh, or write another checkpoint=."
            ) from None
        return found

    def _check(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """A result against the layout."""
        wanted = {
            k: (tuple(shape), f"torch.{dtype}") for k, (shape, dtype) in self._layout.get(name, {}).items()
        }
        found = {k: (tuple(x.shape), str(x.dtype)) for k, x in tensors.items()}
        if found != wanted or not all(bool(x.isfinite().all()) for x in tensors.values()):
            raise ValueError(
                f"is not a readable checkpoint (it holds {name}: {found}, not {wanted}, all finite)"
            )

    def _missing(self) -> list[str]:
        return [name for name in self._layout if name not in self._held.parts]

    def _check_room(self) -> None:
        """Whether there is room for what is missing, as far as the system says."""
        if self._file is None:
            return
        need = sum(
            _OVERHEAD + sum(8 * prod(shape) for shape, _ in self._layout[name].values())
            for name in self._missing()
        )
        disk = shutil.disk_usage(self._path.parent)
        if disk.total and disk.free < need:
            raise FileError(
                f"the checkpoint {self._path} takes some {need:.2g} bytes, and {disk.free:.2g} are free; name another "
                "checkpoint=, or leave it out."
            )

    def _warn(self, error: Exception) -> None:
        warnings.warn(
            f"{self._path} could not be written ({error}); the computation goes on, and keeps nothing from here on.",
            RuntimeWarning,
            stacklevel=3,
        )

    def _append(self, file: BinaryIO, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        if not self._is_in_place(file):
            raise OSError("it was moved or deleted")
        content = record(self._held.link, name, tensors)
        try:
            self._write(file, self._held.end, content)
        except OSError:
            file.truncate(self._held.end)
            raise
        self._held = self._held.longer(content)
        if time.monotonic() - self._flushed > _FLUSHED_EVERY:
            os.fsync(file.fileno())
            self._flushed = time.monotonic()

    @staticmethod
    def _write(file: BinaryIO, start: int, content: bytes) -> None:
        """Write at a place, after which the file ends."""
        file.truncate(start)
        file.seek(start)
        view = memoryview(content)
        while view:
            view = view[file.write(view) :]
