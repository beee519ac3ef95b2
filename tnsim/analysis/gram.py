"""Inner products of a list of models with each other: a training run as a geometry."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import autoray as ar
import torch

from tnsim.algebra.network import Network
from tnsim.algebra.notes import noted
from tnsim.algebra.poly import Poly
from tnsim.algebra.price import Exceeded, check_budget, check_limits
from tnsim.algebra.scaled import Scaled
from tnsim.algebra.shown import Plotted
from tnsim.algebra.stacking import stack
from tnsim.algebra.tables import in_order
from tnsim.analysis.blocks import best_size, planned
from tnsim.analysis.fingerprint import fingerprint
from tnsim.analysis.keeping import Kept
from tnsim.analysis.problem import BUDGET, MEMORY, Method, Model, together
from tnsim.analysis.resume import Layout, Saved
from tnsim.analysis.sizes import check_range, out_of_range
from tnsim.analysis.units import in_units
from tnsim.measure.gaussian import Gaussian
from tnsim.measure.measure import Measure, as_like
from tnsim.measure.outputs import Keep

__all__ = ["Gram", "gram"]

Array = Any


@dataclass(frozen=True, eq=False)
class Gram(Plotted, Kept):
    """Inner products of N models with each other.

    Attributes:
        mantissas: shape ``(n_out, N, N)``: inner products for every output apart, in units of their models. Shape
            ``(1, N, N)`` for the whole, where outputs were not asked for.
        labels: one for every model.
        under: the law of the input.
        method: ``"exact"`` or ``"layerwise"``.
        apart: whether outputs are apart.
        units: shape ``(N,)``: ⟨f_i, f_j⟩ is a mantissa times 2^(u_i + u_j). Similarities are those of mantissas, so
            models may be larger or smaller than their dtype can say. 0 for inner products as they are.
        notes: what is not exact in the models themselves, by name.
    """

    mantissas: Array
    labels: tuple[Any, ...]
    under: Measure
    method: Method
    apart: bool = True
    units: Array = 0.0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        outputs = f"{ar.shape(self.mantissas)[0]} outputs" if self.apart else "outputs together"
        said = f"Gram({len(self)} models, {outputs}, {self.under!r}, {self.method})"
        return "\n".join([said, *(f"  approximation: {note}" for note in self.notes)])

    @property
    def products(self) -> Array:
        """Inner products ⟨f_i, f_j⟩, shape ``(n_out, N, N)``; they add up to :attr:`matrix`.

        Raises:
            ScaleError: if one does not fit into the dtype.
        """
        return ar.do("stack", [self._scaled(m).value("an inner product") for m in self.mantissas], axis=0)

    @property
    def matrix(self) -> Array:
        """The Gram matrix itself, shape ``(N, N)``: inner products summed over outputs.

        Raises:
            ScaleError: if an entry does not fit into the dtype.
        """
        return self._scaled(self._of(None)).value("an inner product")

    def similarity(self, output: int | None = None) -> Array:
        """Cosines, shape ``(N, N)``; of one output if given. A zero model gives nan.

        Raises:
            ScaleError: if a norm overflowed or underflowed on the way.
        """
        return _cosine(self._of(output))

    def slices(self) -> Array:
        """Cosines of every output apart, shape ``(n_out, N, N)``."""
        self._check_apart()
        return _cosine(self.mantissas)

    def distance(self, output: int | None = None) -> Array:
        """‖f_i − f_j‖ in function space, shape ``(N, N)``; of one output if given.

        A squared distance is a difference of inner products. So distances below √ε of the norms (1.5e-8 in float64,
        3.5e-4 in float32) are rounding, and may be zero; at zero their gradient is zero. The norm of
        ``difference(a, b)`` has the same floor.

        Raises:
            ScaleError: if one does not fit into the dtype.
        """
        return self.scaled_distance(output).value("a distance")

    def scaled_distance(self, output: int | None = None) -> Scaled:
        """As :meth:`distance`, as mantissa and power of two, which fit in any case."""
        g = self._of(output)
        d = ar.do("diagonal", g)
        twice = 2 * self.units + g * 0
        mine = Scaled(d[:, None] + g * 0, ar.do("transpose", twice, (1, 0)))
        other = Scaled(d[None, :] + g * 0, twice)
        return Scaled.total([(1.0, mine), (1.0, other), (-2.0, self._scaled(g))]).root()

    def centred(self, output: int | None = None) -> Scaled:
        """⟨f_i − f̄, f_j − f̄⟩ with the mean f̄ of all models, in the units of the largest, shape ``(N, N)``."""
        g = self._of(output)
        units = self.units + ar.do("diagonal", g) * 0
        top = ar.do("max", units)
        m = self._scaled(g).at(2 * top)
        m = m - ar.do("mean", m, axis=0) - ar.do("mean", m, axis=1)[:, None] + ar.do("mean", m)
        return Scaled(m, 2 * top)

    def squares(self, output: int | None = None) -> Scaled:
        """⟨f_i, f_i⟩ as mantissa and power of two, shape ``(N,)``."""
        d = ar.do("diagonal", self._of(output))
        return Scaled(d, 2 * self.units + d * 0)

    def _scaled(self, g: Array) -> Scaled:
        units = self.units + ar.do("diagonal", g) * 0
        return Scaled(g, units[:, None] + units[None, :])

    def _of(self, output: int | None) -> Array:
        """Mantissas of one output, or of all together."""
        if output is None:
            return ar.do("sum", self.mantissas, axis=0)
        self._check_apart()
        if not -len(self.mantissas) <= output < len(self.mantissas):
            raise IndexError(f"output {output} of {len(self.mantissas)}.")
        return self.mantissas[output]

    def _check_apart(self) -> None:
        if not self.apart:
            raise ValueError("outputs were summed up on the way; ask for them with gram(..., slices=True).")


def gram(
    models: Sequence[Model],
    *,
    under: Measure | None = None,
    method: Method = "exact",
    labels: Sequence[Any] | None = None,
    slices: bool = True,
    budget: float = BUDGET,
    memory: float = MEMORY,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
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
        progress: show a bar if it takes more than two seconds.
        checkpoint: a file that keeps finished blocks. Called again with the same arguments after an
            interruption, only the others are computed, with the same result to the last bit (given the same
            number of threads). Gradients do not flow through kept blocks. Whether the file can be written is found out
            first; if writing fails later, a warning says so, and the matrix is returned. One process at a time.

    Raises:
        CostError: if it would take more than the budget.
        ValueError: if the list is empty, models do not fit together, or the checkpoint is of other models or another
            law, is damaged, is used by another process, or cannot be written (an ``OSError`` as well).

    Example:
        >>> import tnsim
        >>> run = [tnsim.nn.BilinearLayer(4, 8, 3) for _ in range(5)]
        >>> tnsim.gram(run).similarity().shape
        torch.Size([5, 5])
    """
    check_limits(budget, memory)
    given = _unpacked(models)
    asked = Gaussian() if under is None else under
    nets, law, exponents = in_units(given, asked, None, method)
    names = tuple(getattr(models, "labels", range(len(nets))) if labels is None else labels)
    if len(names) != len(nets):
        raise ValueError(f"{len(names)} labels for {len(nets)} models.")
    if len({net.codomain for net in nets}) > 1:
        shapes = [net.polys[-1].out_shape for net in nets]
        raise ValueError(f"a Gram matrix needs models with the same outputs; got {shapes}.")
    keep: Keep = "diagonal" if slices else "sum"
    groups: dict[Any, list[int]] = {}
    for i, net in enumerate(nets):
        groups.setdefault(net.signature(), []).append(i)

    parts = []
    limits = (
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
    except Exceeded as error:
        check_budget(error.cost, *limits)
        raise
    check_budget(plan.cost, *limits)

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
        plan([part.net for part in parts], missing, finished, progress)
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


def _cosine(g: Array) -> Array:
    """Norms are divided one after the other: their product may overflow where they do not."""
    squares = ar.do("diagonal", g, axis1=-2, axis2=-1)
    check_range(squares, "a model", "its cosines")
    norm = squares**0.5
    return g / norm[..., :, None] / norm[..., None, :]


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
