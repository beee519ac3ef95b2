"""Inner products of a list of models with each other: a training run as a geometry."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import autoray as ar
import torch

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.notes import noted
from tnsim.algebra.networks.stacking import stack
from tnsim.algebra.polys.poly import Poly
from tnsim.analysis.asking.problem import BUDGET, MEMORY, Method, Model, together
from tnsim.analysis.asking.questions import questioning
from tnsim.analysis.asking.sampled import Options, check_error, exactly
from tnsim.analysis.asking.sizes import check_range, out_of_range
from tnsim.analysis.asking.units import in_units
from tnsim.analysis.grams.blocks import best_size, planned
from tnsim.analysis.grams.fingerprints import fingerprint
from tnsim.analysis.grams.gramdraws import sampled_gram
from tnsim.analysis.grams.matrix import Gram
from tnsim.analysis.grams.resume import Layout, Saved
from tnsim.analysis.grams.shelf import nearby
from tnsim.analysis.grams.workers import Executor, executing, spread, tasks_of
from tnsim.common.scaled import Scaled
from tnsim.engine.constants import in_order
from tnsim.engine.costs import Exceeded, check_budget
from tnsim.measure.laws.gaussian import Gaussian
from tnsim.measure.pairings.measure import Measure, as_like
from tnsim.measure.pairings.outputs import Keep

__all__ = ["Gram", "gram"]

Array = Any


@questioning(executor=executing)
def gram(
    models: Sequence[Model],
    *,
    under: Measure | None = None,
    method: Method = "exact",
    labels: Sequence[Any] | None = None,
    slices: bool = True,
    budget: float = BUDGET,
    memory: float = MEMORY,
    error: float | None = None,
    seed: int = 0,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
) -> Gram:
    """All pairs of a list of models at once.

    Models of equal wiring (the checkpoints of a run) are stacked on one index and contracted together, in
    chunks that fit into ``memory``; others are compared group by group. What one model alone decides is computed
    once for every model, as far as it can be kept in ``memory``.

    Args:
        models: torch modules or Networks, with the same inputs and outputs; or one stacked Network; or a run,
            :func:`tnsim.checkpoints`.
        under: the law of the input; the standard normal by default.
        method: ``"exact"`` or ``"layerwise"`` (approximate from two layers on).
        labels: one for every model, for instance training steps; those of the run, or 0 … N−1, by default.
        slices: keep the products of every output apart, N² numbers each. A language model has an output for every
            position and token: without them a matrix takes less time and memory, and says how similar models are as
            wholes.
        budget: flops that may be spent on the whole matrix.
        memory: bytes that intermediate tensors may take, those included that are kept from pair to pair.
        error: a standard error that will do for every similarity. Then the matrix is exact where the price is within the
            budget, else from draws that suit the models, the same for all of them: N evaluations instead of N² pairs.
            ``gram.estimate()`` has all errors.
        seed: of the draws.
        progress: show a bar if it takes more than two seconds.
        checkpoint: a file that keeps finished blocks. Called again with the same arguments after an
            interruption, only the others are computed, with the same result to the last bit (given the same
            number of threads). Gradients do not flow through kept blocks. Whether the file can be written is found out
            first; if writing fails later, a warning says so, and the matrix is returned. One process at a time.
        executor: makes the blocks: any executor of ``concurrent.futures``, a client of ``dask.distributed``, or whatever
            has a ``submit`` like theirs. The matrix is the same to the last bit (given the same number of threads in
            workers), blocks are kept in the file as they come, and one that is lost with its worker is made again where
            the executor lives. What takes one go is one block: with ``checkpoint`` there are always several. Workers
            compute on the processor, or on their current device if the models lie on one; ``memory`` is that of each.
            Gradients do not flow. Draws (``error``) are made in this process.

    Raises:
        CostError: if it would take more than the budget.
        WorkerError: if workers died and the executor with them; called again, only what is missing is made.
        SamplingError: if the error asked for cannot be had, or not be trusted.
        ValueError: if the list is empty, models do not fit together, or the checkpoint is of other models or another
            law, is damaged, is used by another process, or cannot be written (an ``OSError`` as well).

    Example:
        >>> import tnsim
        >>> run = [tnsim.nn.BilinearLayer(4, 8, 3) for _ in range(5)]
        >>> tnsim.gram(run).similarity().shape
        torch.Size([5, 5])
    """
    given = _unpacked(models)
    asked = Gaussian() if under is None else under
    names = tuple(getattr(models, "labels", range(len(given))) if labels is None else labels)
    if len(names) != len(given):
        raise ValueError(f"{len(names)} labels for {len(given)} models.")
    if len({net.codomain for net in given}) > 1:
        shapes = [net.polys[-1].out_shape for net in given]
        raise ValueError(f"a Gram matrix needs models with the same outputs; got {shapes}.")
    if error is not None:
        check_error(error, method)
        limits: dict[str, Any] = {"budget": budget, "memory": memory, "progress": progress}
        exact = partial(
            gram,
            given,
            under=under,
            labels=names,
            slices=slices,
            checkpoint=checkpoint,
            executor=executor,
            **limits,
        )
        if (found := exactly(exact, under)) is not None:
            return found
        return sampled_gram(given, names, slices, Options(under, None, error, seed, **limits), checkpoint)
    nets, law, exponents = in_units(given, asked, None, method)
    keep: Keep = "diagonal" if slices else "sum"
    groups: dict[Any, list[int]] = {}
    for i, net in enumerate(nets):
        groups.setdefault(net.signature(), []).append(i)

    parts = []
    bounds = (
        budget,
        memory,
        f"this Gram matrix ({method})",
        "Raise budget= or memory=, or pass fewer models.",
    )
    kept = checkpoint is not None
    try:
        for members in groups.values():
            size = best_size(nets[members[0]], len(members), law, method, memory, kept, keep, budget)
            parts += [_stacked(members[k : k + size], nets, exponents) for k in range(0, len(members), size)]
        plan = planned([part.net for part in parts], law, method, memory, keep, budget)
    except Exceeded as exceeded:
        check_budget(exceeded.cost, *bounds)
        raise
    check_budget(plan.cost, *bounds)

    key, layout = "", _layout(parts, () if checkpoint is None else plan.blocks, slices)
    if checkpoint is not None:
        key = fingerprint(given, asked, method, keep, "units", tuple(part.members for part in parts))
    blocks: dict[tuple[int, int], Array] = {}
    with Saved(checkpoint, key, layout) as saved:
        for i, j in plan.blocks:
            block = saved.get(f"{i}-{j}")
            if block is not None:
                blocks[i, j] = as_like(block["products"], nets[0].polys[0].like)

        def finished(pair: tuple[int, int], block: Array) -> None:
            ends = (parts[k].exponents for k in pair)
            blocks[pair] = _shifted(block, *ends)
            saved.put(f"{pair[0]}-{pair[1]}", {"products": blocks[pair]})

        missing = [pair for pair in plan.blocks if pair not in blocks]
        if executor is None:
            plan([part.net for part in parts], missing, finished, progress)
        else:
            like = nets[0].polys[0].like
            with torch.no_grad(), nearby(executor) as place:
                todo = tasks_of([part.net for part in parts], law, (method, keep), missing, plan.kept, place)
                spread(executor, todo, lambda pair, x: finished(pair, as_like(x, like)), checkpoint, progress)
    every = range(len(parts))
    own = [ar.stop_gradient(blocks[i, i][:, 0, -2]) for i in every]
    for i, j in plan.blocks:
        block = _in_units_of(blocks[i, j], own[i], own[j])
        mirror = ar.do("transpose", block, (1, 0, 2))
        blocks[j, i] = (block + mirror) / 2 if i == j else mirror
        blocks[i, j] = blocks[j, i] if i == j else block
    table = [ar.do("concatenate", [blocks[i, j] for j in every], axis=1) for i in every]
    where = {model: k for k, model in enumerate(i for part in parts for i in part.members)}
    order = [where[i] for i in range(len(nets))]
    whole = in_order(in_order(ar.do("concatenate", table, axis=0), order, 0), order, 1)
    products = ar.do("transpose", whole, (2, 0, 1))
    units = in_order(ar.do("concatenate", own, axis=0), order, 0)
    squares = ar.do("diagonal", ar.do("sum", products, axis=0))
    for i in out_of_range(squares):
        check_range(squares[i], f"model {names[i]}", "its inner products", nets[i])
    return Gram(products, names, asked, method, slices, units, noted(nets))


@dataclass(frozen=True, eq=False)
class _Part:
    """Models that are contracted together, and what a power of two in front of each is."""

    members: tuple[int, ...]
    net: Network
    exponents: Array


def _shifted(block: Array, mine: Array, other: Array) -> Array:
    """A block of models with powers of two in front: exponents are the last two numbers of every entry."""
    blank = ar.do("zeros_like", block[:, :, :1])
    first, second = block[:, :, -2:-1] + mine[:, None, None], block[:, :, -1:] + other[None, :, None]
    return ar.do("concatenate", (block[:, :, :-2], first + blank, second + blank), axis=2)


def _in_units_of(block: Array, mine: Array, other: Array) -> Array:
    """The mantissas of a block in given units of its models."""
    e = ar.stop_gradient(block[:, :, -2] + block[:, :, -1])
    return Scaled(block[:, :, :-2], e).at(mine[:, None] + other[None, :])


def _layout(parts: "Sequence[_Part]", pairs: Iterable[tuple[int, int]], slices: bool) -> Layout:
    """What is kept of every block: inner products in units of their models, and the exponents of both."""
    net = parts[0].net
    outputs = prod(net.polys[-1].out_shape) if slices else 1
    sizes = [len(part.members) for part in parts]
    return {f"{i}-{j}": {"products": ((sizes[i], sizes[j], outputs + 2), net.dtype)} for i, j in pairs}


def _unpacked(models: Sequence[Model]) -> tuple[Network, ...]:
    if isinstance(models, Network) and models.models:
        return tuple(models.pick(i) for i in range(models.models))
    if isinstance(models, Network | Poly | torch.nn.Module):
        raise ValueError("a Gram matrix needs a list of models; this is a single one.")
    many = models if isinstance(models, Sequence) else list(models)
    if not len(many):
        raise ValueError("a Gram matrix needs a list of models; this one is empty.")
    return together(many, [f"model {i}" for i in range(len(many))])


def _stacked(members: Sequence[int], nets: Sequence[Network], exponents: Sequence[Array]) -> _Part:
    """Models as a stack; a single one as it is."""
    some = [nets[i] for i in members]
    powers = ar.do("stack", [exponents[i] for i in members], axis=0)
    return _Part(tuple(members), stack(some) if len(some) > 1 else some[0], powers)
