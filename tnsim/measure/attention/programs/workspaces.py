"""Workspaces: memory in which programs run again and again, without making an array or a view.

Asking the system for memory costs more than arithmetic on small matrices. Every thread has one workspace; it is no
larger than what a cache holds, unless a single program needs more while it runs.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

import torch

from tnsim.common.caches import cleared_by
from tnsim.measure.attention.programs.program import DO, VIEWS, Program

__all__ = ["Workspace", "fits", "workspace"]

Array = Any
Pick = Callable[[Any], tuple[torch.Tensor, torch.Tensor]]
_MOST = 512  # programs that are ready to run


class Workspace:
    """Memory, and programs that are ready to run in it.

    Args:
        like: a tensor of the dtype that is wanted.
        size: how many bytes are kept between two runs.
    """

    def __init__(self, like: torch.Tensor, size: float):
        self._memory = torch.empty(int(size) // like.itemsize, dtype=like.dtype, device="cpu")
        self._ready: OrderedDict[tuple[Program, int], tuple[list[Any], torch.Tensor]] = OrderedDict()

    def run(self, program: Program, pick: Pick, count: int) -> torch.Tensor:
        """The result of a program for a batch of products. It lies in the workspace, until something else is run.

        Args:
            program: what to do.
            pick: for the name of an input an array, and which of its rows make up the input.
            count: how many products.
        """
        need = program.layout.total * count
        if need > len(self._memory):
            steps, result = _prepared(program, count, self._memory.new_empty(need))
        else:
            key = (program, count)
            if key not in self._ready:
                self._ready[key] = _prepared(program, count, self._memory)
                if len(self._ready) > _MOST:
                    self._ready.popitem(last=False)
            self._ready.move_to_end(key)
            steps, result = self._ready[key]
        for fn, args, out in steps:
            if fn is None:
                array, rows = pick(args)
                torch.index_select(array, 0, rows, out=out.view(-1, *array.shape[1:]))
            else:
                fn(*args, out=out)
        return result


def _prepared(program: Program, count: int, memory: torch.Tensor) -> tuple[list[Any], torch.Tensor]:
    """What to call, with which parts of the memory."""
    layout = program.layout

    def part(start: int, shape: Sequence[int]) -> torch.Tensor:
        return memory[start * count :][: count * shape[0] * shape[1]].view(count, *shape)

    held: dict[int, torch.Tensor] = {}
    steps: list[Any] = []
    for slot, what, numbers, extra, shape, _ in program.steps:
        args = [held[n] for n in numbers]
        if what in VIEWS:
            held[slot] = DO[what](args, *extra)
            continue
        out = held[slot] = part(layout.places[slot], shape)
        if what == "given":
            steps.append((None, extra[0], out))
        elif what in ("zeros", "ones"):
            steps.append((getattr(torch, what), (tuple(out.shape),), out))
        elif what == "dot":
            steps.append((torch.bmm, args[:2], out))
            steps += [(torch.baddbmm, (out, x, y), out) for x, y in zip(args[2::2], args[3::2], strict=True)]
        elif what == "contract":
            passing = part(layout.passing[slot], args[0].shape[1:])
            steps.append((torch.mul, args, passing))
            steps.append((torch.sum, (passing.view(count, -1), 1), out.view(count)))
        elif what == "trace":
            steps.append((torch.sum, (args[0].diagonal(0, 1, 2), 1), out.view(count)))
        elif what == "cat":
            steps.append((torch.cat, (args, extra[0] + 1), out))
        else:
            fn = {"add": torch.add, "mul": torch.mul, "scale": torch.mul, "addmul": torch.addcmul}[what]
            steps.append((fn, (*args, *extra), out))
    return steps, held[program.result]


class _Spaces:
    """The workspaces of one thread, by dtype."""

    def __init__(self) -> None:
        self.held: dict[str, Workspace] = {}
        _ALL.add(self)


class _Own(threading.local):
    def __init__(self) -> None:
        self.spaces = _Spaces()


def _clear() -> None:
    for spaces in list(_ALL):
        spaces.held.clear()


_ALL: WeakSet[_Spaces] = WeakSet()
_OWN = _Own()
cleared_by(_clear)


def workspace(like: torch.Tensor, size: float) -> Workspace:
    """This thread's workspace for a dtype."""
    held = _OWN.spaces.held
    key = f"{like.dtype}, {size}, {torch.is_inference_mode_enabled()}"
    found = held.get(key)
    if found is None:
        found = held[key] = Workspace(like, size)
    return found


def fits(arrays: Sequence[Array]) -> bool:
    """Whether a program may run on arrays in place: tensors in main memory, and no gradients to come."""
    given = [x for x in arrays if x is not None]
    graph = torch.is_grad_enabled() and any(getattr(x, "requires_grad", False) for x in given)
    return not graph and all(type(x) is torch.Tensor and x.device.type == "cpu" for x in given)
