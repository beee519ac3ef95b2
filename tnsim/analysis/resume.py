"""Results kept on disk while a long computation runs, so that an interrupted one can go on."""

import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from tnsim.algebra.files import replace_file
from tnsim.algebra.network import Network
from tnsim.measure.measure import Measure

__all__ = ["Saved", "fingerprint"]


def fingerprint(nets: list[Network], law: Measure, *more: Any) -> str:
    """A hash of everything that a result depends on: weights, wiring, law, and whatever else is given."""
    digest = sha256(repr(more).encode())
    digest.update(repr([net.signature() for net in nets]).encode())
    digest.update(type(law).__name__.encode())
    arrays = [x for net in nets for f in net.polys for x in f.arrays()]
    arrays += [torch.as_tensor(x) for x in vars(law).values() if x is not None]
    for x in arrays:
        digest.update(x.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Saved:
    """Named tensors in one file, which is complete at every moment.

    Args:
        path: the file; ``None`` keeps nothing.
        key: what the results belong to.

    Raises:
        ValueError: if the file belongs to another computation, or cannot be read.
    """

    _KEY = "tnsim.fingerprint."

    def __init__(self, path: str | os.PathLike[str] | None, key: str):
        self._path = None if path is None else Path(path)
        self._mark = self._KEY + key
        self._parts: dict[str, torch.Tensor] = {}
        if self._path is None or not self._path.exists():
            return
        try:
            self._parts = load_file(self._path)
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{self._path} is not a readable checkpoint ({error}); delete it to start afresh."
            ) from None
        if self._mark not in self._parts:
            raise ValueError(
                f"{self._path} was made from other models or another law, or by another version of tnsim; delete it, "
                "or write another checkpoint=."
            )

    def get(self, name: str) -> torch.Tensor | None:
        """A result that was kept."""
        return self._parts.get(name)

    def put(self, name: str, value: torch.Tensor) -> None:
        """Keep a result. The file is replaced in one step, so an interruption leaves the old one whole."""
        if self._path is None:
            return
        self._parts[self._mark] = torch.zeros(0)
        self._parts[name] = value.detach().cpu().contiguous()
        replace_file(self._path, save(self._parts))
