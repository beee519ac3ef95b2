"""Slicing: indices are taken in blocks of their values, one after another, so that less has to be held at once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import log, prod
from typing import Any

import autoray as ar

from tnsim.engine.costs import FLOPS_PER_START, FLOPS_PER_WRITE
from tnsim.engine.loops import Loop, Merge, Nest, Steps

__all__ = ["Sliced", "sliced"]

Array = Any
Tree = Any  # cotengra.ContractionTree
Sizes = Mapping[str, int]

_MOST = 65536  # slices
_SHARE = 4  # of what may be held, a tensor that is kept from slice to slice takes at most this part
_ENOUGH = 2.0**25  # numbers held at once from which larger blocks gain nothing: memory has to be asked for
_LEAST = 1e-3  # what a loop costs at least, as a logarithm of effort


@dataclass(frozen=True, eq=False)
class Sliced:
    """A contraction tree, and loops over blocks of some of its indices.

    Attributes:
        tree: the tree.
        steps: what is done, in order; nothing where there are no loops, and the tree is contracted as it is.
        blocks: for every sliced index how many of its values are taken together.
    """

    tree: Tree
    steps: Steps = ()
    blocks: Sizes = field(default_factory=dict)

    def __call__(self, arrays: Sequence[Array]) -> Array:
        """Contract."""
        if not self.steps:
            return self.tree.contract(arrays)
        held = dict(enumerate(arrays))
        self._follow(self.steps, held)
        return held[self.steps[-1].node]

    def _follow(self, steps: Steps, held: dict[int, Array]) -> None:
        for step in steps:
            if isinstance(step, Merge):
                held[step.node] = self._pairs[step].contract([held.pop(n) for n in step.pair])
                continue
            values = self._values(step, {n: held.pop(n) for n, _ in step.reads})
            if step.index in step.output:
                axis = step.output.index(step.index)
                held[step.node] = ar.do("concatenate", tuple(values), axis=axis)
                continue
            total = next(values)
            for value in values:
                total = total + value
            held[step.node] = total

    def _values(self, loop: Loop, given: Mapping[int, Array]) -> Iterator[Array]:
        """The results for all blocks of an index."""
        block = self.blocks[loop.index]
        for start in range(0, self.tree.size_dict[loop.index], block):
            some = slice(start, start + block)
            held = {}
            for n, inds in loop.reads:
                at = tuple(some if ix == loop.index else slice(None) for ix in inds)
                held[n] = given[n][at] if loop.index in inds else given[n]
            self._follow(loop.steps, held)
            yield held[loop.node]

    @cached_property
    def _pairs(self) -> dict[Merge, Tree]:
        """A tree for every step."""
        make, sizes = type(self.tree).from_path, self.tree.size_dict
        return {s: make(s.inputs, s.output, sizes, ssa_path=((0, 1),)) for s in _every(self.steps)}

    # ------------------------------------------------------------------ what it takes

    @property
    def slices(self) -> int:
        """How many combinations of blocks there are."""
        return prod(map(self._times, self.blocks))

    def _times(self, index: str) -> int:
        """How many blocks of an index there are."""
        return int(-(-self.tree.size_dict[index] // self.blocks[index]))

    @property
    def flops(self) -> float:
        """Floating-point operations; an upper bound where blocks are not of one size."""
        return self._price[0]

    @property
    def writes(self) -> float:
        """Numbers written."""
        return self._price[1]

    @property
    def starts(self) -> float:
        """Operations started."""
        return self._price[2]

    @property
    def effort(self) -> float:
        """What it takes, weighed as in :attr:`Cost.effort`, with the start of every operation."""
        flops, writes, starts = self._price
        return flops + FLOPS_PER_WRITE * writes + FLOPS_PER_START * starts

    @cached_property
    def peak(self) -> float:
        """Numbers that are held at once."""
        if not self.steps:
            return float(self.tree.peak_size())
        sizes = self.tree.size_dict
        return self._peak(self.steps, sizes) + sum(_size(inds, sizes) for inds in self.tree.inputs)

    @cached_property
    def _price(self) -> tuple[float, float, float]:
        """Flops, numbers written, operations."""
        if not self.steps:
            writes = self.tree.contract_stats()["write"]
            return 2.0 * self.tree.contraction_cost(), float(writes), max(1.0, self.tree.N - 1.0)
        return self._priced(self.steps, self.tree.size_dict)

    def _priced(self, steps: Steps, sizes: Sizes) -> tuple[float, float, float]:
        flops = writes = starts = 0.0
        for step in steps:
            size = _size(step.output, sizes)
            if isinstance(step, Merge):
                flops += 2.0 * _size({*step.inputs[0], *step.inputs[1]}, sizes)
                writes += size
                starts += 1
            else:
                times = self._times(step.index)
                inner = self._priced(step.steps, {**sizes, step.index: self.blocks[step.index]})
                flops += times * inner[0]
                writes += times * (inner[1] + (size if times > 1 else 0))
                starts += times * (inner[2] + 1)
        return flops, writes, starts

    def _peak(self, steps: Steps, sizes: Sizes) -> float:
        """Numbers that are made and held at once."""
        held: dict[int, float] = {}
        most = 0.0
        for step in steps:
            passing, size = 0.0, _size(step.output, sizes)
            if isinstance(step, Loop):
                passing = self._peak(step.steps, {**sizes, step.index: self.blocks[step.index]})
                passing = max(passing, 2 * size)  # two results and their sum
            most = max(most, sum(held.values()) + size + passing)
            for n in step.pair if isinstance(step, Merge) else dict(step.reads):
                held.pop(n, None)
            held[step.node] = size
        return most


def sliced(tree: Tree, limit: float) -> Sliced:
    """A contraction that holds no more than ``limit`` numbers at once, if slicing can do that.

    One index after the other is sliced: the one that takes the least effort of those that are enough, or else the one
    that takes the least for what it brings the peak down. Blocks are as large as is of use.
    """
    best, nest = Sliced(tree), Nest(tree, limit / _SHARE)
    while best.peak > limit:
        found = []
        for ix in (ix for ix, n in tree.size_dict.items() if n > 1 and ix not in best.blocks):
            steps = nest.steps((*best.blocks, ix))
            found.append(_grown(Sliced(tree, steps, {**best.blocks, ix: 1}), ix, limit))
        smaller = [s for s in found if s.peak < best.peak and s.slices <= _MOST]
        if not smaller:
            break

        def dear(now: Sliced, before: Sliced = best) -> tuple[bool, float]:
            if now.peak <= limit:
                return False, now.effort
            return True, max(log(now.effort / before.effort), _LEAST) / log(before.peak / now.peak)

        best = min(smaller, key=dear)
    for ix in best.blocks:
        best = _grown(best, ix, limit)
    return best


def _grown(least: Sliced, index: str, limit: float) -> Sliced:
    """With blocks of an index as large as they may be, and of use."""
    best, limit = least, min(limit, max(least.peak, _ENOUGH))
    while (block := best.blocks[index]) < (size := best.tree.size_dict[index]):
        more = replace(best, blocks={**best.blocks, index: min(2 * block, size)})
        if more.peak > limit:
            break
        best = more
    return best


def _every(steps: Steps) -> Iterator[Merge]:
    for step in steps:
        if isinstance(step, Merge):
            yield step
        else:
            yield from _every(step.steps)


def _size(inds: Iterable[str], sizes: Sizes) -> float:
    return float(prod(sizes[ix] for ix in inds))
