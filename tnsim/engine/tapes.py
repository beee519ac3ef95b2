"""Tape: what is done to arrays, written down once, to be done again to others of the same shapes."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tnsim.engine.costs import Cost
from tnsim.engine.effort import weigh
from tnsim.engine.replay import Recipe, Slot, Step

__all__ = ["Tape", "UntapedError", "current_tape", "taping"]

Array = Any


class UntapedError(RuntimeError):
    """An array that the tape knows nothing of, or an operation that cannot be repeated."""


class Tape:
    """Operations as they are noted.

    Args:
        arrays: the arrays that operations start from; placeholders of the right shape will do.
        is_array: tells arrays from other arguments.
        noted: called for every operation.
        memory: for an array the memory it lies in (the same for two views of it), and its bytes.
    """

    def __init__(
        self,
        arrays: Sequence[Array],
        is_array: Callable[[Any], bool],
        noted: Callable[[], object] = lambda: None,
        memory: Callable[[Any], tuple[Hashable, float]] = lambda x: (id(x), float(x.nbytes)),
    ):
        self._is_array, self._noted = is_array, noted
        self._memory = [memory(x) for x in arrays]
        self._memory_of, self._given = memory, len(arrays)
        self._numbers = {id(x): k for k, x in enumerate(arrays)}
        self._alive = list(arrays)  # so that ids stay theirs
        self._steps: list[Step] = []

    def note(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        value: Any,
        cost: Cost | None = None,
    ) -> None:
        """Write down that ``value`` is ``fn(*args, **kwargs)``: an array, or a tuple or list of arrays.

        Args:
            fn: what is done.
            args: its arguments.
            kwargs: its named arguments.
            value: what it gives.
            cost: its price; the bytes are those it takes on the way, arguments and results included.

        Raises:
            UntapedError: if an argument is an array that comes from nowhere.
        """
        weigh()
        single = self._is_array(value)
        arrays = [value] if single else list(value)
        known = tuple(self._known(x) for x in args), {k: self._known(x) for k, x in kwargs.items()}
        numbers = []
        for x in arrays:
            numbers.append(len(self._alive))
            self._numbers[id(x)] = len(self._alive)
            self._alive.append(x)
            self._memory.append(self._memory_of(x))
        self._steps.append(Step(fn, *known, tuple(numbers), single, cost or Cost()))
        self._noted()

    def recipe(self, results: Sequence[Array]) -> Recipe:
        """The operations that lead to ``results``, and no others."""
        wanted = [self._known(x).number for x in results]
        return Recipe.leading(self._steps, range(self._given), wanted, tuple(self._memory))

    def _known(self, x: Any) -> Any:
        if self._is_array(x):
            if id(x) not in self._numbers:
                raise UntapedError(f"an array of shape {tuple(x.shape)} comes from nowhere.")
            return Slot(self._numbers[id(x)])
        if isinstance(x, tuple | list) and any(map(self._holds, x)):
            return type(x)(map(self._known, x))
        return x

    def _holds(self, x: Any) -> bool:
        return self._is_array(x) or (isinstance(x, tuple | list) and any(map(self._holds, x)))


_TAPE: ContextVar[Tape | None] = ContextVar("tape", default=None)


def current_tape() -> Tape | None:
    """The tape that is being written, if there is one."""
    return _TAPE.get()


@contextmanager
def taping(tape: Tape) -> Iterator[Tape]:
    """Write on ``tape`` what contractions are made inside."""
    token = _TAPE.set(tape)
    try:
        yield tape
    finally:
        _TAPE.reset(token)
