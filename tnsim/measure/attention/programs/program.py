"""Programs: arithmetic of batches of small matrices, written down once and then run on batches of any length.

A batch has one matrix for every product of links. What is done to it depends on which covariances are zero, not on the
numbers, so it is recorded with symbols in place of arrays, and costs no thought when it is run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import autoray as ar

from tnsim.measure.attention.programs.liveness import Layout, laid_out

__all__ = ["DO", "VIEWS", "Assembler", "Program", "Symbol"]

Array = Any


@dataclass(frozen=True, eq=False)
class Symbol:
    """A matrix of a batch.

    Attributes:
        recorder: where what is done to it is written down.
        slot: its number.
        shape: rows and columns.
    """

    recorder: "Assembler"
    slot: int
    shape: tuple[int, int]

    def __add__(self, other: "Symbol") -> "Symbol":
        for total, term in ((self, other), (other, self)):
            what, factors, *_ = self.recorder.steps[term.slot]
            if what == "mul":  # a sum of products is taken in one go
                return self.recorder.note(
                    "addmul", (total, *map(self.recorder.symbol, factors)), (), self.shape
                )
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
class Assembler:
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

    def symbol(self, slot: int) -> Symbol:
        """The result of a step."""
        return Symbol(self, slot, self.steps[slot][3])

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
        kept = sorted(needed)
        last = {arg: slot for slot in kept for arg in self.steps[slot][1]}
        done: dict[int, list[int]] = {slot: [] for slot in kept}
        for arg, slot in last.items():
            done[slot].append(arg)
        steps = tuple(Instruction(slot, *self.steps[slot], tuple(done[slot])) for slot in kept)
        return Program(steps, result.slot, result.shape)


class Instruction(NamedTuple):
    """One operation.

    Attributes:
        slot: the number of its result.
        what: what is done.
        args: to which results.
        extra: with what else.
        shape: rows and columns of the result.
        done: results that are needed no more.
    """

    slot: int
    what: str
    args: tuple[int, ...]
    extra: tuple[Any, ...]
    shape: tuple[int, int]
    done: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Program:
    """Recorded arithmetic.

    Attributes:
        steps: operations, in order.
        result: the number of the result.
        shape: its shape.
    """

    steps: tuple[Instruction, ...]
    result: int
    shape: tuple[int, int]

    @cached_property
    def inputs(self) -> list[Any]:
        """The names of what is given."""
        return [step.extra[0] for step in self.steps if step.what == "given"]

    @cached_property
    def flops(self) -> float:
        """Floating-point operations of one product."""
        shapes = {step.slot: step.shape for step in self.steps}
        count = 0.0
        for step in self.steps:
            if step.what == "dot":
                count += sum(2.0 * prod(step.shape) * shapes[a][1] for a in step.args[::2])
            elif step.what in ("add", "mul", "scale"):
                count += prod(step.shape)
            elif step.what == "addmul":
                count += 2.0 * prod(step.shape)
            elif step.what == "contract":
                count += 2.0 * shapes[step.args[0]][0] * shapes[step.args[0]][1]
        return count

    @cached_property
    def layout(self) -> Layout:
        """Where results lie in one stretch of memory that they share: numbers for one product.

        A part of a matrix, or its transpose, lies where the matrix lies.
        """
        owner: dict[int, int] = {}
        last: dict[int, int] = {}
        for at, step in enumerate(self.steps):
            owner[step.slot] = owner[step.args[0]] if step.what in VIEWS else step.slot
            last |= dict.fromkeys((owner[slot] for slot in (step.slot, *step.args)), at)
        del last[owner[self.result]]
        shapes = {step.slot: step.shape for step in self.steps}
        needs = []
        for step in self.steps:
            size = 0 if step.what in VIEWS else prod(step.shape)
            passing = prod(shapes[step.args[0]]) if step.what == "contract" else 0
            needs.append((step.slot, size, passing))
        done: list[list[int]] = [[] for _ in self.steps]
        for slot, at in last.items():
            done[at].append(slot)
        return laid_out(needs, done)

    @property
    def peak(self) -> float:
        """Numbers that are held at once for one product."""
        return float(self.layout.total)

    def run(self, given: Callable[[Any], Array], count: int, like: Array) -> Array:
        """The result for a batch of ``count`` products, with arrays of its own for every step.

        Args:
            given: makes an input from its name, in whatever shape.
            count: how many products.
            like: an array of the kind that is wanted.
        """
        held: dict[int, Array] = {}
        for slot, what, args, extra, shape, done in self.steps:
            if what == "given":
                held[slot] = ar.do("reshape", given(extra[0]), (count, *shape))
            elif what in ("zeros", "ones"):
                held[slot] = ar.do(what, (count, *shape), like=like)
            else:
                held[slot] = DO[what]([held[a] for a in args], *extra)
            for a in done:
                del held[a]
        return held[self.result]


def _dot(args: list[Array]) -> Array:
    total = args[0] @ args[1]
    for x, y in zip(args[2::2], args[3::2], strict=True):
        total = total.baddbmm_(x, y) if hasattr(total, "baddbmm_") else total + x @ y
    return total


VIEWS: dict[str, Callable[..., Array]] = {
    "turn": lambda x: x[0].swapaxes(1, 2),
    "rows": lambda x, start, stop: x[0][:, start:stop],
    "columns": lambda x, start, stop: x[0][:, :, start:stop],
}
DO: dict[str, Callable[..., Array]] = {
    **VIEWS,
    "add": lambda x: x[0] + x[1],
    "mul": lambda x: x[0] * x[1],
    "addmul": lambda x: x[0] + x[1] * x[2],
    "scale": lambda x, factor: x[0] * factor,
    "trace": lambda x: x[0].diagonal(0, 1, 2).sum(-1)[:, None, None],
    "contract": lambda x: (x[0] * x[1]).reshape(x[0].shape[0], -1).sum(-1)[:, None, None],
    "cat": lambda x, axis: ar.do("concatenate", tuple(x), axis=axis + 1),
    "dot": _dot,
}
