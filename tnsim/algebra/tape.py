"""Tape: what is done to arrays, written down once, to be done again to others of the same shapes."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import autoray as ar
from tqdm import tqdm

__all__ = ["Recipe", "Tape", "UntapedError", "current_tape", "taping"]

Array = Any

_SMALL = 2.0**16  # bytes of an array that is kept from one time to the next


class UntapedError(RuntimeError):
    """An array that the tape knows nothing of, or an operation that cannot be repeated."""


@dataclass(frozen=True)
class _Slot:
    """Where an array is found when the tape is played."""

    number: int


@dataclass(frozen=True)
class _Step:
    """One operation: its arguments with slots in place of arrays, where results go, what is not needed any more."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[int, ...]
    single: bool
    done: tuple[int, ...] = ()
    work: float = 0.0  # bytes it takes on the way, arguments and results included

    def into(self, held: dict[int, Array]) -> None:
        """Do it with the arrays that are held, keep the results with them, and let go of what is done."""
        args = [held[x.number] if type(x) is _Slot else _filled(x, held) for x in self.args]
        named = {k: _filled(x, held) for k, x in self.kwargs.items()} if self.kwargs else {}
        value = self.fn(*args, **named)
        if self.single:
            held[self.results[0]] = value
        else:
            held.update(zip(self.results, value, strict=True))
        del args, value, named  # held no longer than needed
        for number in self.done:
            del held[number]


@dataclass(frozen=True)
class Recipe:
    """Operations on arrays, in order.

    Attributes:
        steps: the operations.
        results: where the results are found.
        peak: bytes of the arrays that are held at once on the way, besides those given.
        whole: bytes held in the end if nothing is let go, as where gradients are to come; what single steps take on
            the way included, for they keep that too.
        fixed: operations that read no array that is given: what they make is small, made once, and kept.
    """

    steps: tuple[_Step, ...]
    results: tuple[int, ...]
    peak: float = 0.0
    whole: float = 0.0
    fixed: tuple[_Step, ...] = ()

    @cached_property
    def _constants(self) -> dict[int, Array]:
        """What the fixed operations make, as far as others read it."""
        made: dict[int, Array] = {}
        for step in self.fixed:
            step.into(made)
        read = {n for step in self.steps for n in _slots((step.args, step.kwargs))} | set(self.results)
        return {n: x for n, x in made.items() if n in read}

    def __call__(self, arrays: Sequence[Array], progress: bool = False) -> list[Array]:
        """Do it to ``arrays``. What is not needed any more is let go on the way.

        Args:
            arrays: as many as were given when the tape was written, with the same shapes.
            progress: show a bar if it takes more than two seconds.
        """
        held = {**self._constants, **dict(enumerate(arrays))}
        for step in tqdm(self.steps, "contracting", delay=2, leave=False, disable=not progress):
            step.into(held)
        kept = set(map(id, self._constants.values()))
        results = [held[number] for number in self.results]
        return [ar.do("copy", x) if id(x) in kept else x for x in results]  # nobody shares what is kept


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
        self._steps: list[_Step] = []

    def note(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        value: Any,
        work: float = 0.0,
    ) -> None:
        """Write down that ``value`` is ``fn(*args, **kwargs)``: an array, or a tuple or list of arrays.

        Args:
            fn: what is done.
            args: its arguments.
            kwargs: its named arguments.
            value: what it gives.
            work: bytes it takes on the way, arguments and results included.

        Raises:
            UntapedError: if an argument is an array that comes from nowhere.
        """
        single = self._is_array(value)
        arrays = [value] if single else list(value)
        known = tuple(self._known(x) for x in args), {k: self._known(x) for k, x in kwargs.items()}
        numbers = []
        for x in arrays:
            numbers.append(len(self._alive))
            self._numbers[id(x)] = len(self._alive)
            self._alive.append(x)
            self._memory.append(self._memory_of(x))
        self._steps.append(_Step(fn, *known, tuple(numbers), single, work=work))
        self._noted()

    def recipe(self, results: Sequence[Array]) -> Recipe:
        """The operations that lead to ``results``, and no others."""
        wanted = tuple(self._known(x).number for x in results)
        needed = set(wanted)
        kept: list[_Step] = []
        for step in reversed(self._steps):
            if needed.isdisjoint(step.results):
                continue
            used = set(_slots((step.args, step.kwargs)))
            last = (used - needed) | (set(step.results) - needed)
            needed |= used
            kept.append(replace(step, done=tuple(sorted(last))))
        steps = tuple(reversed(kept))
        known: set[int] = set()
        fixed: list[_Step] = []
        for step in steps:
            small = all(self._memory[n][1] <= _SMALL for n in step.results)
            if small and known.issuperset(_slots((step.args, step.kwargs))):
                known.update(step.results)
                fixed.append(replace(step, done=()))
        others = tuple(step for step in steps if known.isdisjoint(step.results))
        return Recipe(others, wanted, self._peak(steps), self._whole(steps), tuple(fixed))

    def _peak(self, steps: Sequence[_Step]) -> float:
        """Bytes that are held at once, besides the arrays given."""
        given = {key for key, _ in self._memory[: self._given]}
        users: Counter[Hashable] = Counter()
        held = most = 0.0
        for step in steps:
            own = sum(dict(self._memory[n] for n in _slots((step.args, step.kwargs))).values())
            most = max(most, held + max(0.0, step.work - own))
            for n in step.results:
                key, size = self._memory[n]
                if key not in given:
                    held += size if not users[key] else 0.0
                    users[key] += 1
            most = max(most, held)
            for n in step.done:
                key, size = self._memory[n]
                if key not in given:
                    users[key] -= 1
                    held -= size if not users[key] else 0.0
        return most

    def _whole(self, steps: Sequence[_Step]) -> float:
        """Bytes of all that is made, besides the arrays given."""
        given = {key for key, _ in self._memory[: self._given]}
        made: dict[Hashable, float] = {}
        passing = 0.0
        for step in steps:
            arrays = dict(self._memory[n] for n in (*_slots((step.args, step.kwargs)), *step.results))
            passing += max(0.0, step.work - sum(arrays.values()))
            made |= {key: size for key, size in arrays.items() if key not in given}
        return passing + sum(made.values())

    def _known(self, x: Any) -> Any:
        if self._is_array(x):
            if id(x) not in self._numbers:
                raise UntapedError(f"an array of shape {tuple(x.shape)} comes from nowhere.")
            return _Slot(self._numbers[id(x)])
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


def _filled(x: Any, held: dict[int, Array]) -> Any:
    kind = type(x)
    if kind is _Slot:
        return held[x.number]
    if kind is tuple or kind is list:
        return kind([_filled(y, held) for y in x])
    return x


def _slots(x: Any) -> Iterator[int]:
    if isinstance(x, _Slot):
        yield x.number
    elif isinstance(x, tuple | list):
        for y in x:
            yield from _slots(y)
    elif isinstance(x, dict):
        yield from _slots(tuple(x.values()))
