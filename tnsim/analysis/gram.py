"""Inner products of a list of models with each other: a training run as a geometry."""

import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import autoray as ar
import torch
from tqdm import tqdm

from tnsim.algebra.network import Network
from tnsim.algebra.poly import Poly
from tnsim.algebra.price import Cost, check_budget
from tnsim.algebra.stacking import outline, stack
from tnsim.analysis.problem import BUDGET, MEMORY, Method, Model, Problem, hidden_laws, law_for, together
from tnsim.analysis.recipe import Answer, answer
from tnsim.analysis.resume import Saved, fingerprint
from tnsim.measure.gaussian import Gaussian
from tnsim.measure.linked import has_links
from tnsim.measure.measure import Measure, as_like

__all__ = ["Gram", "gram"]

Array = Any

_CHUNKS = 8  # models come in at least as many, where that saves work or there are results to keep
_DEAR = 1e10  # effort; below, chunks cost more time than they save
_CALL = 3e8  # effort that takes as long as it takes to go through a recipe, whatever for


@dataclass(frozen=True, eq=False)
class Gram:
    """Inner products of N models with each other.

    Attributes:
        products: shape ``(n_out, N, N)``: ⟨f_i, f_j⟩ for every output apart. They add up to the whole.
        labels: one for every model.
        under: the law of the input.
        method: ``"exact"`` or ``"layerwise"``.
    """

    products: Array
    labels: tuple[Any, ...]
    under: Measure
    method: Method

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        outputs = ar.shape(self.products)[0]
        return f"Gram({len(self)} models, {outputs} outputs, {self.under!r}, {self.method})"

    @property
    def matrix(self) -> Array:
        """The Gram matrix itself, shape ``(N, N)``: inner products summed over outputs."""
        return ar.do("sum", self.products, axis=0)

    def similarity(self, output: int | None = None) -> Array:
        """Cosines, shape ``(N, N)``; of one output if given. A zero model gives nan."""
        if output is not None and not -len(self.products) <= output < len(self.products):
            raise IndexError(f"output {output} of {len(self.products)}.")
        return _cosine(self.matrix if output is None else self.products[output])

    def slices(self) -> Array:
        """Cosines of every output apart, shape ``(n_out, N, N)``."""
        return _cosine(self.products)

    def distance(self, output: int | None = None) -> Array:
        """‖f_i − f_j‖ in function space, shape ``(N, N)``."""
        g = self.matrix if output is None else self.products[output]
        d = ar.do("diagonal", g)
        squared = d[:, None] + d[None, :] - 2 * g
        return ar.do("clip", squared, 0, None) ** 0.5


def gram(
    models: Sequence[Model],
    *,
    under: Measure | None = None,
    method: Method = "exact",
    labels: Sequence[Any] | None = None,
    budget: float = BUDGET,
    memory: float = MEMORY,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Gram:
    """All pairs of a list of models at once.

    Models of equal wiring (the checkpoints of a run) are stacked on one index and contracted together, in
    chunks that fit into ``memory``; others are compared group by group. Layer by layer, what concerns one model
    alone is computed once for every model.

    Args:
        models: torch modules or Networks, with the same inputs and outputs; or one stacked Network.
        under: the law of the input; the standard normal by default.
        method: ``"exact"`` or ``"layerwise"`` (approximate from two layers on).
        labels: one for every model, for instance training steps; 0 … N−1 by default.
        budget: flops that may be spent on the whole matrix.
        memory: bytes that intermediate tensors may take.
        progress: show a bar if it takes more than two seconds.
        checkpoint: a file that keeps finished blocks. Called again with the same arguments after an
            interruption, only the others are computed, with the same result to the last bit (given the same
            number of threads). Gradients do not flow through kept blocks.

    Raises:
        CostError: if it would take more than the budget.
        ValueError: if the list is empty, models do not fit together, or the checkpoint is of other models.

    Example:
        >>> import tnsim
        >>> run = [tnsim.nn.BilinearLayer(4, 8, 3) for _ in range(5)]
        >>> tnsim.gram(run).similarity().shape
        torch.Size([5, 5])
    """
    nets = _unpacked(models)
    names = tuple(range(len(nets))) if labels is None else tuple(labels)
    if len(names) != len(nets):
        raise ValueError(f"{len(names)} labels for {len(nets)} models.")
    if len({net.codomain for net in nets}) > 1:
        shapes = [net.polys[-1].out_shape for net in nets]
        raise ValueError(f"a Gram matrix needs models with the same outputs; got {shapes}.")
    asked = Gaussian() if under is None else under
    law = law_for(nets, asked)
    groups: dict[Any, list[int]] = {}
    for i, net in enumerate(nets):
        groups.setdefault(net.signature(), []).append(i)

    parts = []
    for members in groups.values():
        size = _part_size(nets[members[0]], len(members), law, method, memory, checkpoint is not None)
        parts += [_stacked(members[k : k + size], nets) for k in range(0, len(members), size)]
    pairs = [(i, j) for i in range(len(parts)) for j in range(i, len(parts))]
    check_budget(
        _bill(parts, pairs, law, method),
        budget,
        memory,
        f"this Gram matrix ({method})",
        "Raise budget= or memory=, or pass fewer models.",
    )

    chunking = tuple(part.members for part in parts)
    saved = Saved(checkpoint, "" if checkpoint is None else fingerprint(list(nets), asked, method, chunking))
    laws: dict[int, list[Measure]] = {}
    blocks: dict[tuple[int, int], Array] = {}
    for i, j in tqdm(pairs, "pairs of models", delay=2, leave=False, disable=not progress):
        block = saved.get(f"{i}-{j}")
        if block is None:
            own, other, both = _answers(parts[i].net, parts[j].net, law, method)
            for k, alone in ((i, own), (j, other)):
                if k not in laws:
                    laws[k] = alone((parts[k].net, law, method))
            ends = _ends(parts[i].net, parts[j].net, (i, j))
            block = both((tuple(parts[k].net for k in ends), tuple(laws[k] for k in ends), law, method))
            saved.put(f"{i}-{j}", block)
        else:
            block = as_like(block, nets[0].polys[0].like)
        mirror = ar.do("transpose", block, (1, 0, 2))
        blocks[i, j], blocks[j, i] = ((block + mirror) / 2,) * 2 if i == j else (block, mirror)
    every = range(len(parts))
    table = [ar.do("concatenate", [blocks[i, j] for j in every], axis=1) for i in every]
    where = {model: k for k, model in enumerate(i for part in parts for i in part.members)}
    order = [where[i] for i in range(len(nets))]
    products = ar.do("transpose", ar.do("concatenate", table, axis=0)[order][:, order], (2, 0, 1))
    return Gram(products, names, asked, method)


@dataclass(frozen=True, eq=False)
class _Part:
    """Models that are contracted together."""

    members: tuple[int, ...]
    net: Network

    @property
    def kind(self) -> tuple[Any, int]:
        """Equal for parts that cost the same."""
        return self.net.signature(), len(self.members)


def _cosine(g: Array) -> Array:
    """Norms are divided one after the other: their product may overflow where they do not."""
    norm = ar.do("diagonal", g, axis1=-2, axis2=-1) ** 0.5
    return g / norm[..., :, None] / norm[..., None, :]


def _unpacked(models: Sequence[Model]) -> tuple[Network, ...]:
    if isinstance(models, Network) and models.models:
        return tuple(models.pick(i) for i in range(models.models))
    if isinstance(models, Network | Poly | torch.nn.Module):
        raise ValueError("a Gram matrix needs a list of models; this is a single one.")
    if not list(models):
        raise ValueError("a Gram matrix needs a list of models; this one is empty.")
    return together(list(models), [f"model {i}" for i in range(len(models))])


def _laws(net: Network, law: Measure, method: Method) -> list[Measure]:
    """What every pair with these models shares."""
    return hidden_laws(net, law, "diagonal") if method == "layerwise" else []


def _block(nets: Sequence[Network], laws: Sequence[Sequence[Measure]], law: Measure, method: Method) -> Array:
    """Per-output inner products of two stacks, shape ``(P, Q, n_out)``; of a single model with itself, if it is alone."""
    product = Problem.of(nets, law, method, laws, "diagonal").product(0, len(nets) - 1, "diagonal")
    if len(nets) == 1:
        return ar.do("reshape", product, (1, 1, -1))
    return ar.do("reshape", product, (*ar.shape(product)[:2], -1))


def _answers(p: Network, q: Network, law: Measure, method: Method) -> tuple[Answer, Answer, Answer]:
    """What is to be done for two stacks of models alone, and for their block."""
    own = answer(_laws, (p, law, method))
    other = own if p is q else answer(_laws, (q, law, method))
    laws = (own.shape, own.shape if p is q else other.outline())
    nets, known = _ends(p, q, (p, q)), _ends(p, q, laws)
    return own, other, answer(_block, (nets, known, law, method))


def _ends(p: Network, q: Network, pair: tuple[Any, Any]) -> tuple[Any, ...]:
    """What a block is made of: a pair, or the first alone where it is a single model with itself."""
    return pair[:1] if p is q and p.models == 1 else pair


def _price(p: Network, q: Network, law: Measure, method: Method) -> Cost:
    """Price of a block; what concerns single models is counted with the diagonal."""
    own, _, block = _answers(p, q, law, method)
    return own.cost + block.cost if p is q else block.cost


def _bill(parts: Sequence[_Part], pairs: Sequence[tuple[int, int]], law: Measure, method: Method) -> Cost:
    """Price of all blocks. Blocks of the same sizes in the same groups cost the same."""
    known: dict[Any, Cost] = {}
    for i, j in pairs:
        kind = (parts[i].kind, parts[j].kind, i == j)
        if kind not in known:
            known[kind] = _price(parts[i].net, parts[j].net, law, method)
    return reduce(operator.add, (known[parts[i].kind, parts[j].kind, i == j] for i, j in pairs))


def _part_size(net: Network, count: int, law: Measure, method: Method, memory: float, kept: bool) -> int:
    """How many of so many models like ``net`` to take together.

    Together they are fastest, unless it is worth leaving out the half of the square that its mirror tells, or they
    do not fit into memory, or there are results to keep.
    """

    def alone(n: int) -> Cost:
        square = outline(net, n)
        return _price(square, square, law, method)

    def apart(n: int) -> Cost:
        return _price(outline(net, n), outline(net, n), law, method)

    def together(n: int) -> float:
        """Effort of the whole matrix."""
        chunks = count / n
        return chunks * alone(n).effort + chunks * (chunks - 1) / 2 * apart(n).effort

    size, few = count, -(-count // _CHUNKS)
    if not kept and few < count and (whole := alone(count).effort) > _DEAR:
        kept = together(few) < whole
    if kept:
        size = few
    if size > 1 and any(map(has_links, net.polys)) and together(1) + count**2 / 2 * _CALL < together(size):
        size = 1  # a single model with itself is done by halves
    while size > 1 and (apart(size) if size < count else alone(size)).bytes > memory:
        size = (size + 1) // 2
    return size


def _stacked(members: Sequence[int], nets: Sequence[Network]) -> _Part:
    return _Part(tuple(members), stack([nets[i] for i in members]))
