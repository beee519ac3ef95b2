"""Workers: blocks of a Gram matrix made by an executor, on this machine or on others.

Whatever has a ``submit`` that gives futures will do: executors of ``concurrent.futures``, of loky and mpi4py, a client of
``dask.distributed``. Nothing but ``submit`` and ``result`` is asked of it; where futures call back when they are done,
blocks are taken as they come, else in order.
"""

import os
from asyncio import CancelledError as Cancelled
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import suppress
from inspect import isawaitable
from queue import SimpleQueue
from typing import Any, Protocol
from uuid import uuid4

import numpy as np

from tnsim.algebra.networks.network import Network
from tnsim.analysis.grams.pairs import How
from tnsim.analysis.grams.shelf import Shelf
from tnsim.analysis.grams.tasks import Packed, Parcel, Task, done
from tnsim.common.border import shown
from tnsim.common.delay import waiting
from tnsim.measure.pairings.measure import Measure

__all__ = ["Executor", "WorkerError", "executing", "spread", "tasks_of"]

_FEW = 12  # parts of which every block is a task of its own
_SIDE, _SIDES = 10, 6  # parts along the side of a tile, at most; tiles along the side of a matrix, at least
_LARGE = 2**28  # bytes of parts that a task of several blocks carries, at most
_ATTEMPTS = 3  # at a block whose worker dies
_DEAD = (BrokenExecutor, CancelledError, Cancelled, ConnectionError, EOFError)
_NAMED = {"KilledWorker", "CommClosedError"}  # what dask calls it
_HINT = (
    "No block came back at all: workers import what they need, so a class of your own (a law) has to be in a module, "
    'not in a notebook; and a script that starts processes does so under if __name__ == "__main__".'
)


class Executor(Protocol):
    """What makes blocks."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """Call ``fn(*args)`` somewhere; a future of its result."""


class WorkerError(RuntimeError):
    """Workers died, and the executor takes no more tasks, or a block was lost again and again.

    What was made until then is in the checkpoint file, if there is one: call again, and only the others are made.

    Example:
        >>> import concurrent.futures, tnsim
        >>> models = [tnsim.nn.BilinearLayer(4, 8, 3) for _ in range(3)]
        >>> closed = concurrent.futures.ThreadPoolExecutor(1)
        >>> closed.shutdown()
        >>> try:
        ...     tnsim.gram(models, executor=closed, progress=False)
        ... except tnsim.WorkerError:
        ...     print("no workers")
        no workers
    """


def executing(name: str, value: Any) -> Any:
    """What can make blocks.

    Raises:
        TypeError: for anything else; it says what to write.
    """
    if callable(getattr(value, "submit", None)) and not isinstance(value, type):
        return value
    instead = f"{name}=concurrent.futures.ProcessPoolExecutor(2), or a Client of dask.distributed"
    raise TypeError(f"{name} is {shown(value)}; write {instead}.")


def tasks_of(
    parts: Sequence[Network],
    law: Measure,
    how: How,
    pairs: Sequence[tuple[int, int]],
    kept: int | None,
    place: Shelf,
) -> list[Task]:
    """Tasks for the blocks: of few or large parts one for every block, of many those of up to ten by ten parts together.

    Args:
        parts: single models, and stacks of models.
        law: the law of the input.
        how: method, and which outputs.
        pairs: the blocks, by the numbers of their parts.
        kept: how many parts are kept as right factors; ``None`` makes blocks as wholes.
        place: where tensors are put for processes of this machine.
    """
    run, known = uuid4().hex, dict[int, Packed]()
    found = []
    largest = max(sum(x.data.nbytes for f in net.polys for t in f.terms for x in t.tensors) for net in parts)
    side = min(_SIDE, -(-len(parts) // _SIDES), _LARGE // (2 * largest + 1))
    side = 1 if len(parts) <= _FEW else max(1, side)
    tiles: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i, j in pairs:
        tiles.setdefault((i // side, j // side), []).append((i, j))
    for tile in sorted(tiles.values(), key=len, reverse=True):  # or workers end far apart
        used = tuple(dict.fromkeys(k for pair in tile for k in pair))
        nets = tuple(parts[k] for k in used)
        found.append(Task(run, tuple(tile), used, Parcel.of((nets, law), known, place.put), how, kept))
    return found


def spread(
    executor: Executor,
    tasks: Sequence[Task],
    finished: Callable[[tuple[int, int], np.ndarray], None],
    checkpoint: str | os.PathLike[str] | None,
    progress: bool,
) -> None:
    """Have all tasks done.

    Args:
        executor: who does them.
        tasks: what to do.
        finished: called with every block as it comes.
        checkpoint: where blocks are kept, for messages.
        progress: show a bar if it takes more than two seconds.

    Raises:
        WorkerError: if workers died, and trying again was of no use.
        TypeError: if what a block is made of cannot be sent to workers.
    """
    crew = _Crew(executor)
    count, whole = 0, sum(len(task.pairs) for task in tasks)

    def lost(what: str, error: BaseException) -> WorkerError:
        where = (
            f"kept in {os.fspath(checkpoint)}: call again with a living executor, and only the others are made."
            if checkpoint is not None
            else "lost; name a file in checkpoint=, and a call after that goes on from there."
        )
        said = (
            f"{what} ({type(error).__name__}: {error}). {count} of {whole} blocks were made and are {where}"
        )
        return WorkerError(said if count else f"{said} {_HINT}")

    def give(task: Task, attempt: int) -> None:
        try:
            crew.give(task, attempt)
        except Exception as error:  # one that is broken, shut down or closed
            if _is_about_sending(error):
                raise _unsent(error) from error
            raise lost("the executor takes no more tasks", error) from error

    with waiting("pairs of models", whole, progress=progress) as bar:
        try:
            for task in tasks:
                give(task, 0)
            while crew.busy:
                task, attempt, future = crew.next()
                try:
                    blocks = future.result()
                except (Exception, Cancelled) as error:
                    if _is_about_sending(error):
                        raise _unsent(error) from error
                    if not _is_dead(error):
                        raise
                    if attempt + 1 == _ATTEMPTS:
                        raise lost(
                            f"block {task.pairs[0]} was lost {_ATTEMPTS} times with its worker", error
                        ) from error
                    give(task, attempt + 1)
                else:
                    if isawaitable(blocks):
                        raise TypeError(
                            "this executor answers later than it is asked; pass a client that is not asynchronous."
                        )
                    for pair, block in zip(task.pairs, blocks, strict=True):
                        finished(pair, block)
                    count += len(blocks)
                    bar.update(len(blocks))
        finally:
            crew.stop()


class _Crew:
    """Tasks that were given to an executor."""

    def __init__(self, executor: Executor):
        self._executor = executor
        self._given: list[tuple[Task, int, Any]] = []
        self._open: set[int] = set()
        self._ready: SimpleQueue[int] = SimpleQueue()

    @property
    def busy(self) -> bool:
        """Whether there is something to wait for."""
        return bool(self._open)

    def give(self, task: Task, attempt: int) -> None:
        """Have a task done."""
        future = self._executor.submit(done, task, attempt)
        ticket = len(self._given)
        self._given.append((task, attempt, future))
        self._open.add(ticket)
        if callable(call := getattr(future, "add_done_callback", None)):
            call(lambda _: self._ready.put(ticket))
        else:
            self._ready.put(ticket)

    def next(self) -> tuple[Task, int, Any]:
        """The next one that is done, or whose result has to be waited for; it is not held any longer."""
        ticket = self._ready.get()
        self._open.remove(ticket)
        found = self._given[ticket]
        self._given[ticket] = (found[0], found[1], None)
        return found

    def stop(self) -> None:
        """Call off what has not begun."""
        for ticket in self._open:
            if callable(cancel := getattr(self._given[ticket][2], "cancel", None)):
                with suppress(Exception):
                    cancel()
        self._open.clear()


def _is_dead(error: BaseException) -> bool:
    """Whether not the block but its worker failed."""
    return isinstance(error, _DEAD) or any(kind.__name__ in _NAMED for kind in type(error).__mro__)


def _is_about_sending(error: BaseException) -> bool:
    """Whether something could not be pickled."""
    return "pickl" in f"{type(error).__name__} {error}".lower()


def _unsent(error: BaseException) -> TypeError:
    return TypeError(
        f"what this matrix is made of cannot be sent to workers ({error}); a law of your own has to be a class in a module "
        "that they can import."
    )
