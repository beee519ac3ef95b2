"""Explanation: what a comparison of two models would compute, contraction by contraction, and what that takes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from tnsim.analysis.asking.given import comparable
from tnsim.analysis.asking.problem import BUDGET, MEMORY, Method, Model
from tnsim.analysis.asking.questions import question
from tnsim.analysis.asking.units import in_units
from tnsim.analysis.compare.similarities import PATIENCE, products_of
from tnsim.analysis.tracing.recipes import itemised
from tnsim.common.digits import bytes_in_words, count_in_words, flops_in_words
from tnsim.common.notebook import Shown
from tnsim.common.wires import role_of
from tnsim.engine.contract import Contraction
from tnsim.engine.costs import Cost, capped
from tnsim.engine.effort import planning
from tnsim.measure.pairings.measure import Measure

__all__ = ["Explanation", "PathStep", "SharedPath", "explain"]

Tree = Any  # cotengra.ContractionTree
_SHOWN = 8
_WORDS = {  # operations that are no contractions
    "run": "batches of small matrix products",
    "_folded": "symmetric tensors multiplied, every entry once",
    "_looked_up": "entries of symmetric tensors picked",
    "_scaled": "symmetric tensors scaled",
}


@dataclass(frozen=True)
class PathStep:
    """One step of a contraction path: two tensors become one.

    Attributes:
        tensors: what meets: names of tensors, or of what they have become.
        summed: the indices that are summed over.
        flops: floating-point operations.
        size: numbers in the result.
    """

    tensors: tuple[str, str]
    summed: tuple[str, ...]
    flops: float
    size: float


@dataclass(frozen=True, eq=False)
class SharedPath:
    """Contractions that have one path: they differ in their numbers alone.

    Attributes:
        what: the tensors that are contracted, as layer and role; for other operations what is done.
        count: how many there are.
        weights: the factors with which they count, those of closures and terms; every different one, sorted.
        cost: the price of all.
        steps: the path, step by step; none of what is no contraction.
        sliced: indices that are taken in blocks to stay within memory, with the block's size.
        largest: numbers held at once by one of them.
        tree: the path as cotengra knows it, with ``tree.plot_tent()`` and others; ``None`` of what is no contraction.
        names: the names of the tree's indices.
    """

    what: tuple[str, ...]
    count: int
    weights: tuple[float, ...]
    cost: Cost
    steps: tuple[PathStep, ...]
    sliced: Mapping[str, int]
    largest: float
    tree: Tree
    names: Mapping[str, str]

    @property
    def product(self) -> str:
        """What is contracted, equal factors as powers."""
        return " ".join(name + f"^{n}" * (n > 1) for name, n in Counter(self.what).items())

    def __str__(self) -> str:
        lines = [
            f"{count_in_words(self.count)} × {self.product}",
            f"  {_weighted(self.weights)}{flops_in_words(self.cost.flops)}, one holds {_numbers(self.largest)}",
        ]
        if self.sliced:
            cut = ", ".join(f"{ix} by {n}" for ix, n in self.sliced.items())
            lines.append(f"  in slices: {cut}")
        for step in self.steps:
            over = f" over {', '.join(step.summed)}" if step.summed else ""
            lines.append(
                f"    {' · '.join(step.tensors)}{over}: {flops_in_words(step.flops)}, {_numbers(step.size)}"
            )
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Explanation(Shown):
    """What a comparison would compute: its contractions, those of one path together, from dear to cheap.

    Attributes:
        paths: the contractions.
        cost: the price of all; a lower bound where it was not planned to its end.
        method: "exact" or "layerwise".

    Example:
        >>> import tnsim
        >>> layer = tnsim.nn.BilinearLayer(6, 8, 3)
        >>> found = tnsim.explain(layer, layer)
        >>> found.method, found.cost.contractions == sum(path.count for path in found.paths)
        ('exact', True)
    """

    paths: tuple[SharedPath, ...]
    cost: Cost
    method: str

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, k: int) -> SharedPath:
        return self.paths[k]

    def __str__(self) -> str:
        paths = f"{len(self.paths)} {'path' if len(self.paths) == 1 else 'different paths'}"
        lines = [f"{self.method}: {self.cost}, along {paths}"]
        for path in self.paths[:_SHOWN]:
            share = path.cost.flops / self.cost.flops if 0 < self.cost.flops < inf else 0.0
            sizes = f"{bytes_in_words(path.cost.bytes)} held" + f", {len(path.sliced)} sliced" * bool(
                path.sliced
            )
            what = f"{count_in_words(path.count):>6} × {path.product}"
            lines.append(f"{share:6.1%}  {what}  ({_weighted(path.weights)}{sizes})")

        if len(self.paths) > _SHOWN:
            lines.append(
                f"        and {len(self.paths) - _SHOWN} more; print(explanation[k]) shows the steps of one"
            )
        return "\n".join(lines)

    __repr__ = __str__


@question
def explain(
    a: Model,
    b: Model | None = None,
    *,
    under: Measure | None = None,
    method: Method = "exact",
    output: int | slice | tuple[int, ...] | None = None,
    budget: float = 100 * BUDGET,
    memory: float = MEMORY,
) -> Explanation:
    """What :func:`similarity` would compute: which contractions, how often, along which paths, and where the flops go.

    Nothing is computed. Closures whose legs may be exchanged are counted once, with a weight; contractions of equal
    structure share a path. Parts of closures that many contractions share are contracted once, and then appear as
    ``BRIDGE``; the law's tensors are ``COV`` and ``MEAN``, and a ``state`` is what was computed before, such as the law of
    a hidden state. Of attention, batches of small matrix products are listed as such.

    Args:
        a: a torch module or a Network.
        b: another; by default ``a`` itself.
        under: the law of the input; the standard normal by default.
        method: ``"exact"`` or ``"layerwise"``.
        output: one output, or a slice of them.
        budget: flops beyond which nothing more is planned: what was found so far is returned, ``cost.at_least`` is true.
        memory: bytes that intermediate tensors may take. A contraction that takes more is sliced, if it can be.

    Returns:
        Paths from dear to cheap, with their steps, sizes and slices; together they have the price that :func:`cost` says.

    Raises:
        ValueError: if inputs, outputs, dtypes or devices differ.

    Example:
        >>> import tnsim
        >>> a, b = (tnsim.nn.BilinearLayer(4, 8, 3) for _ in range(2))
        >>> found = explain(a, b)
        >>> sum(path.count for path in found) == found.cost.contractions
        True
        >>> found[0].steps[0].summed
        ('ket/in0:d',)
    """
    nets = comparable(a, a if b is None else b)
    given = (*in_units(nets, under, output, method), method, output)
    with capped(memory), planning(PATIENCE if budget < inf else inf):
        noted, cost = itemised(products_of, given, budget)
        return Explanation(_grouped(noted), cost, method)


def _grouped(noted: Sequence[tuple[Any, Cost]]) -> tuple[SharedPath, ...]:
    """Those of one path together."""
    found: dict[Any, list[tuple[Any, Cost]]] = {}
    for what, cost in noted:
        key: Any = what
        if isinstance(what, Contraction):
            key = (what.path()[0], tuple(map(_name, what.tensors)))
        found.setdefault(key, []).append((what, cost))
    return tuple(sorted(map(_path, found.values()), key=lambda p: -p.cost.flops))


def _path(alike: Sequence[tuple[Any, Cost]]) -> SharedPath:
    what, cost = alike[0]
    total = sum((c for _, c in alike[1:]), cost)
    if not isinstance(what, Contraction):
        name = getattr(what, "__name__", type(what).__name__)
        words = _WORDS.get(name, name.strip("_").replace("_", " "))
        return SharedPath((words,), len(alike), (), total, (), {}, cost.writes, None, {})
    how, names = what.path()
    tensors = tuple(map(_name, what.tensors))
    tensors += ("I",) * (len(how.tree.inputs) - len(tensors))  # they keep outputs apart that became one
    weights = tuple(sorted({float(c.weight) for c, _ in alike}))
    sliced = {names[ix]: n for ix, n in how.blocks.items()}
    return SharedPath(
        tensors,
        len(alike),
        weights,
        total,
        _steps(how.tree, tensors, names),
        sliced,
        how.peak,
        how.tree,
        names,
    )


def _steps(tree: Tree, tensors: Sequence[str], names: Mapping[str, str]) -> tuple[PathStep, ...]:
    """The path in words. What tensors have become is named by its first tensor and how many they were."""
    if tree.N < 2:
        return ()

    def word(node: Any) -> str:
        leaves = sorted(tree.get_subgraph(node))
        more = len(leaves) - 1
        return tensors[leaves[0]] + f" (with {more} more)" * bool(more)

    steps = []
    for parent, left, right in tree.traverse():
        kept = set(tree.get_legs(parent))
        summed = tuple(
            names[ix] for ix in dict.fromkeys((*tree.get_legs(left), *tree.get_legs(right))) if ix not in kept
        )
        steps.append(
            PathStep(
                (word(left), word(right)), summed, 2.0 * tree.get_flops(parent), float(tree.get_size(parent))
            )
        )
    return tuple(steps)


def _name(tensor: Any) -> str:
    """Layer and role of a tensor."""
    _, *layers = tensor.tags or ("",)
    return ".".join((*reversed(layers), role_of(tensor.tags) or "state"))


def _numbers(count: float) -> str:
    return f"{count_in_words(int(count))} numbers"


def _weighted(weights: Sequence[float]) -> str:
    if not weights or weights == (1.0,):
        return ""
    shown = ", ".join(f"{w:.3g}" for w in weights[:3]) + ", …" * (len(weights) > 3)
    return f"weight{'s' * (len(weights) > 1)} {shown}; "
