"""Contraction: from tensors with names to a number, and what that will cost.

The only file that imports cotengra. Contraction trees are searched once for every structure (the
pattern of indices and their sizes) and kept; index *names* do not matter. With a folder in the environment variable
``TNSIM_PATHS`` they are kept for other processes as well (:mod:`tnsim.engine.path_files`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, prod
from typing import Any

import autoray as ar
import cotengra as ctg
import quimb.tensor as qtn

from tnsim.common.caches import cached
from tnsim.common.digits import rounded
from tnsim.common.wires import rename
from tnsim.engine.costs import FLOPS_PER_WRITE, Cost, current_bill, current_cap
from tnsim.engine.effort import MOST_SEARCHED, weigh, weigh_once, worth
from tnsim.engine.path_files import kept_path
from tnsim.engine.slicing import Sliced, sliced
from tnsim.engine.tapes import current_tape

__all__ = ["Contraction", "dtype_bytes", "itemsize", "performed", "zeros"]

Array = Any
_Structure = tuple[tuple[tuple[int, ...], ...], tuple[int, ...], tuple[int, ...]]
"""Indices of the tensors, indices of the result, sizes."""

_OPTIMAL_UP_TO = 8  # tensors; beyond, an exhaustive path search takes longer than it saves
_GREEDY_REPEATS = 32
_MORE_STARTS = 4  # of searches for a contraction that takes seconds
_EFFORT = f"combo-{FLOPS_PER_WRITE / 2:g}"  # multiplications and writes, weighed as in Cost.effort
_WORTH_SEARCHING = 1e7  # flops; below, contracting takes less time than a search
_WORTH_MORE = 1e11  # effort from which more searches take less time than a better path may save
_WEIGHED = 3  # operations weighed for any contraction, besides its tensors
_HOPELESS = 1e18  # effort that takes months; no better path makes hours of it


@dataclass(frozen=True)
class Contraction:
    """A closed or open network, ready to be contracted: tensors, the indices to keep, and a weight.

    Attributes:
        tensors: the tensors; an index on three or more of them is a hyperedge.
        output: indices of the result, in order. Two of them may have been identified by ``joins``;
            the result is then diagonal in that pair.
        joins: a map from index to the index that stands for it (see :func:`tnsim.common.wires.identify`).
        weight: a factor for the result.
    """

    tensors: tuple[qtn.Tensor, ...]
    output: tuple[str, ...]
    joins: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0

    def value(self) -> Array:
        """Contract. Under :func:`pricing` the price is noted instead, and an empty shape is returned."""
        bill = current_bill()
        if bill is None:
            return _contracted(*self._prepared())
        shape = self.shape
        bill.foresee(self._least(shape))  # a path through what is hopeless is not worth a search
        weigh(_WEIGHED + len(self.tensors))
        prepared = self._prepared()
        price = self._price(prepared[0])
        return performed(_contracted, prepared, shape, self.tensors[0].data, price, self)

    def _prepared(self) -> tuple[Sliced, float, list[Array], tuple[int, ...]]:
        inputs, output, arrays = self._wired(lambda size, like: ar.do("eye", size, like=like))
        plan, sizes = self._plan(inputs, output, map(ar.shape, arrays))
        return plan, self.weight, arrays, tuple(sizes[ix] for ix in output)

    def _plan(
        self, inputs: Sequence[tuple[str, ...]], output: Sequence[str], shapes: Iterable[Sequence[int]]
    ) -> tuple[Sliced, dict[str, int]]:
        """What to do, and the size of every index."""
        structure, sizes = _canonical(inputs, output, shapes)
        plan = _planned(*structure, self._limit)
        weigh_once((structure, self._limit), plan.weighed)
        return plan.how, sizes

    def _least(self, shape: Sequence[int]) -> Cost:
        """What it takes at least: every entry of the result is written, and computed where tensors meet."""
        size = rounded(prod(shape))
        return Cost(size * (len(self.tensors) > 1), size * itemsize(self.tensors[0].data), 1, size)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        sizes = {ix: n for t in self.tensors for ix, n in zip(t.inds, ar.shape(t.data), strict=True)}
        merged = {self.joins.get(ix, ix): n for ix, n in sizes.items()}
        return tuple(int(merged[self.joins.get(ix, ix)]) for ix in self.output)

    def cost(self) -> Cost:
        """The price of :meth:`value`, from shapes alone."""
        inputs, output, shapes = self._wired(lambda size, like: _Shape((size, size)))
        return self._price(self._plan(inputs, output, [ar.shape(a) for a in shapes])[0])

    def path(self) -> tuple[Sliced, dict[str, str]]:
        """How it is contracted, and the names of the tree's indices; those of size one are left out."""
        inputs, output, shapes = self._wired(lambda size, like: _Shape((size, size)))
        how, sizes = self._plan(inputs, output, [ar.shape(a) for a in shapes])
        return how, {ctg.get_symbol(k): ix for k, ix in enumerate(_numbered(sizes))}

    def _price(self, how: Sliced) -> Cost:
        peak = how.peak * itemsize(self.tensors[0].data)
        return Cost(how.flops, peak, 1, how.writes, starts=how.starts)

    @property
    def _limit(self) -> float:
        """Numbers that may be held at once."""
        return current_cap() / itemsize(self.tensors[0].data)

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
                apart = f"{ix}|"
                while apart in output:  # an index may stand for several
                    apart += "|"
                inputs.append((kept, apart))
                arrays.append(eye(size, arrays[0]))
                kept = apart
            output.append(kept)
        return inputs, output, arrays


def _contracted(how: Sliced, weight: float, arrays: Sequence[Array], shape: tuple[int, ...]) -> Array:
    arrays = [ar.do("squeeze", x) if 1 in ar.shape(x) else x for x in arrays]
    if weight != 1.0:  # on the smallest array: the result may be the largest that there is
        least = min(range(len(arrays)), key=lambda k: ar.size(arrays[k]))
        arrays = [x * weight if k == least else x for k, x in enumerate(arrays)]
    value = how(arrays)
    return ar.do("reshape", value, shape) if 1 in shape else value


@dataclass(frozen=True)
class _Shape:
    shape: tuple[int, ...]


def performed(
    fn: Callable[..., Array],
    args: Sequence[Any],
    shape: Sequence[int],
    like: Array,
    cost: Cost,
    what: Any = None,
) -> Array:
    """``fn(*args)``. Under :func:`pricing` its price is noted instead, and an empty shape is returned.

    Under :func:`tnsim.engine.tapes.taping` it is also noted what would be done.

    Args:
        fn: a function that makes an array.
        args: its arguments.
        shape: the shape of the result.
        like: the result is an array like this one.
        cost: the price.
        what: what the bill notes; the function by default.
    """
    bill, tape = current_bill(), current_tape()
    if bill is None:
        return fn(*args)
    bill.add(cost, prod(shape) * itemsize(like), fn if what is None else what)
    if bill.paid:
        return fn(*args)
    result = _placeholder(tuple(shape), like)
    if tape is not None:
        tape.note(fn, args, {}, result, cost)
    return result


def zeros(shape: tuple[int, ...], like: Array) -> Array:
    """Zeros; under :func:`pricing` an empty shape, as contractions give."""
    bill = current_bill()
    priced = bill is not None and not bill.paid and current_tape() is None
    return _placeholder(shape, like) if priced else ar.do("zeros", shape, like=like)


def _placeholder(shape: tuple[int, ...], like: Array) -> Array:
    """An array of the right shape that holds nothing, where the backend has such a thing."""
    if ar.infer_backend(like) == "torch":
        return ar.do("empty", shape, dtype=like.dtype, device="meta", like="torch")
    return ar.do("zeros", shape, like=like)


def itemsize(array: Array) -> int:
    """Bytes of one entry."""
    return dtype_bytes(ar.get_dtype_name(array))


def dtype_bytes(name: str) -> int:
    """Bytes of one entry of a dtype.

    Example:
        >>> dtype_bytes("float32"), dtype_bytes("bfloat16")
        (4, 2)
    """
    digits = "".join(filter(str.isdigit, name))
    return max(1, int(digits or 64) // 8)


def _canonical(
    inputs: Sequence[tuple[str, ...]], output: Sequence[str], shapes: Iterable[Sequence[int]]
) -> tuple[_Structure, dict[str, int]]:
    """Indices numbered by first appearance, so that equal structures meet in the cache; and the size of each."""
    sizes: dict[str, int] = {}
    for inds, shape in zip(inputs, shapes, strict=True):
        for ix, size in zip(inds, shape, strict=True):
            if sizes.setdefault(ix, int(size)) != size:
                raise ValueError(f"index {ix} has size {sizes[ix]} on one tensor and {size} on another.")
    number = _numbered(sizes)
    structure = (
        tuple([tuple([number[ix] for ix in inds if ix in number]) for inds in inputs]),
        tuple([number[ix] for ix in output if ix in number]),
        tuple([sizes[ix] for ix in number]),
    )
    return structure, sizes


def _numbered(sizes: Mapping[str, int]) -> dict[str, int]:
    """Numbers for indices. Those of size one have none: they cost nothing, and einsum has letters for no more than 52."""
    return {ix: k for k, ix in enumerate([ix for ix, size in sizes.items() if size != 1])}


@dataclass(frozen=True, eq=False)
class _Plan:
    """How something is contracted, and how many operations were weighed to find that out."""

    how: Sliced
    weighed: float


@cached(65536)
def _planned(
    inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...], sizes: tuple[int, ...], limit: float = inf
) -> _Plan:
    """What to do such that no more than ``limit`` numbers are held at once, if slicing can do that."""
    tree, weighed = _searched(inputs, output, sizes)
    how = sliced(tree, limit)
    return _Plan(how, weighed + len(how.blocks) * len(sizes) * len(inputs))


@cached(65536)
def _searched(
    inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...], sizes: tuple[int, ...]
) -> tuple[ctg.ContractionTree, float]:
    """A greedy tree; where it is worth it, that of least effort that is found. With what was weighed for it."""

    def search(optimize: Any) -> ctg.ContractionTree:
        return ctg.array_contract_tree(inputs, output, size_dict=dict(enumerate(sizes)), optimize=optimize)

    n = len(inputs)
    greedy = n / 3 * max(1.0, n / 32)
    tree = search("greedy")
    effort = Sliced(tree).effort
    exhaustive = n <= _OPTIMAL_UP_TO
    better = 2.0 ** (n - 1) if exhaustive else greedy * _GREEDY_REPEATS / 2 + 8 * n * max(1.0, n / 32)
    if 2 * tree.contraction_cost() < _WORTH_SEARCHING or better > min(worth(effort), MOST_SEARCHED):
        return tree, greedy
    again = greedy * _GREEDY_REPEATS / 16 + better - greedy * _GREEDY_REPEATS / 2
    starts = 0
    if not exhaustive and _WORTH_MORE < effort < _HOPELESS:
        starts = int(min(_MORE_STARTS, (MOST_SEARCHED - better) / again))

    def path() -> tuple[tuple[int, ...], ...]:
        if exhaustive:
            best = search(ctg.OptimalOptimizer(minimize=_EFFORT))
        else:
            every = (
                improved(0, _GREEDY_REPEATS),
                *(improved(k, _GREEDY_REPEATS // 8) for k in range(1, 1 + starts)),
            )
            best = min(every, key=lambda tree: Sliced(tree).effort)
        return tuple(map(tuple, best.get_path()))

    def improved(seed: int, repeats: int) -> ctg.ContractionTree:
        start = search(ctg.RandomGreedyOptimizer(repeats, seed=seed, parallel=False))
        return start.subtree_reconfigure(_OPTIMAL_UP_TO, minimize=_EFFORT, seed=0)

    return search(kept_path(inputs, output, sizes, path)), greedy + better + starts * again
