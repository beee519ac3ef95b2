"""Moments of products of links: all pairings of two terms of many legs under a Gaussian law."""

from collections.abc import Iterator, Sequence
from typing import Any

import autoray as ar
import numpy as np

from tnsim.engine.contract import itemsize, performed
from tnsim.engine.costs import Cost
from tnsim.measure.attention.links.asked import Expected, distinct, shared_outputs
from tnsim.measure.attention.links.ends import Ends
from tnsim.measure.attention.links.link import entries
from tnsim.measure.attention.products.addresses import Held
from tnsim.measure.attention.products.groups import Chunk, rows
from tnsim.measure.attention.products.plans import CACHE, OVERHEAD, ProductPlan, planned
from tnsim.measure.attention.programs.workspaces import fits, workspace
from tnsim.measure.pairings.outputs import Keep

__all__ = ["product_moments"]

Array = Any
ALONE = 2e9  # flops of one pair of models from which others are no company: it fills a cache many times


def product_moments(
    asked: Sequence[Expected], ends: Ends, connected: bool, keep: Keep = "all"
) -> list[tuple[Array, tuple[str, ...]] | None]:
    """Expectations of the links of terms, summed over what no output reads.

    Args:
        asked: which terms. Those of equal wiring are computed together.
        ends: the ends of their links, and the law of their inputs.
        connected: the covariance instead of the second moment.
        keep: what is kept of the outputs. Where it is not all, products of different positions do not meet.

    Returns:
        For everything asked an array and its indices, those of the second factor with a ``~`` in front; a run axis
        comes first, for every model or pair of models. ``None`` if it is zero.
    """
    found: list[tuple[Array, tuple[str, ...]] | None] = [None] * len(asked)
    alike: dict[Any, list[int]] = {}
    for n, one in enumerate(asked):
        alike.setdefault(_likeness(one, ends), []).append(n)
    for numbers in alike.values():
        whole = planned([asked[n] for n in numbers], ends, connected, keep, False)
        mirrored = sum(asked[n].combinations for n in numbers if asked[n].mirrored)
        saved = whole.flops() * mirrored / whole.combinations / 2
        halved = saved > OVERHEAD * len(whole.groups)
        alone = whole.flops() > ALONE * whole.combinations
        for half, some in _batches(numbers, asked, halved, alone):
            ones = [asked[n] for n in some]
            plan = whole if some == numbers and not half else planned(ones, ends, connected, keep, half)
            if plan.groups:
                for n, value in zip(some, _values(plan, ones, ends, half, keep), strict=True):
                    found[n] = value
    return found


def _batches(
    numbers: Sequence[int], asked: Sequence[Expected], halved: bool, alone: bool
) -> Iterator[tuple[bool, list[int]]]:
    """What is computed together, and whether by halves."""
    for half in (False, True) if halved else (False,):
        some = [n for n in numbers if not halved or asked[n].mirrored == half]
        if some:
            yield from ((half, [n]) for n in some) if alone else [(half, some)]


def _likeness(one: Expected, ends: Ends) -> Any:
    """What terms that are computed together have in common."""
    parts: list[Any] = []
    for t in (one.f, one.g):
        if t is not None:
            means = tuple(ends.has_mean(t, e) for e in range(len(t.product.ends)))
            parts.append((t.wiring, t.table.tobytes(), means, ends.law.shared(t.side, t.side)))
    across = None if one.g is None else ends.law.shared(one.f.side, one.g.side)
    return tuple(parts), across


def _values(
    plan: ProductPlan, asked: Sequence[Expected], ends: Ends, halved: bool, keep: Keep
) -> Iterator[tuple[Array, tuple[str, ...]]]:
    """The results of everything asked, as arrays with names."""
    arrays = _arrays(plan, asked, ends)
    like = arrays[-1]
    shape = (plan.combinations * plan.targets, *plan.shape)
    cost = Cost(plan.flops(), plan.held(itemsize(like)), 1, plan.flops() / 30, starts=plan.starts())
    total = performed(_run, (plan, arrays), shape, like, cost)
    at = 0
    for one in asked:
        f, g = one.f, one.g
        both = [] if g is None else shared_outputs(f, g, keep)
        equal = [a for a, _ in both]
        left = [ix for ix in f.kept if ix not in equal]
        right = [] if g is None else [ix for ix in g.kept if ix not in [b for _, b in both]]
        count = one.combinations
        n_right = 1 if g is None else entries(right, g.sizes)
        sizes = (count, entries(equal, f.sizes), entries(left, f.sizes), n_right, *plan.shape)
        value = total[at * plan.targets : (at + count) * plan.targets]
        value = ar.do("transpose", ar.do("reshape", value, sizes), (0, 1, 2, 4, 3, 5))
        if halved:
            value = value + ar.do("transpose", value, (0, 1, 4, 5, 2, 3))
        inds = [*equal, *left, *([f.product.open] if f.product.open else [])]
        named = [f.sizes[ix] for ix in inds]
        if g is not None:
            more = [*right, *([g.product.open] if g.product.open else [])]
            inds += [f"~{ix}" for ix in more]
            named += [g.sizes[ix] for ix in more]
        yield ar.do("reshape", value, (count, *named)), tuple(inds)
        at += count


def _arrays(plan: ProductPlan, asked: Sequence[Expected], ends: Ends) -> list[Array]:
    """Means and covariances of ends, and weights, of all models; a zero behind those that are not read everywhere."""
    every = [places for group in plan.groups for places in group.inputs.values()]
    used = {places.array for places in every}
    padded = {places.array for places in every if places.padded}
    arrays: list[Array] = []
    for k, source in enumerate(plan.sources):
        value = _cat(_parts(source, asked, ends), 0) if k in used else None
        if k in padded:
            shape = ar.shape(value)
            value = _cat([value, ar.do("zeros", (shape[0], 1, *shape[2:]), like=value)], 1)
        arrays.append(value)
    return arrays + [_cat([t.weights for t in distinct(asked, k)], 0) for k in range(len(asked[0].terms))]


def _parts(source: Held, asked: Sequence[Expected], ends: Ends) -> list[Array]:
    """What is in an array, by models or pairs of models."""
    kind, k, x, m, y = source
    if kind == "mean":
        return [ends.mean(t, x) for t in distinct(asked, k)]
    if k == m:
        return [ends.cov(t, x, t, y, True) for t in distinct(asked, k)]
    return [ends.cov(one.terms[k], x, one.terms[m], y, False) for one in asked]


def _cat(parts: Sequence[Array], axis: int) -> Array:
    return parts[0] if len(parts) == 1 else ar.do("concatenate", tuple(parts), axis=axis)


def _run(plan: ProductPlan, arrays: Sequence[Array]) -> Array:
    """All results, those of a combination of models together: shape ``(combinations · targets, r, r')``."""
    itemsize = arrays[-1].itemsize
    found, chunks = [], []
    for chunk in plan.chunks(itemsize):
        found.append(_again(_value, arrays[-1], chunk, *arrays))
        chunks.append(chunk)
    values = _cat(found, 0)
    return _sum_by(values, plan.where(itemsize, chunks).index(values), plan.combinations * plan.targets)


def _again(fn: Any, like: Array, *args: Any) -> Array:
    """``fn(*args)``; where gradients are to come, it is done once more then, and nothing is held until then."""
    if getattr(like, "requires_grad", False) or any(getattr(x, "requires_grad", False) for x in args):
        return ar.do("utils.checkpoint.checkpoint", fn, *args, use_reentrant=False, like="torch")
    return fn(*args)


def _value(chunk: Chunk, *arrays: Array) -> Array:
    """Products of a chunk, added up by target."""
    program, like, count = chunk.group.program, arrays[-1], len(chunk.some)
    if fits(arrays):
        value = workspace(like, CACHE).run(program, lambda name: chunk.read(name, arrays), count)
    else:
        value = program.run(lambda name: rows(*chunk.read(name, arrays)), count, like)
    return _sum_by(value * chunk.weight(arrays)[:, None, None], chunk.numbers(like), len(chunk.targets))


def _sum_by(values: Array, ids: Array, n: int) -> Array:
    """Values added up by number."""
    zeros = ar.do("zeros", (n, *ar.shape(values)[1:]), like=values)
    if ar.infer_backend(values) == "numpy":
        np.add.at(zeros, ids, values)
        return zeros
    return ar.do("index_add", zeros, 0, ids, values)
