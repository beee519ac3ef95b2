"""Programs: arithmetic of batches of small matrices, written down once and then run on batches of any length.

A batch has one matrix for every product of links. What is done to it depends on which covariances are zero, not on the
numbers, so it is recorded with symbols in place of arrays, and costs no thought when it is run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import autoray as ar

__all__ = ["Program", "Recorder", "Symbol"]

Array = Any


@dataclass(frozen=True, eq=False)
class Symbol:
    """A matrix of a batch.

    Attributes:
        recorder: where what is done to it is written down.
        slot: its number.
        shape: rows and columns.
    """

    recorder: "Recorder"
    slot: int
    shape: tuple[int, int]

    def __add__(self, other: "Symbol") -> "Symbol":
        return self.recorder.note("add", (self, other), (), self.shape)

    def __mul__(self, other: "Symbol | float") -> "Symbol":
        """Entry by entry; one of the two may have a single entry."""
        if not isinstance(other, Symbol):
            return self.recorder.note("scale", (self,), (float(other),), self.shape)
        shape = (max(self.shape[0], other.shape[0]), max(self.shape[1], other.shape[1]))
        return self.recorder.note("mul", (self, other), (), shape)

    @property
    def turned(self) -> "Symbol":
        """Transposed."""
        return self.recorder.note("turn", (self,), (), self.shape[::-1])

    def rows(self, start: int, stop: int) -> "Symbol":
        """Some rows."""
        if (start, stop) == (0, self.shape[0]):
            return self
        return self.recorder.note("rows", (self,), (start, stop), (stop - start, self.shape[1]))

    def columns(self, start: int, stop: int) -> "Symbol":
        """Some columns."""
        if (start, stop) == (0, self.shape[1]):
            return self
        return self.recorder.note("columns", (self,), (start, stop), (self.shape[0], stop - start))

    @property
    def trace(self) -> "Symbol":
        """The trace, as a matrix of one entry."""
        return self.recorder.note("trace", (self,), (), (1, 1))

    def contracted(self, other: "Symbol") -> "Symbol":
        """The sum over all entries of self ∘ other, as a matrix of one entry."""
        return self.recorder.note("contract", (self, other), (), (1, 1))


@dataclass
class Recorder:
    """Where arithmetic is written down; the same done twice is written once."""

    steps: list[tuple[str, tuple[int, ...], tuple[Any, ...], tuple[int, int]]] = field(default_factory=list)
    known: dict[Any, Symbol] = field(default_factory=dict)

    def note(
        self, what: str, args: Sequence[Symbol], extra: tuple[Any, ...], shape: tuple[int, int]
    ) -> Symbol:
        """A result of an operation."""
        key = (what, tuple(x.slot for x in args), extra)
        if key not in self.known:
            self.steps.append((what, key[1], extra, shape))
            self.known[key] = Symbol(self, len(self.steps) - 1, shape)
        return self.known[key]

    def given(self, name: Any, shape: tuple[int, int]) -> Symbol:
        """An input."""
        return self.note("given", (), (name,), shape)

    def zeros(self, shape: tuple[int, int]) -> Symbol:
        """Zeros."""
        return self.note("zeros", (), shape, shape)

    def ones(self) -> Symbol:
        """One."""
        return self.note("ones", (), (), (1, 1))

    def cat(self, parts: Sequence[Symbol], axis: int) -> Symbol:
        """Matrices one below the other (axis 0) or side by side (axis 1)."""
        if len(parts) == 1:
            return parts[0]
        total = sum(x.shape[axis] for x in parts)
        shape = (total, parts[0].shape[1]) if axis == 0 else (parts[0].shape[0], total)
        return self.note("cat", parts, (axis,), shape)

    def dot(self, pairs: Sequence[tuple[Symbol, Symbol]]) -> Symbol:
        """Σ x y over pairs of matrices."""
        shape = (pairs[0][0].shape[0], pairs[0][1].shape[1])
        return self.note("dot", [z for pair in pairs for z in pair], (), shape)

    def program(self, result: Symbol) -> "Program":
        """What leads to a result, and no more."""
        needed = {result.slot}
        for slot in range(len(self.steps) - 1, -1, -1):
            if slot in needed:
                needed.update(self.steps[slot][1])
        last: dict[int, int] = {}
        kept = sorted(needed)
        for slot in kept:
            for arg in self.steps[slot][1]:
                last[arg] = slot
        done = {slot: tuple(a for a in set(self.steps[slot][1]) if last[a] == slot) for slot in kept}
        steps = tuple((slot, *self.steps[slot], done[slot]) for slot in kept)
        return Program(steps, result.slot, result.shape)


@dataclass(frozen=True)
class Program:
    """Recorded arithmetic.

    Attributes:
        steps: for every step its number, what is done, to which results, with what else, the shape, and what is then
            needed no more.
        result: the number of the result.
        shape: its shape.
    """

    steps: tuple[tuple[int, str, tuple[int, ...], tuple[Any, ...], tuple[int, int], tuple[int, ...]], ...]
    result: int
    shape: tuple[int, int]

    @cached_property
    def inputs(self) -> list[Any]:
        """The names of what is given."""
        return [extra[0] for _, what, _, extra, *_ in self.steps if what == "given"]

    @cached_property
    def flops(self) -> float:
        """Floating-point operations of one product."""
        shapes = {slot: shape for slot, _, _, _, shape, _ in self.steps}
        count = 0.0
        for _, what, args, _, (rows, columns), _ in self.steps:
            if what == "dot":
                count += sum(2.0 * rows * columns * shapes[a][1] for a in args[::2])
            elif what in ("add", "mul", "scale"):
                count += rows * columns
            elif what == "contract":
                count += 2.0 * shapes[args[0]][0] * shapes[args[0]][1]
        return count

    @cached_property
    def peak(self) -> float:
        """Numbers that are held at once for one product."""
        held = most = 0.0
        size = {slot: float(shape[0] * shape[1]) for slot, _, _, _, shape, _ in self.steps}
        for slot, *_, done in self.steps:
            held += size[slot]
            most = max(most, held)
            held -= sum(size[d] for d in done)
        return most

    def run(self, given: Callable[[Any], Array], count: int, like: Array) -> Array:
        """The result for a batch of ``count`` products.

        Args:
            given: makes an input from its name, shape ``(count, rows, columns)``.
            count: how many products.
            like: an array of the kind that is wanted.
        """
        held: dict[int, Array] = {}
        for slot, what, args, extra, shape, done in self.steps:
            if what == "given":
                held[slot] = given(extra[0])
            elif what in ("zeros", "ones"):
                held[slot] = ar.do(what, (count, *shape), like=like)
            else:
                held[slot] = _DO[what]([held[a] for a in args], *extra)
            for a in done:
                del held[a]
        return held[self.result]


def _dot(args: list[Array]) -> Array:
    total = args[0] @ args[1]
    for x, y in zip(args[2::2], args[3::2], strict=True):
        total = total.baddbmm_(x, y) if hasattr(total, "baddbmm_") else total + x @ y
    return total


_DO: dict[str, Callable[..., Array]] = {
    "add": lambda x: x[0] + x[1],
    "mul": lambda x: x[0] * x[1],
    "scale": lambda x, factor: x[0] * factor,
    "turn": lambda x: x[0].swapaxes(1, 2),
    "rows": lambda x, start, stop: x[0][:, start:stop],
    "columns": lambda x, start, stop: x[0][:, :, start:stop],
    "trace": lambda x: x[0].diagonal(0, 1, 2).sum(-1)[:, None, None],
    "contract": lambda x: (x[0] * x[1]).reshape(x[0].shape[0], -1).sum(-1)[:, None, None],
    "cat": lambda x, axis: ar.do("concatenate", tuple(x), axis=axis + 1),
    "dot": _dot,
}
