"""What ``torch.save`` writes, and plain pickles of tensors, read as data: see :mod:`tnsim.disk.pickles`.

Three formats: a zip archive with a pickle and one entry for every storage (since torch 1.6; TorchScript has the same);
pickles one after the other and the storages behind them (before); and a single pickle that somebody wrote by hand, in
which every storage is a file of the second format again.
"""

import io
import sys
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from tnsim.disk.pickles import Storage, read_pickle

__all__ = ["read_inertly"]

_MAGIC = 0x1950A86A20F9469CFC6C  # the first number in a file of the second format
_NESTED = 4


def read_inertly(path: Path) -> Any:
    """What a file holds: tensors, plain containers, and stand-ins for all else.

    Raises:
        ValueError: if it is damaged, or none of the formats; it says why, without the name of the file.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            try:
                return _archive(archive)
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError, KeyError, EOFError) as error:
                raise ValueError(" ".join(str(error).split())) from None
    with open(path, "rb") as file:
        try:
            return _stream(file, path.stat().st_size, 0)
        except (KeyError, TypeError) as error:
            raise ValueError(f"its storages do not fit: {error}") from None


def _archive(archive: zipfile.ZipFile) -> Any:
    """A zip archive: ``name/data.pkl`` and ``name/data/0``, ``name/data/1`` …"""
    heads = [n for n in archive.namelist() if n == "data.pkl" or n.endswith("/data.pkl")]
    if len(heads) != 1:
        raise ValueError("an archive without a pickle data.pkl")
    root = heads[0].removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist():
        order = archive.read(f"{root}byteorder").decode("ascii", "replace")
        if order != sys.byteorder:
            raise ValueError(f"numbers in the byte order {order!r}")
    held: dict[str, Tensor] = {}

    def stored(key: Any) -> Storage:
        _, kind, name, *_ = key
        if name not in held:
            held[name] = _bytes(archive.read(f"{root}data/{name}"))
        return Storage.of(kind, held[name])

    return read_pickle(io.BytesIO(archive.read(heads[0])), stored)


def _stream(file: BinaryIO, size: int, depth: int) -> Any:
    """Pickles one after the other: three about the format, the content, and the keys of the storages behind it."""

    def opened(data: Any) -> Any:
        if depth == _NESTED or not isinstance(data, bytes):
            raise ValueError("files within files")
        return _stream(io.BytesIO(data), len(data), depth + 1)

    first = read_pickle(file, _nothing, opened)
    if first != _MAGIC:
        return first
    read_pickle(file, _nothing), read_pickle(file, _nothing)
    held: dict[str, Storage] = {}

    def stored(key: Any) -> Any:
        """A storage of zeros: the numbers come last. No more than the file can hold."""
        if key[0] == "module":  # a class with its source, which nobody needs
            return key[1]
        _, kind, name, _, count, *view = key
        if view and view[0] is not None:
            raise ValueError("a view of a storage, as torch wrote it long ago")
        if name not in held:
            storage = Storage.of(kind, torch.empty(0, dtype=torch.uint8))
            length = storage.dtype.itemsize * int(count)
            if not 0 <= length <= size - sum(len(x.data) for x in held.values()):
                raise ValueError("it declares more than it holds")
            storage.data = torch.zeros(length, dtype=torch.uint8)
            held[name] = storage
        return held[name]

    content = read_pickle(file, stored, opened)
    for name in read_pickle(file, _nothing):
        data = held[name].data
        read = file.read(8 + len(data))
        if len(read) < 8 + len(data):
            raise ValueError("its end is missing")
        if int.from_bytes(read[:8], "little") * held[name].dtype.itemsize != len(data):
            raise ValueError("a storage of another size than declared")
        data.copy_(_bytes(read[8:]))
    return content


def _nothing(_: Any) -> Any:
    raise ValueError("a pickle that refers to something elsewhere")


def _bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
