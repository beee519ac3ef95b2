"""Loops around parts of a contraction tree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, prod
from typing import Any, Union

__all__ = ["Loop", "Merge", "Nest", "Steps"]

Tree = Any  # cotengra.ContractionTree
Node = int  # an input, or what two nodes are contracted to
Indices = tuple[str, ...]
Steps = tuple[Union["Merge", "Loop"], ...]


@dataclass(frozen=True)
class Merge:
    """Two tensors contracted.

    Attributes:
        node: the number of the result.
        pair: those of the two.
        inputs: their indices.
        output: the indices of the result.
    """

    node: Node
    pair: tuple[Node, Node]
    inputs: tuple[Indices, Indices]
    output: Indices


@dataclass(frozen=True)
class Loop:
    """Steps that are done for every block of an index; results are added up, or put side by side if the index is kept.

    Attributes:
        node: the number of the result.
        index: the index.
        steps: what is done.
        reads: for every tensor from outside its number and its indices.
        output: the indices of the result.
    """

    node: Node
    index: str
    steps: Steps
    reads: tuple[tuple[Node, Indices], ...]
    output: Indices


@dataclass(frozen=True, eq=False)
class Nest:
    """A contraction tree, to put loops around the parts of it in which some indices occur.

    Attributes:
        tree: the tree.
        largest: so many numbers a tensor has at most that is made before a loop and kept.
    """

    tree: Tree
    largest: float = inf

    def steps(self, loops: Sequence[str]) -> Steps:
        """What is done, in order. What a loop does not change is done before it, and what is above its part, after it.

        Args:
            loops: the indices.
        """
        return self._nested(range(self.tree.N, len(self._leaves)), loops)

    @cached_property
    def _path(self) -> tuple[tuple[Node, Node], ...]:
        path: tuple[tuple[Node, Node], ...] = self.tree.get_ssa_path()
        return path

    @cached_property
    def _leaves(self) -> list[frozenset[Node]]:
        """For every node the inputs below it."""
        leaves = [frozenset((k,)) for k in range(self.tree.N)]
        for a, b in self._path:
            leaves.append(leaves[a] | leaves[b])
        return leaves

    @cached_property
    def _legs(self) -> list[Indices]:
        """For every node its indices, in the order in which a contraction makes them without a copy.

        First those that both tensors have, then what is left of either.
        """
        inputs, output = self.tree.inputs, tuple(self.tree.output)
        found = [tuple(inds) for inds in inputs]
        for below, (a, b) in zip(self._leaves[self.tree.N :], self._path, strict=True):
            outside = set(output).union(*(inds for k, inds in enumerate(inputs) if k not in below))
            both = [ix for ix in found[a] if ix in found[b]]
            inds = dict.fromkeys((*both, *found[a], *found[b]))
            found.append(tuple(ix for ix in inds if ix in outside) if len(below) < self.tree.N else output)
        return found

    @cached_property
    def _large(self) -> list[bool]:
        """For every node whether it, or one below it, is too large to be kept."""
        size = [prod(self.tree.size_dict[ix] for ix in legs) for legs in self._legs]
        found = [False] * self.tree.N
        for n, (a, b) in enumerate(self._path, start=self.tree.N):
            found.append(found[a] or found[b] or size[n] > self.largest)
        return found

    def _nested(self, nodes: Sequence[Node], loops: Sequence[str]) -> Steps:
        """Nodes in order, with loops around those that have to be in one."""
        around = {ix: n for ix in loops if (n := self._around(ix, nodes)) is not None}
        if not around:
            return tuple(map(self._step, nodes))
        index = max(around, key=lambda ix: len(self._leaves[around[ix]]))
        top = around.pop(index)
        below = [n for n in nodes if self._leaves[n] <= self._leaves[top]]
        closed = [
            n for n in below if not self._large[n] and not self._has(n, index) and self._ends(n, around)
        ]
        once = {m for n in closed for m in below if self._leaves[m] <= self._leaves[n]}
        inside = [n for n in below if n not in once]
        before = [n for n in nodes if n < top and n not in inside]
        after = [n for n in nodes if n > top]
        inner, sooner, later = (
            [ix for ix, n in around.items() if n in some] for some in (inside, before, after)
        )
        used = [n for m in inside for n in self._path[m - self.tree.N] if n not in inside]
        reads = tuple((n, self._legs[n]) for n in used)
        loop = Loop(top, index, self._nested(inside, inner), reads, self._legs[top])
        return (*self._nested(before, sooner), loop, *self._nested(after, later))

    def _around(self, index: str, nodes: Sequence[Node]) -> Node | None:
        """The first of some nodes below which an index is everywhere that it is."""
        holders = {k for n in nodes for k in self._leaves[n] if index in self.tree.inputs[k]}
        if not holders:
            return None
        if index in self.tree.output:
            return nodes[-1]
        return next((n for n in nodes if holders <= self._leaves[n]), None)

    def _ends(self, node: Node, around: Mapping[str, Node]) -> bool:
        """Whether every loop that a node is made in is done with it."""
        return all(self._leaves[n] <= self._leaves[node] for ix, n in around.items() if self._has(node, ix))

    def _has(self, node: Node, index: str) -> bool:
        """Whether an index occurs in what a node is made of."""
        return any(index in self.tree.inputs[k] for k in self._leaves[node])

    def _step(self, node: Node) -> Merge:
        a, b = self._path[node - self.tree.N]
        return Merge(node, (a, b), (self._legs[a], self._legs[b]), self._legs[node])
