"""Ambient: the state of the process that a forward pass can change, and how it comes back."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from traceback import clear_frames
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode

__all__ = ["Ambient", "Mode", "undisturbed"]

T = TypeVar("T")


class Mode(TorchFunctionMode):
    """A torch function mode that can be left even if an interrupt hit torch while it had set the mode aside."""

    def __exit__(self, *error: Any) -> None:
        """Leave it."""
        while self in _get_current_function_mode_stack():
            _pop_mode()


@dataclass(frozen=True, eq=False)
class Ambient:
    """The global state at one moment.

    Attributes:
        grad: whether autograd is on.
        modes: the active torch function modes, the innermost last.
        dtype: the default dtype.
        threads: how many threads torch uses.
        python_random: state of the generator of ``random``.
        numpy_random: that of ``numpy.random``.
        torch_random: that of torch on the CPU.
        devices: those of torch on other devices.
    """

    grad: bool
    modes: tuple[TorchFunctionMode, ...]
    dtype: torch.dtype
    threads: int
    python_random: Any
    numpy_random: Any
    torch_random: Tensor
    devices: tuple[tuple[torch.device, Tensor], ...]

    @classmethod
    def now(cls, devices: Iterable[torch.device]) -> "Ambient":
        """Read it."""
        return cls(
            torch.is_grad_enabled(),
            tuple(_get_current_function_mode_stack()),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            random.getstate(),
            np.random.get_state(legacy=False),
            torch.default_generator.get_state(),
            tuple((d, state) for d in devices if (state := _drawn(d)) is not None),
        )

    def restore(self) -> None:
        """Set back what has changed, and nothing else: other threads may be drawing random numbers."""
        if tuple(_get_current_function_mode_stack()) != self.modes:
            while _get_current_function_mode_stack():
                _pop_mode()
            for mode in self.modes:
                _push_mode(mode)
        if torch.is_grad_enabled() != self.grad:
            torch.set_grad_enabled(self.grad)
        if torch.get_default_dtype() != self.dtype:
            torch.set_default_dtype(self.dtype)
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        if random.getstate() != self.python_random:
            random.setstate(self.python_random)
        if not _same(np.random.get_state(legacy=False), self.numpy_random):
            np.random.set_state(self.numpy_random)
        if not torch.equal(torch.default_generator.get_state(), self.torch_random):
            torch.default_generator.set_state(self.torch_random)
        for device, state in self.devices:
            if not torch.equal(_generators(device).get_rng_state(device), state):
                _generators(device).set_rng_state(state, device)


def undisturbed(fn: Callable[[], T], devices: Iterable[torch.device] = ()) -> T:
    """The result of ``fn``, after which all global state is as before, however it ends.

    An interrupt may come while things are being set back; they are then set back again by the call around this one.

    Args:
        fn: what to do.
        devices: whose generators of random numbers it may use, besides that of the CPU.
    """
    before = Ambient.now(devices)
    return _restored(lambda: _restored(fn, before), before)


def _restored(fn: Callable[[], T], before: Ambient) -> T:
    try:
        return fn()
    except BaseException as error:
        if not isinstance(error, Exception):
            _unwound(error)
        raise
    finally:
        before.restore()


def _unwound(error: BaseException | None) -> None:
    """End the generators that an interrupt left half-way: their last words, such as switching a mode on again, come now.

    Else they would come when the traceback is forgotten.
    """
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__context__


def _generators(device: torch.device) -> Any:
    """The module of torch that holds the generators of a kind of device."""
    return getattr(torch, device.type, None)


def _drawn(device: torch.device) -> Tensor | None:
    """The state of a device's generator; ``None`` where it has none of its own."""
    home = _generators(device)
    if device.type in ("cpu", "meta", "mps") or not hasattr(home, "get_rng_state"):
        return None
    state: Tensor = home.get_rng_state(device)
    return state


def _same(a: Any, b: Any) -> bool:
    """Whether two states of numpy, dictionaries of dictionaries of numbers and arrays, are equal."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return bool(np.array_equal(a, b))
