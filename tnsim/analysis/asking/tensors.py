"""Tensors of whatever a user gives, in the precision that a question needs."""

from typing import Any

import torch

__all__ = ["double", "tensor"]


def tensor(x: Any) -> torch.Tensor:
    """A tensor as it is; anything else on the CPU, whatever the default device is."""
    return x if isinstance(x, torch.Tensor) else torch.as_tensor(x, device="cpu")


def double(x: torch.Tensor) -> torch.Tensor:
    """In float64: on the CPU if ``x`` lies on a device that knows none."""
    try:
        return x.double()
    except (TypeError, RuntimeError):  # Apple's devices raise the one, some of Intel's the other
        return x.cpu().double()
