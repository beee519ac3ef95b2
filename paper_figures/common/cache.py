"""Everything a picture needs, in one small file."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Cache"]

_FACTS = "facts"


@dataclass(frozen=True, eq=False)
class Cache:
    """Arrays and facts: what `compute` gives and `plot` draws.

    Args:
        arrays: by name; kept as float32, or as integers.
        facts: anything JSON can hold: measured numbers by name, settings, where the data came from.
    """

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write one npz file, complete or not at all."""
        arrays = {name: np.asarray(value) for name, value in self.arrays.items()}
        arrays = {n: a.astype(np.float32) if a.dtype.kind == "f" else a for n, a in arrays.items()}
        facts = np.frombuffer(json.dumps(self.facts).encode(), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part.npz")
        np.savez_compressed(part, **{_FACTS: facts}, **arrays)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Cache":
        """Read it; nothing is unpickled."""
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name != _FACTS}
            return cls(arrays, json.loads(bytes(archive[_FACTS])))

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]
