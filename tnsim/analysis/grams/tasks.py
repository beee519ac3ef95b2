"""Tasks: some blocks of a Gram matrix as something that another process or machine can do.

A task carries what its blocks are made of: parts of the models, the law, the method. Blocks that share parts travel
together, or sending parts would take as long as making blocks. Nothing of a plan travels: a worker thinks a block through
once for every structure, as any process does. What a part decides alone is kept in the worker from one block to the next of
the same matrix, as far as the plan allows.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from threading import Lock
from typing import Any

import numpy as np
import torch

from tnsim.algebra.networks.network import Network
from tnsim.analysis.grams.pairs import How, Pair, own_laws
from tnsim.analysis.grams.shelf import Shelved
from tnsim.analysis.tracing.recipes import Answer, Stages, answer
from tnsim.analysis.tracing.survey import Survey, filled
from tnsim.common.caches import cleared_by
from tnsim.common.values import numbers
from tnsim.engine.tapes import UntapedError
from tnsim.measure.pairings.measure import Measure

__all__ = ["Packed", "Parcel", "Task", "done"]

Array = Any
Put = Callable[[np.ndarray], np.ndarray | Shelved]

_HOME = (
    os.getpid()
)  # a process forked from this one has none of its threads, and would wait for them for ever


@dataclass(frozen=True, eq=False)
class Packed:
    """A tensor as bytes of its own.

    Torch lends tensors to other processes through open files, which run out, and which end with the process that lent them.

    Attributes:
        data: its bytes, or where in a file they are.
        dtype: its dtype.
        shape: its shape.
        device: the kind of device it lies on; the current one of that kind is taken where it is opened.
    """

    data: np.ndarray | Shelved
    dtype: torch.dtype
    shape: tuple[int, ...]
    device: str

    @classmethod
    def of(cls, x: torch.Tensor, put: Put = lambda x: x) -> "Packed":
        """A dense tensor; what lies in the memory of the processor is not copied. ``put`` says where its bytes are kept."""
        held = x.detach().resolve_conj().resolve_neg().cpu().contiguous()
        return cls(put(held.view(-1).view(torch.uint8).numpy()), x.dtype, tuple(x.shape), x.device.type)

    def tensor(self) -> torch.Tensor:
        """The tensor."""
        data = self.data.read() if isinstance(self.data, Shelved) else self.data
        data = data if data.flags.writeable else data.copy()
        held = torch.from_numpy(data).view(self.dtype) if data.size else torch.empty(0, dtype=self.dtype)
        return held.view(self.shape).to(self.device)


@dataclass(frozen=True, eq=False)
class Parcel:
    """An object with its tensors packed; objects that share a tensor share it where they are opened.

    Attributes:
        thing: the object, with empty tensors in place of its own; as it is where it cannot be walked through.
        empty: these.
        packed: its own.
    """

    thing: Any
    empty: tuple[torch.Tensor, ...]
    packed: tuple[Packed, ...]

    @classmethod
    def of(cls, thing: Any, known: dict[int, Packed], put: Put = lambda x: x) -> "Parcel":
        """Pack an object. What was packed before is in ``known``, by the ids of tensors that are still held."""
        try:
            arrays = Survey(thing).arrays
        except UntapedError:
            return cls(thing, (), ())
        for x in arrays:
            if id(x) not in known:
                known[id(x)] = Packed.of(x, put)
        empty = tuple(torch.empty(x.shape, dtype=x.dtype, device="meta") for x in arrays)
        return cls(filled(thing, arrays, empty), empty, tuple(known[id(x)] for x in arrays))

    def open(self) -> Any:
        """The object."""
        return filled(self.thing, self.empty, [x.tensor() for x in self.packed]) if self.empty else self.thing


@dataclass(frozen=True, eq=False)
class Task:
    """Blocks to be made.

    Attributes:
        run: tells one matrix from another.
        pairs: for every block the numbers of its two parts.
        parts: the numbers of all parts.
        given: these parts, and the law.
        how: method, and which outputs.
        kept: how many parts are kept as right factors; ``None`` makes blocks as wholes.
    """

    run: str
    pairs: tuple[tuple[int, int], ...]
    parts: tuple[int, ...]
    given: Parcel
    how: How
    kept: int | None


def done(task: Task, attempt: int = 0) -> list[np.ndarray]:
    """The blocks of a task, as numbers; where it is called, its tensors are. Gradients do not flow.

    Args:
        task: what to do.
        attempt: how often it was tried before. Of the same task another attempt is another call, for executors that give
            the same answer to the same call.
    """
    if os.getpid() != _HOME:
        torch.set_num_threads(1)
    with torch.no_grad():
        nets, law = task.given.open()
        known = dict(zip(task.parts, nets, strict=True))
        return [np.asarray(numbers(_block(task, pair, known, law))) for pair in task.pairs]


def _block(task: Task, ends_of: tuple[int, int], parts: Mapping[int, Network], law: Measure) -> Array:
    method, _ = task.how
    held = _held(task.run)
    numbers_of = tuple(dict.fromkeys(ends_of))
    nets = [parts[k] for k in numbers_of]
    own = [answer(own_laws, (net, law, method)) for net in nets]
    known = [x.outline() for x in own]
    pair = Pair.of((nets[0], nets[-1]), law, task.how, (own[0], known[0]), known[-1], inf)
    laws = [
        held.get(("laws", k), None, x, (net, law, method))
        for k, x, net in zip(numbers_of, own, nets, strict=True)
    ]
    count = len(pair.given[0])
    ends, hidden = (nets[0], nets[-1])[:count], (laws[0], laws[-1])[:count]
    given = (ends, hidden, law, pair.given[-1])
    if task.kept is None:
        return pair.block(given)
    block, stages = held.get(("stages", id(pair.block)), None, _staged, pair)
    if stages is None:
        return block(given)
    room = task.kept + 2  # those that are kept, a left one, and one that is made anew
    pieces = [
        held.get(("piece", id(block), side, k), room, stages.piece, side, (net, mine, law))
        for side, (k, net, mine) in enumerate(zip(ends_of, ends, hidden, strict=True))
    ]
    return stages(given, *pieces)


def _staged(pair: Pair) -> tuple[Answer, Stages | None]:
    """How a block is made, which is held here so that its id stays its own, and its stages."""
    return pair.block, pair.stages


class _Held:
    """What is kept of one matrix, by name: the first word says of which kind it is."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._changing = Lock()

    def get(self, name: tuple[Any, ...], room: int | None, make: Callable[..., Any], *args: Any) -> Any:
        """What is kept under that name, or made now; ``room`` is how many of its kind are kept, if that is limited."""
        with self._changing:
            if name in self._made:
                self._made.move_to_end(name)
                return self._made[name]
        value = make(*args)
        with self._changing:
            self._made[name] = value
            alike = [other for other in self._made if other[0] == name[0]]
            for other in alike[: max(0, len(alike) - room)] if room is not None else ():
                del self._made[other]
        return value


_RUNS: dict[str, _Held] = {}
cleared_by(_RUNS.clear)


def _held(run: str) -> _Held:
    """What is kept of a matrix; of others nothing is, from then on."""
    found = _RUNS.get(run)
    if found is None:
        _RUNS.clear()
        found = _RUNS.setdefault(run, _Held())
    return found
