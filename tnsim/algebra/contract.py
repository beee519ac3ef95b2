"""Contraction: from tensors with names to a number, and what that will cost.

The only file that imports cotengra. Contraction trees are searched once for every structure (the
pattern of indices and their sizes) and kept; index *names* do not matter.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import autoray as ar
import cotengra as ctg
import quimb.tensor as qtn

from tnsim.algebra.wires import rename

__all__ = ["Contraction", "Cost", "CostError", "check_budget", "contract", "pricing", "total"]

Array = Any

_OPTIMAL_UP_TO = 8  # tensors; beyond, an exhaustive path search takes longer than it saves
_GREEDY_REPEATS = 32
_WORTH_SEARCHING = 1e7  # flops; below, contracting takes less time than a search


_BILL: ContextVar[list["Cost"] | None] = ContextVar("bill", default=None)


class CostError(RuntimeError):
    """The computation is dearer than the budget allows; the message carries the price."""


@dataclass(frozen=True)
class Cost:
    """The price of a computation, known before it runs.

    Attributes:
        flops: floating-point operations (a multiply-add counts as two).
        bytes: the largest memory that intermediate tensors of one contraction need at once.
        contractions: how many networks are contracted.
    """

    flops: float = 0.0
    bytes: float = 0.0
    contractions: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.flops + other.flops,
            max(self.bytes, other.bytes),
            self.contractions + other.contractions,
        )

    def __str__(self) -> str:
        return f"{self.contractions} contractions, {self.flops:.1e} flops and {_human(self.bytes)}"


def _human(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


@dataclass(frozen=True)
class Contraction:
    """A closed or open network, ready to be contracted: tensors, the indices to keep, and a weight.

    Attributes:
        tensors: the tensors; an index on three or more of them is a hyperedge.
        output: indices of the result, in order. Two of them may have been identified by ``joins``;
            the result is then diagonal in that pair.
        joins: a map from index to the index that stands for it (see :func:`tnsim.algebra.wires.identify`).
        weight: a factor for the result.
    """

    tensors: tuple[qtn.Tensor, ...]
    output: tuple[str, ...]
    joins: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0

    def value(self) -> Array:
        """Contract. Under :func:`pricing` the price is noted instead, and zeros are returned."""
        bill = _BILL.get()
        if bill is not None:
            bill.append(self.cost())
            return ar.do("zeros", self.shape, like=self.tensors[0].data)
        inputs, output, arrays = self._wired(lambda size, like: ar.do("eye", size, like=like))
        result = _tree(*_canonical(inputs, output, map(ar.shape, arrays))).contract(arrays)
        return result if self.weight == 1.0 else result * self.weight

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        sizes = {ix: n for t in self.tensors for ix, n in zip(t.inds, ar.shape(t.data), strict=True)}
        merged = {self.joins.get(ix, ix): n for ix, n in sizes.items()}
        return tuple(int(merged[self.joins.get(ix, ix)]) for ix in self.output)

    def cost(self) -> Cost:
        """The price of :meth:`value`, from shapes alone."""
        inputs, output, shapes = self._wired(lambda size, like: _Shape((size, size)))
        tree = _tree(*_canonical(inputs, output, [ar.shape(a) for a in shapes]))
        itemsize = _itemsize(self.tensors[0].data)
        return Cost(2.0 * tree.contraction_cost(), float(tree.peak_size()) * itemsize, 1)

    def _wired(
        self, eye: Callable[[int, Array], Array]
    ) -> tuple[list[tuple[str, ...]], list[str], list[Array]]:
        """Apply the joins. Output indices that fell together are kept apart by an identity matrix."""
        inputs = [rename(t.inds, self.joins) for t in self.tensors]
        arrays = [t.data for t in self.tensors]
        output: list[str] = []
        for ix in self.output:
            kept = self.joins.get(ix, ix)
            if kept in output:
                size = next(
                    t.ind_size(i) for t in self.tensors for i in t.inds if self.joins.get(i, i) == kept
                )
                inputs.append((kept, f"{ix}|"))
                arrays.append(eye(size, arrays[0]))
                kept = f"{ix}|"
            output.append(kept)
        return inputs, output, arrays


@contextmanager
def pricing() -> Iterator[list[Cost]]:
    """Run code for its price: contractions inside add to the bill and return zeros.

    Price and computation share one code path, so they cannot tell different stories.
    """
    bill: list[Cost] = []
    token = _BILL.set(bill)
    try:
        yield bill
    finally:
        _BILL.reset(token)


def contract(tensors: Iterable[qtn.Tensor], output: Sequence[str]) -> Array:
    """Contract tensors to the given output indices (hyperedges welcome)."""
    return Contraction(tuple(tensors), tuple(output)).value()


@dataclass(frozen=True)
class _Shape:
    shape: tuple[int, ...]


def _itemsize(array: Array) -> int:
    digits = "".join(c for c in ar.get_dtype_name(array) if c.isdigit())
    return max(1, int(digits or 64) // 8)


def _canonical(
    inputs: Sequence[tuple[str, ...]], output: Sequence[str], shapes: Iterable[Sequence[int]]
) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...], tuple[int, ...]]:
    """Indices numbered by first appearance, so that equal structures meet in the cache."""
    number: dict[str, int] = {}
    sizes: list[int] = []
    for inds, shape in zip(inputs, shapes, strict=True):
        for ix, size in zip(inds, shape, strict=True):
            if ix not in number:
                number[ix] = len(sizes)
                sizes.append(int(size))
            elif sizes[number[ix]] != size:
                raise ValueError(
                    f"index {ix} has size {sizes[number[ix]]} on one tensor and {size} on another."
                )
    return (
        tuple(tuple(number[ix] for ix in inds) for inds in inputs),
        tuple(number[ix] for ix in output),
        tuple(sizes),
    )


@lru_cache(maxsize=65536)
def _tree(
    inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...], sizes: tuple[int, ...]
) -> ctg.ContractionTree:
    """A greedy tree; where the contraction is dear enough to pay for it, a searched one."""

    def search(optimize: Any) -> ctg.ContractionTree:
        return ctg.array_contract_tree(inputs, output, size_dict=dict(enumerate(sizes)), optimize=optimize)

    tree = search("greedy")
    if 2 * tree.contraction_cost() < _WORTH_SEARCHING:
        return tree
    if len(inputs) <= _OPTIMAL_UP_TO:
        return search("optimal")
    return search(ctg.RandomGreedyOptimizer(_GREEDY_REPEATS, seed=0, parallel=False))


def total(costs: Iterable[Cost]) -> Cost:
    """The cost of doing all of it, one after the other."""
    result = Cost()
    for cost in costs:
        result = result + cost
    return result


def check_budget(cost: Cost, flops: float, nbytes: float, what: str, instead: str) -> None:
    """Raise :class:`CostError` if ``cost`` exceeds the budget, saying what to do instead."""
    if cost.flops > flops or cost.bytes > nbytes:
        limit = f"{flops:.0e} flops" if cost.flops > flops else _human(nbytes)
        raise CostError(f"{what} takes {cost}; the budget is {limit}. {instead}")
