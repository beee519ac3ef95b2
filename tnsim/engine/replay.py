"""Recipes: operations on arrays, in order, with their price; and what of them some arrays decide alone."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import autoray as ar

from tnsim.common.delay import waiting
from tnsim.engine.costs import Cost

__all__ = ["Recipe", "Slot", "Step"]

Array = Any

_LONG = 1e9  # effort that may take more than a moment, and is worth a bar
_SMALL = 2.0**16  # bytes of an array that is kept from one time to the next


@dataclass(frozen=True)
class Slot:
    """Where an array is found when a recipe is followed."""

    number: int


@dataclass(frozen=True, eq=False)
class Step:
    """One operation.

    Attributes:
        fn: what is done.
        args: its arguments, with slots in place of arrays.
        kwargs: its named arguments.
        results: where results go.
        single: whether the result is one array, not several.
        cost: its price; the bytes are those it takes on the way, arguments and results included.
        done: what is not needed any more.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[int, ...]
    single: bool
    cost: Cost = field(default_factory=Cost)
    done: tuple[int, ...] = ()

    @cached_property
    def reads(self) -> frozenset[int]:
        """Where its arguments are."""
        return frozenset(_slots((self.args, self.kwargs)))

    @property
    def plain(self) -> bool:
        """Whether it adds nothing up: one operation for every number that it writes, or none."""
        return self.cost.flops <= 2 * self.cost.writes

    def into(self, held: dict[int, Array]) -> None:
        """Do it with the arrays that are held, keep the results with them, and let go of what is done."""
        args = [held[x.number] if type(x) is Slot else _filled(x, held) for x in self.args]
        named = {k: _filled(x, held) for k, x in self.kwargs.items()} if self.kwargs else {}
        value = self.fn(*args, **named)
        if self.single:
            held[self.results[0]] = value
        else:
            held.update(zip(self.results, value, strict=True))
        del args, value, named  # held no longer than needed
        for number in self.done:
            del held[number]


@dataclass(frozen=True, eq=False)
class Recipe:
    """Operations on arrays, in order. What is not needed any more is let go on the way.

    Attributes:
        steps: the operations.
        given: where the arrays are put that it starts from.
        results: where the results are found.
        memory: for every number the memory that its array lies in (the same for two views of it), and its bytes.
    """

    steps: tuple[Step, ...]
    given: tuple[int, ...]
    results: tuple[int, ...]
    memory: Sequence[tuple[Hashable, float]]

    @classmethod
    def leading(
        cls,
        steps: Sequence[Step],
        given: Sequence[int],
        results: Sequence[int],
        memory: Sequence[tuple[Hashable, float]],
    ) -> "Recipe":
        """Those of the steps that lead from what is given to the results, and no others."""
        have, seen, kept = set(given), set(results), []
        needed = seen - have
        for step in reversed(steps):
            if needed.isdisjoint(step.results):
                continue
            last = (step.reads | set(step.results)) - seen
            seen |= step.reads
            needed |= step.reads - have
            kept.append(replace(step, done=tuple(sorted(last))))
        return cls(tuple(reversed(kept)), tuple(given), tuple(results), memory)

    def __call__(
        self, arrays: Sequence[Array], progress: bool = False, what: str = "contracting"
    ) -> list[Array]:
        """Do it to ``arrays``.

        Args:
            arrays: as many as are given, with the shapes for which it was written.
            progress: show a bar if it takes more than two seconds.
            what: its label.
        """
        held = {**self._constants, **dict(zip(self.given, arrays, strict=True))}
        with waiting(what, len(self._others), progress=progress and self.cost.effort > _LONG) as bar:
            for step in self._others:
                step.into(held)
                bar.update()
        kept = set(map(id, self._constants.values()))
        results = [held[number] for number in self.results]
        return [ar.do("copy", x) if id(x) in kept else x for x in results]  # nobody shares what is kept

    def split(self, *groups: Sequence[int]) -> tuple[tuple["Recipe", ...], "Recipe"]:
        """What groups of given arrays decide alone, and the rest.

        Arrays may be in several groups: what these decide alone is then left to the first group that it is needed of.
        A piece makes as little as possible: where something that adds nothing up (a view, a sum, a repetition) takes
        more memory than what it is made of, that is kept in its place, and it is left to the rest.

        Args:
            groups: numbers of given arrays.

        Returns:
            For every group a recipe that is given its arrays; and one that is given all arrays, then the results of
            these recipes, and makes the same results as this one, to the last bit.
        """
        group_of: dict[int, int] = {}
        for k, group in enumerate(groups):
            for n in self._worth_keeping(group):
                group_of.setdefault(n, k)
        rest = Recipe.leading(self.steps, (*self.given, *group_of), self.results, self.memory)
        read = rest._read
        kept = [[n for n, of in group_of.items() if of == k and n in read] for k in range(len(groups))]
        pieces = tuple(
            Recipe.leading(self.steps, group, numbers, self.memory)
            for group, numbers in zip(groups, kept, strict=True)
        )
        return pieces, replace(rest, given=(*self.given, *(n for numbers in kept for n in numbers)))

    @cached_property
    def cost(self) -> Cost:
        """The price. The bytes are those held at once on the way, besides the arrays given."""
        costs = [step.cost for step in self.steps]
        return Cost(
            sum(c.flops for c in costs),
            self._peak,
            sum(c.contractions for c in costs),
            sum(c.writes for c in costs),
            starts=sum(c.starts or 1 for c in costs),
            machine=next((c.machine for c in costs if c.machine), None),
        )

    @cached_property
    def whole(self) -> float:
        """Bytes held in the end if nothing is let go, as where gradients are to come.

        What single steps take on the way is included, for they keep that too.
        """
        made: dict[Hashable, float] = {}
        passing = 0.0
        for step in self.steps:
            arrays = dict(self.memory[n] for n in (*step.reads, *step.results))
            passing += max(0.0, step.cost.bytes - sum(arrays.values()))
            made |= arrays
        return passing + sum(size for key, size in made.items() if key not in self._outside)

    @cached_property
    def made(self) -> float:
        """Bytes of the results, besides the arrays given."""
        arrays = dict(self.memory[n] for n in self.results)
        return sum(size for key, size in arrays.items() if key not in self._outside)

    @cached_property
    def _peak(self) -> float:
        users: Counter[Hashable] = Counter()
        held = most = 0.0
        for step in self.steps:
            own = sum(dict(self.memory[n] for n in step.reads).values())
            most = max(most, held + max(0.0, step.cost.bytes - own))
            for n in step.results:
                key, size = self.memory[n]
                if key not in self._outside:
                    held += size if not users[key] else 0.0
                    users[key] += 1
            most = max(most, held)
            for n in step.done:
                key, size = self.memory[n]
                if key not in self._outside:
                    users[key] -= 1
                    held -= size if not users[key] else 0.0
        return most

    @cached_property
    def _outside(self) -> set[Hashable]:
        """The memory that given arrays lie in."""
        return {self.memory[n][0] for n in self.given}

    @cached_property
    def _read(self) -> set[int]:
        """Numbers of arrays that are read, or are results."""
        return set(self.results).union(*(step.reads for step in self.steps))

    @cached_property
    def _fixed(self) -> dict[int, Step]:
        """Steps that read no array that is given, by their results: what they make is small, made once, and kept."""
        found: dict[int, Step] = {}
        for step in self.steps:
            small = all(self.memory[n][1] <= _SMALL for n in step.results)
            if small and found.keys() >= step.reads:
                found |= dict.fromkeys(step.results, step)
        return found

    @cached_property
    def _others(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if self._fixed.keys().isdisjoint(step.results))

    @cached_property
    def _constants(self) -> dict[int, Array]:
        """What the fixed operations make, as far as others read it."""
        made: dict[int, Array] = {}
        for step in dict.fromkeys(self._fixed.values()):
            replace(step, done=()).into(made)
        read = set(self.results).union(*(step.reads for step in self._others))
        return {n: x for n, x in made.items() if n in read}

    def _worth_keeping(self, group: Sequence[int]) -> list[int]:
        """Numbers of arrays that a group decides alone, and that are better kept than made anew.

        For every array that the group decides, ``least`` is how many bytes have to be kept in order to have it.
        """
        least, kept = dict.fromkeys(group, 0.0), []
        for step in self.steps:
            if not least.keys() >= step.reads:
                continue
            source = sum(least[n] for n in step.reads)
            places = {self.memory[n][0] for n in step.reads}
            for n in step.results:
                key, size = self.memory[n]
                own = 0.0 if key in self._outside else size
                if n in self._fixed:
                    least[n] = 0.0
                elif step.plain and (source < own or (source == own and key in places)):
                    least[n] = source
                else:
                    least[n] = own
                    kept.append(n)
        return kept


def _filled(x: Any, held: dict[int, Array]) -> Any:
    kind = type(x)
    if kind is Slot:
        return held[x.number]
    if kind is tuple or kind is list:
        return kind([_filled(y, held) for y in x])
    return x


def _slots(x: Any) -> list[int]:
    """The numbers of all slots in nested arguments."""
    found, left = [], [x]
    while left:
        y = left.pop()
        if isinstance(y, Slot):
            found.append(y.number)
        elif isinstance(y, tuple | list):
            left += y
        elif isinstance(y, dict):
            left += y.values()
    return found
