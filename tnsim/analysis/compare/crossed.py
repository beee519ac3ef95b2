"""Every cut of one model against every cut of another, or every model of one run against every one of another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from tqdm.auto import tqdm

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.writing import identity
from tnsim.analysis.asking.problem import BUDGET, MEMORY, Method, Model, as_network, is_models, together
from tnsim.analysis.asking.questions import either, questioning
from tnsim.analysis.asking.tensors import tensor
from tnsim.analysis.compare.indices import cka, procrustes
from tnsim.analysis.compare.similarities import similarity
from tnsim.common.border import choice
from tnsim.common.notebook import Plotted
from tnsim.measure.laws.gaussian import Gaussian
from tnsim.measure.pairings.measure import Measure

__all__ = ["Crossed", "layers"]

Index = Literal["cka", "procrustes", "similarity"]

_INDICES: dict[str, Callable[..., Any]] = {"cka": cka, "procrustes": procrustes, "similarity": similarity}


@dataclass(frozen=True, eq=False)
class Crossed(Plotted):
    """An index of everything on one side against everything on the other: what :func:`layers` returns.

    Attributes:
        values: shape ``(rows, columns)``; nan where the two have no index, such as similarity of cuts of other shapes.
        rows: the cuts, or the models, of the first.
        columns: those of the second.
        measure: which index.
        under: the law of the input.
        method: ``"exact"`` or ``"layerwise"``.
        of: what rows and columns are, such as ``"layers"``.

    Example:
        >>> import tnsim
        >>> a, b = (tnsim.nn.BilinearMLP(6, 4, 4, 3, n_layer=n) for n in (1, 2))
        >>> found = tnsim.layers(a, b, progress=False)
        >>> found
        Crossed(cka of 3 × 4 layers, Gaussian(), exact)
        >>> found.rows
        ('embed', 'blocks.0', 'head')
    """

    values: torch.Tensor
    rows: tuple[Any, ...]
    columns: tuple[Any, ...]
    measure: Index
    under: Measure
    method: Method
    of: str

    def __repr__(self) -> str:
        n, m = self.values.shape
        return f"Crossed({self.measure} of {n} × {m} {self.of}, {self.under!r}, {self.method})"


@questioning(a=either, b=either, measure=choice(*_INDICES))
def layers(
    a: Model | Sequence[Model],
    b: Model | Sequence[Model] | None = None,
    *,
    measure: Index = "cka",
    under: Measure | None = None,
    method: Method = "exact",
    budget: float = BUDGET,
    memory: float = MEMORY,
    progress: bool = True,
) -> Crossed:
    """Compare all layers of two models with each other, from the weights: the picture of the CKA papers, without data.

    Row i is the first model up to and with its layer i, ``a[:i + 1]``, as a function of the input; column j the second
    one's. What the layers are is said by :func:`tnsim.convert`. Of two runs, every model of one is compared with every
    one of the other.

    With ``method="layerwise"`` a shorter cut waits for the longer: its state passes unchanged through as many further
    layers, in each of which the joint law of both is taken to be Gaussian.

    Args:
        a: a torch module or a Network; or a run, such as :func:`tnsim.checkpoints`, or a list of models.
        b: another that reads the same input, by default ``a`` itself; or another run.
        measure: ``"cka"`` or ``"procrustes"``, which forget a rotation of the layer (:func:`cka`, :func:`procrustes`);
            or ``"similarity"``, which needs layers of the same shape and gives nan for others.
        under: the law of the input; the standard normal by default.
        method: ``"exact"`` or ``"layerwise"`` (approximate from two layers on).
        budget: flops that may be spent on each pair.
        memory: bytes that intermediate tensors may take.
        progress: show a bar.

    Returns:
        :class:`Crossed`, with ``.plot()`` and ``.to_frame()``.

    Raises:
        CostError: if a pair would take more than the budget.
        ValueError: if the models do not read the same input, a layer is constant, or a run is compared with a model;
            it names the pair.

    References:
        Kornblith et al., arXiv 1905.00414, for the picture; Williams et al., arXiv 2110.14739.

    Example:
        >>> import tnsim
        >>> a = tnsim.nn.BilinearMLP(4, 3, 5, 2, 2)
        >>> found = layers(a)
        >>> found.rows
        ('embed', 'blocks.0', 'blocks.1', 'head')
        >>> found.values.diagonal().round(decimals=6)
        tensor([1., 1., 1., 1.], dtype=torch.float64)
    """
    other = a if b is None else b
    if is_models(a) != is_models(other):
        raise ValueError("a run is compared with a run, and a model with a model.")
    if is_models(a):
        first, second = cast(Sequence[Model], a), cast(Sequence[Model], other)
        names = [f"model {i} of {x}" for x, run in (("a", first), ("b", second)) for i in range(len(run))]
        nets = together([*first, *second], names)
        mine, theirs = list(nets[: len(first)]), list(nets[len(first) :])
        rows, columns = _labels(first), _labels(second)
        of = "models"
    else:
        left = as_network(cast(Model, a), "a")
        right = left if b is None else as_network(cast(Model, b), "b")
        together((left, right))
        mine, theirs = _cuts(left), _cuts(right)
        rows, columns = left.names, right.names
        of = "layers"
    index = _INDICES[measure]

    def value(i: int, j: int) -> torch.Tensor:
        f, g = mine[i], theirs[j]
        if measure == "similarity" and f.polys[-1].out_shape != g.polys[-1].out_shape:
            return torch.tensor(float("nan"), device="cpu")
        if method == "layerwise":
            most = max(len(f), len(g))
            f, g = _waiting(f, most), _waiting(g, most)
        try:
            return tensor(index(f, g, under=under, method=method, budget=budget, memory=memory)).detach()
        except ValueError as error:
            raise ValueError(f"{rows[i]} of a against {columns[j]} of b: {error}") from error

    same = b is None or b is a
    pairs = [(i, j) for i in range(len(mine)) for j in range(i if same else 0, len(theirs))]
    found = {pair: value(*pair) for pair in tqdm(pairs, "pairs", disable=not progress, leave=False, delay=2)}
    found |= {(j, i): x for (i, j), x in found.items()} if same else {}
    flat = [found[i, j].to("cpu", torch.float64) for i in range(len(mine)) for j in range(len(theirs))]
    values = torch.stack(flat).reshape(len(mine), len(theirs))
    law = Gaussian() if under is None else under
    return Crossed(values, tuple(rows), tuple(columns), measure, law, method, of)


def _labels(run: Sequence[Model]) -> tuple[Any, ...]:
    return tuple(getattr(run, "labels", range(len(run))))


def _cuts(net: Network) -> list[Network]:
    """The network up to each of its layers."""
    if net.models:
        raise ValueError("layers are compared for single models; pick one from the stack with net.pick(i).")
    return [net[: k + 1] for k in range(len(net))]


def _waiting(net: Network, most: int) -> Network:
    """A network of more layers, in the last of which nothing happens."""
    last = net.polys[-1]
    stay = identity(last.codomain, last.like)
    return replace(net, layers=(*net.layers, *((f"stay.{k}", stay) for k in range(most - len(net)))))
