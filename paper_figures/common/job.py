"""What is to be made: a figure, at a size, from data, in a folder."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from tnsim.lab import Dataset, load_digits, load_npz

__all__ = ["SIZES", "Job"]

SIZES = ("tiny", "fast", "full")


@dataclass(frozen=True)
class Job:
    """One figure to be made.

    Args:
        figure: the folder's name.
        size: tiny (for tests), fast or full.
        settings: the figure's settings at that size.
        folder: where checkpoints and unfinished work are kept.
        data: a file of real data; None for what is embedded.
        progress: show progress bars.
    """

    figure: str
    size: str
    settings: Any
    folder: Path
    data: Path | None = None
    progress: bool = True

    @property
    def device(self) -> torch.device:
        """A GPU for full size where there is one."""
        return torch.device("cuda" if self.size == "full" and torch.cuda.is_available() else "cpu")

    @property
    def threads(self) -> int:
        """For training: one, with which small batches are fastest; at full size as many as torch takes."""
        return torch.get_num_threads() if self.size == "full" else 1

    def images(self, side: int = 8) -> Dataset:
        """The images: from the data file, or the embedded digits at a side of so many pixels."""
        return load_npz(self.data) if self.data else load_digits(size=side)

    def origin(self) -> str:
        """What the data is called, with the first digits of its hash."""
        if self.data is None:
            return "embedded"
        return f"{self.data.name} {sha256(self.data.read_bytes()).hexdigest()[:12]}"
