"""Where an unfinished run stands: what is needed to go on as if nothing had happened."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tnsim.common.files import replace_file
from tnsim.disk.tensorfile import read_tensors
from tnsim.lab.checkpoints import pack

__all__ = ["Progress"]

_NAME = "progress.safetensors"


@dataclass(frozen=True, eq=False)
class Progress:
    """Weights, optimiser and torch's global generator after a step.

    Args:
        step: the last step taken.
        tensors: everything by name.
    """

    step: int
    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, step: int, model: nn.Module, optimiser: torch.optim.Optimizer) -> "Progress":
        """What is needed to go on after a step."""
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        for number, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{key}": torch.as_tensor(value) for key, value in state.items()}
        tensors["generator"] = torch.get_rng_state()
        return cls(step, {name: value.detach().cpu() for name, value in tensors.items()})

    def restore(self, model: nn.Module, optimiser: torch.optim.Optimizer | None = None) -> None:
        """Put everything back as it was.

        Args:
            model: a module of the same sizes.
            optimiser: one of the same kind; None leaves it new.
        """
        start = "model."
        model.load_state_dict(
            {name.removeprefix(start): v for name, v in self.tensors.items() if name.startswith(start)}
        )
        torch.set_rng_state(self.tensors["generator"])
        if optimiser is None:
            return
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in self.tensors.items():
            if name.startswith("optimiser."):
                _, number, key = name.split(".", 2)
                state.setdefault(int(number), {})[key] = value
        optimiser.load_state_dict(optimiser.state_dict() | {"state": state})

    def save(self, folder: Path) -> None:
        """Keep it in a run's folder, in the place of what was kept before."""
        replace_file(folder / _NAME, pack({**self.tensors, "step": torch.tensor(self.step)}))

    @staticmethod
    def load(folder: Path) -> "Progress | None":
        """What a run's folder keeps, if it does; a damaged file counts as none."""
        path = folder / _NAME
        if not path.is_file():
            return None
        try:
            tensors = read_tensors(path)
            step = int(tensors.pop("step"))
            return Progress(step, tensors) if "generator" in tensors else None
        except (ValueError, KeyError, RuntimeError, OverflowError):
            return None

    @staticmethod
    def remove(folder: Path) -> None:
        """Forget it: the run is complete."""
        (folder / _NAME).unlink(missing_ok=True)
