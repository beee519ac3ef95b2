"""Inner products of a list of models with each other: a training run as a geometry."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import autoray as ar
from tqdm import tqdm

from tnsim.algebra.contract import Cost, check_budget, total
from tnsim.algebra.network import Network, stack
from tnsim.analysis.problem import BUDGET, MEMORY, Method, Model, Problem, price, together
from tnsim.measure.gaussian import Gaussian
from tnsim.measure.measure import Measure

__all__ = ["Gram", "gram"]

Array = Any


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
) -> Gram:
    """All pairs of a list of models at once.

    Models of equal wiring (the checkpoints of a run) are stacked on one index and contracted together, in
    chunks that fit into ``memory``; others are compared group by group.

    Args:
        models: torch modules or Networks, with the same inputs and outputs; or one stacked Network.
        under: the law of the input; the standard normal by default.
        method: ``"exact"`` or ``"layerwise"`` (approximate from two layers on).
        labels: one for every model, for instance training steps; 0 … N−1 by default.
        budget: flops that may be spent on the whole matrix.
        memory: bytes that intermediate tensors may take.
        progress: show a bar if it takes more than two seconds.

    Raises:
        CostError: if it would take more than the budget.
        ValueError: if the list is empty, or models do not fit together.

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
    outs = {net.codomain for net in nets}
    if len(outs) > 1:
        shapes = [net.polys[-1].out_shape for net in nets]
        raise ValueError(f"a Gram matrix needs models with the same outputs; got {shapes}.")
    law = Gaussian() if under is None else under
    groups: dict[Any, list[int]] = {}
    for i, net in enumerate(nets):
        groups.setdefault(net.signature(), []).append(i)

    chunks = [c for members in groups.values() for c in _chunks(members, nets, law, method, memory)]
    pairs = [(p, q) for i, p in enumerate(chunks) for q in chunks[i:]]
    stacks = {chunk: stack([nets[i] for i in chunk]) for chunk in chunks}
    check_budget(
        total(_price(stacks[p], stacks[q], law, method) for p, q in pairs),
        budget,
        memory,
        f"this Gram matrix ({method})",
        "Raise budget= or memory=, or pass fewer models.",
    )

    blocks: dict[Any, Array] = {}
    for p, q in tqdm(pairs, "pairs of models", delay=2, leave=False, disable=not progress):
        block = _block(stacks[p], stacks[q], law, method)
        mirror = ar.do("transpose", block, (1, 0, 2))
        blocks[p, q], blocks[q, p] = ((block + mirror) / 2,) * 2 if p == q else (block, mirror)
    table = [ar.do("concatenate", [blocks[p, q] for q in chunks], axis=1) for p in chunks]
    where = {model: k for k, model in enumerate(i for chunk in chunks for i in chunk)}
    order = [where[i] for i in range(len(nets))]
    products = ar.do("transpose", ar.do("concatenate", table, axis=0)[order][:, order], (2, 0, 1))
    return Gram(products, names, law, method)


def _cosine(g: Array) -> Array:
    """Norms are divided one after the other: their product may overflow where they do not."""
    norm = ar.do("diagonal", g, axis1=-2, axis2=-1) ** 0.5
    return g / norm[..., :, None] / norm[..., None, :]


def _unpacked(models: Sequence[Model]) -> tuple[Network, ...]:
    if isinstance(models, Network) and models.models:
        return tuple(models.pick(i) for i in range(models.models))
    if isinstance(models, Network) or not isinstance(models, Sequence):
        models = list(models) if not isinstance(models, Network) and hasattr(models, "__iter__") else []
    if not models:
        raise ValueError("a Gram matrix needs a list of models; this one is empty.")
    return together(models, [f"model {i}" for i in range(len(models))])


def _block(p: Network, q: Network, law: Measure, method: Method) -> Array:
    """Per-output inner products of two stacks, shape ``(P, Q, n_out)``."""
    product = Problem.of((p, q), law, method).product(0, 1, "diagonal")
    return ar.do("reshape", product, (p.models, q.models, -1))


def _price(p: Network, q: Network, law: Measure, method: Method) -> Cost:
    return price(lambda: _block(p, q, law, method))


def _chunks(
    members: list[int], nets: Sequence[Network], law: Measure, method: Method, memory: float
) -> Iterator[tuple[int, ...]]:
    """The largest equal parts of a group whose pairwise block fits into memory."""
    size = len(members)
    while size > 1:
        part = stack([nets[i] for i in members[:size]])
        if _price(part, part, law, method).bytes <= memory:
            break
        size = (size + 1) // 2
    for at in range(0, len(members), size):
        yield tuple(members[at : at + size])
