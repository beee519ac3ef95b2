"""Blocks of a Gram matrix: what is done for every part of a list of models, and for every pair of parts.

The matrix is a recipe of its own, one level above tensors. Its operations are answers: the laws of a part's hidden
states, what a part decides alone as the left or as the right factor of a block, and blocks. So its price and its memory
are those of the operations that are then done, and what is not needed any more is let go.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.stacking import outline
from tnsim.analysis.asking.problem import Method
from tnsim.analysis.grams.pairs import Pair, own_laws
from tnsim.analysis.tracing.recipes import Answer, Stages, answer
from tnsim.engine.costs import FLOPS_PER_START, Cost, Exceeded
from tnsim.engine.replay import Recipe
from tnsim.engine.tapes import Tape
from tnsim.measure.pairings.measure import Measure
from tnsim.measure.pairings.outputs import Keep

__all__ = ["Plan", "best_size", "planned"]

Array = Any

_CHUNKS = 8  # models come in at least as many parts, where there are results to keep
_FEWEST = 100  # operations in a block, where only an estimate is wanted
_THOUGHT = 1000  # operations that take as long as it takes to think a block through


@dataclass(frozen=True, eq=False)
class Plan:
    """What is done for a matrix of blocks.

    Attributes:
        recipe: what to do; it is given all parts, and what is to be called with every finished block.
        blocks: for every block (i, j), i ≤ j, the number of its result.
        graph: whether gradients are to come, so that nothing is let go on the way.
        kept: how many parts are kept as right factors; ``None`` where blocks are made as wholes.
    """

    recipe: Recipe
    blocks: dict[tuple[int, int], int]
    graph: bool
    kept: int | None = None

    @property
    def cost(self) -> Cost:
        """The price of all blocks."""
        cost = self.recipe.cost
        return replace(cost, bytes=self.recipe.whole) if self.graph else cost

    def __call__(
        self,
        parts: Sequence[Network],
        asked: Sequence[tuple[int, int]],
        finished: Callable[[tuple[int, int], Array], None],
        progress: bool,
    ) -> None:
        """Make some of the blocks, and what these need."""
        whole = self.recipe
        some = Recipe.leading(whole.steps, whole.given, [self.blocks[pair] for pair in asked], whole.memory)
        some([*parts, finished], progress, "pairs of models")


def planned(
    parts: Sequence[Network],
    law: Measure,
    method: Method,
    memory: float,
    keep: Keep = "diagonal",
    budget: float = inf,
) -> Plan:
    """What to do for all pairs of parts.

    What a part decides alone is made once as a left factor, for a row of blocks, and once as a right factor. The right
    ones of as many parts are kept from row to row as fit into ``memory``, and made anew for every block of the others.
    Where not even a single one fits, blocks are made as wholes.

    Args:
        parts: single models, and stacks of models.
        law: the law of the input.
        method: as in :func:`tnsim.gram`.
        memory: bytes that may be held at once.
        keep: ``"diagonal"`` for the products of every output apart, ``"sum"`` for those of all together.
        budget: flops beyond which there is no point in going on.

    Raises:
        Exceeded: if a block takes more than the budget.
    """
    pairs = _pairs(parts, law, method, keep, budget)
    plans: dict[int, Plan] = {}

    def fits(kept: int) -> bool:
        plans[kept] = _written(parts, pairs, law, method, kept)
        return plans[kept].cost.bytes <= memory

    least, most = 0, len(parts)
    if fits(most) or plans[most].graph:  # where gradients are to come, all is kept in any case
        return plans[most]
    if not fits(least):
        return _written(parts, pairs, law, method, None)
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if fits(middle) else (least, middle)
    return plans[least]


def best_size(
    net: Network,
    count: int,
    law: Measure,
    method: Method,
    memory: float,
    kept: bool,
    keep: Keep = "diagonal",
    budget: float = inf,
) -> int:
    """How many of so many models like ``net`` to take together.

    All of them, a few, or one by one, whatever takes the least effort: in parts the half of the square is left out that
    its mirror tells, and a single model with itself may be done by halves; fewer parts take fewer operations.
    Parts have to fit into memory, and where there are results to keep, there are some parts.

    Args:
        net: one of the models.
        count: how many there are.
        law: the law of the input.
        method: as in :func:`tnsim.gram`.
        memory: bytes that may be held at once.
        kept: whether there are results to keep.
        keep: as in :func:`planned`.
        budget: as in :func:`planned`.

    Raises:
        Exceeded: if blocks of any size take more than the budget.
    """

    def outlined(n: int) -> Network:
        return outline(net, n) if n > 1 else outline(net, n).pick(0)

    def price(n: int, apart: bool) -> Pair:
        p = outlined(n)
        q = outlined(n) if apart else p
        own = answer(own_laws, (p, law, method), budget)
        known = own.outline()
        other = own.outline() if apart else known
        return Pair.of((p, q), law, (method, keep), (own, known), other, budget)

    def effort(n: int) -> float:
        """Of the whole matrix."""
        chunks, alone = count / n, price(n, False)
        total = chunks * (
            _effort(alone.own.cost, alone.own.recipe) + _effort(alone.block.cost, alone.block.recipe)
        )
        if n < count:
            pair = price(n, True)
            if stages := pair.stages:
                pieces = zip(stages.costs, stages.pieces, strict=True)
                total += (chunks - 1) * sum(_effort(cost, piece) for cost, piece in pieces)
                joint = _effort(stages.cost, stages.joint)
            else:
                joint = _effort(pair.block.cost, pair.block.recipe)
            total += chunks * (chunks - 1) / 2 * joint
        return total

    few = -(-count // _CHUNKS)
    size, least = few, inf
    beyond: Exceeded | None = None
    for n in dict.fromkeys((few, 1) if kept else (count, few, 1)):
        blocks = (count / n) * (count / n - 1) / 2
        try:
            if FLOPS_PER_START * _FEWEST * blocks < least and (total := effort(n)) < least:
                size, least = n, total
        except Exceeded as error:
            beyond = error
    if least == inf and beyond is not None:
        raise beyond
    while size > 1 and price(size, size < count).block.cost.bytes > memory:
        size = (size + 1) // 2
    return size


def _effort(cost: Cost, recipe: Recipe | None) -> float:
    """Where there is no recipe, one has to think as well."""
    return cost.effort + FLOPS_PER_START * (_THOUGHT if recipe is None else 0)


# ---------------------------------------------------------------------- what is written down


@dataclass(frozen=True, eq=False)
class _Made:
    """Stands for what an operation will make, and how much of it is kept for others; of results nothing is counted."""

    nbytes: float = 0.0


def _pairs(
    parts: Sequence[Network], law: Measure, method: Method, keep: Keep = "diagonal", budget: float = inf
) -> dict[tuple[int, int], Pair]:
    """All blocks, row by row."""
    own = [answer(own_laws, (part, law, method), budget) for part in parts]
    known = [x.outline() for x in own]
    every = range(len(parts))
    return {
        (i, j): Pair.of((parts[i], parts[j]), law, (method, keep), (own[i], known[i]), known[j], budget)
        for i in every
        for j in every[i:]
    }


def _written(
    parts: Sequence[Network],
    pairs: dict[tuple[int, int], Pair],
    law: Measure,
    method: Method,
    kept: int | None,
) -> Plan:
    """The plan in which so many parts are kept as right factors, those that are needed longest.

    ``None`` makes all blocks as wholes.
    """
    nets, finished = [_Made() for _ in parts], _Made()
    tape = Tape([*nets, finished], lambda x: isinstance(x, _Made))
    split: dict[int, Stages | None] = {}
    made: dict[Hashable, _Made] = {}

    def note(fn: Callable[..., Any], args: Sequence[Any], cost: Cost, nbytes: float, *read: _Made) -> _Made:
        value = _Made(nbytes)
        held = sum(x.nbytes for x in dict.fromkeys(read))
        tape.note(fn, args, {}, value, replace(cost, bytes=cost.bytes + held))
        return value

    def laws(k: int) -> _Made:
        if k not in made:
            own = pairs[k, k].own
            made[k] = note(own, [(nets[k], law, method)], own.cost, own.made)
        return made[k]

    def piece(stages: Stages, side: int, k: int, anew: bool) -> _Made:
        key = (id(stages), side, k)
        if anew or key not in made:
            args = [side, (nets[k], laws(k), law)]
            made[key] = note(stages.piece, args, stages.costs[side], stages.pieces[side].made, laws(k))
        return made[key]

    blocks = {}
    for (i, j), pair in pairs.items():
        if id(pair.block) not in split:
            split[id(pair.block)] = None if kept is None else pair.stages
        stages = split[id(pair.block)]
        ends = (i, j)[: len(pair.given[0])]
        known = tuple(map(laws, ends))
        pieces: tuple[_Made, ...] = ()
        how: Answer | Stages = pair.block
        if stages is not None and kept is not None:
            pieces = (piece(stages, 0, i, False), piece(stages, 1, j, j < len(parts) - kept))
            how = stages
        given = (tuple(nets[k] for k in ends), known, law, pair.given[-1])
        args = [how, given, pieces, (i, j), finished]
        blocks[i, j] = note(_finish, args, how.cost, 0.0, *known, *pieces)
    recipe = tape.recipe(list(blocks.values()))
    numbers = dict(zip(blocks, recipe.results, strict=True))
    return Plan(recipe, numbers, any(pair.block.graph for pair in pairs.values()), kept)


def _finish(
    how: Callable[..., Array],
    given: tuple[Any, ...],
    pieces: tuple[list[Array], ...],
    name: tuple[int, int],
    finished: Callable[[tuple[int, int], Array], None],
) -> Array:
    """A block, which is handed on as soon as it is there."""
    block = how(given, *pieces)
    finished(name, block)
    return block
