"""Truncation: a smaller network, and exactly how similar it is to the one it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from tqdm.auto import tqdm

from tnsim.algebra.networks.network import Network
from tnsim.analysis.asking.problem import (
    BUDGET,
    MEMORY,
    Method,
    Model,
    Problem,
    as_network,
    has_cheaper,
    priced,
)
from tnsim.analysis.asking.questions import question
from tnsim.analysis.asking.sizes import check_sizes
from tnsim.analysis.asking.units import in_units
from tnsim.analysis.bonds.places import HIDDEN, is_hidden, products
from tnsim.analysis.explain.shrinking import Shrinking, parameters_of, plan_at, shrunk
from tnsim.common.scaled import Scaled
from tnsim.measure.pairings.measure import Measure, MeasureError

__all__ = ["Truncation", "truncate", "truncations"]


@dataclass(frozen=True, eq=False)
class Truncation:
    """A smaller network beside the one it came from.

    Attributes:
        network: the smaller network; its layers have the names of the original's.
        similarity: of the two, under the law; computed, not estimated.
        error: ‖f − f̃‖ / ‖f‖, computed.
        ranks: width that every place was cut down to.
        left_out: share of the energy at each place that was left out: what the cut was chosen by.
        parameters: numbers in the smaller network, and in the original.
        steps: with ``bound=True``, the relative error of each cut on top of those before, computed.

    Example:
        >>> import tnsim
        >>> small = tnsim.truncate(tnsim.nn.BilinearMLP(8, 6, 6, 3, n_layer=1), rank=3)
        >>> small.parameters[0] < small.parameters[1], small.similarity > 0.3
        (True, True)
    """

    network: Network
    similarity: float
    error: float
    ranks: Mapping[str, int]
    left_out: Mapping[str, float]
    parameters: tuple[int, int]
    steps: Mapping[str, float] | None = None

    @property
    def bound(self) -> float | None:
        """Sum of the errors of the single cuts, which the error cannot exceed (triangle inequality)."""
        return None if self.steps is None else sum(self.steps.values())

    def __repr__(self) -> str:
        after, before = self.parameters
        return (
            f"Truncation({after} of {before} parameters, similarity {self.similarity:.6f}, error {self.error:.3g}, "
            f"ranks {dict(self.ranks)})"
        )


@question
def truncate(
    model: Model,
    *,
    rank: int | Mapping[str, int] | None = None,
    error: float | None = None,
    parameters: int | None = None,
    at: Sequence[str] | None = None,
    under: Measure | None = None,
    method: Method = "exact",
    modes: Method | None = None,
    bound: bool = False,
    budget: float = BUDGET,
    memory: float = MEMORY,
    progress: bool = True,
) -> Truncation:
    """A smaller network that does the same as far as it can: orthogonalise, diagonalise, truncate. How far is exact.

    At every bond of the chain the state below is made orthonormal in the metric of the law (H = E[h hᵀ]), diagonalised
    together with what lies above it (A = E[JᵀJ], see :func:`unfold`), and cut to its leading modes; the maps onto them
    and back are multiplied into the layers. Of the hidden units of a layer, the best are kept one after the other,
    and those that are dropped are merged into them: each is replaced by its best linear approximation in those kept.

    The cuts are chosen by what is left out at each place. Under a law of one input, a layer's errors reach the output
    through polynomials, so no bound follows from that alone. The similarity and the error of the result are therefore
    computed, by inner products of the two networks. For the hidden units of the last layer, the share left out *is* the
    squared error.

    Args:
        model: a torch module or a Network; a difference is passed as :func:`difference`.
        rank: width that places are cut to, at most; one for all, or one for each by name. A number cuts bonds only.
        error: the largest relative error ‖f − f̃‖ / ‖f‖. The same share of the energy is left out at every place, as
            much as the computed error allows.
        parameters: the largest number of parameters. The same share is left out at every place, as little as possible.
        at: places that may be cut: names of layers (the bond behind them) and of hidden units, ``"blocks.0.hidden"``;
            with ``rank=`` a number all bonds, else all bonds and hidden units.
        under: the law of the input; the standard normal by default.
        method: of the similarity, ``"exact"`` or ``"layerwise"`` (approximate from two layers on).
        modes: how modes and energies are computed, the same by default. ``"layerwise"`` is cheap, and leaves the
            reported similarity exact.
        bound: also compute the errors of the single cuts, and with them a bound.
        budget: flops that may be spent on one inner product.
        memory: bytes that intermediate tensors may take.
        progress: show a bar if it takes more than two seconds.

    Returns:
        The smaller network, its similarity, error, ranks and size.

    Raises:
        CostError: if an inner product would take more than the budget.
        ValueError: unless exactly one of ``rank``, ``error`` and ``parameters`` is given, or if it cannot be met.
        MeasureError: for ``Frobenius()``.

    References:
        Orthogonalise, diagonalise, truncate: arXiv 2504.02667 (there in the metric of the tensors as stored).

    Example:
        >>> import tnsim
        >>> net = tnsim.convert(tnsim.nn.BilinearMLP(6, 5, 8, 2, n_layer=2))
        >>> small = truncate(net, rank=3)
        >>> small.network["blocks.1"].in_shape, small.parameters
        ((3,), (168, 280))
        >>> 0 < small.similarity < 1
        True
    """
    net = _checked(model, under)
    given = [x for x in (rank, error, parameters) if x is not None]
    if len(given) != 1:
        raise ValueError("say how far to cut, with one of rank=, error= and parameters=.")
    plans = _plans(net, _places(net, at, rank), under, modes or method, budget, memory, progress)
    options: dict[str, Any] = dict(under=under, method=method, budget=budget, memory=memory)
    if rank is not None:
        ranks = {
            p: min(plan.size, rank[p] if isinstance(rank, Mapping) else rank) for p, plan in plans.items()
        }
        if min(ranks.values()) < 1:
            raise ValueError(f"ranks are at least 1; got {rank}.")
        return _measured(net, plans, ranks, bound, options)
    if parameters is not None:
        return _measured(net, plans, _fitting(net, plans, parameters), bound, options)
    assert error is not None
    return _within(net, plans, error, bound, options)


@question
def truncations(
    model: Model,
    parameters: Sequence[int],
    *,
    at: Sequence[str] | None = None,
    under: Measure | None = None,
    method: Method = "exact",
    modes: Method | None = None,
    budget: float = BUDGET,
    memory: float = MEMORY,
    progress: bool = True,
) -> list[Truncation]:
    """A curve of similarity against size: :func:`truncate` for several numbers of parameters, with modes computed once.

    Args:
        model: a torch module or a Network.
        parameters: the largest number of parameters for every point.
        at: places that may be cut, as in :func:`truncate`.
        under: the law of the input; the standard normal by default.
        method: of the similarity, ``"exact"`` or ``"layerwise"``.
        modes: how modes and energies are computed, the same by default.
        budget: flops that may be spent on one inner product.
        memory: bytes that intermediate tensors may take.
        progress: show a bar if it takes more than two seconds.

    Returns:
        One truncation for every number, in the given order.

    Example:
        >>> import tnsim
        >>> model = tnsim.nn.BilinearMLP(8, 6, 6, 3, n_layer=1)
        >>> curve = tnsim.truncations(model, parameters=[60, 90], progress=False)
        >>> [small.parameters[0] <= most for small, most in zip(curve, [60, 90])]
        [True, True]
    """
    net, wanted = _checked(model, under), [parameters] if isinstance(parameters, int) else parameters
    plans = _plans(net, _places(net, at, None), under, modes or method, budget, memory, progress)
    options: dict[str, Any] = dict(under=under, method=method, budget=budget, memory=memory)
    return [
        _measured(net, plans, _fitting(net, plans, n), False, options)
        for n in tqdm(wanted, "truncating", delay=2, leave=False, disable=not progress)
    ]


def _checked(model: Model, under: Measure | None) -> Network:
    net = as_network(model)
    if net.models:
        raise ValueError("a run is truncated model by model; pick one with net.pick(i).")
    if under is not None and not under.as_functions:
        raise MeasureError(
            f"{under!r} compares tensors as they are stored; truncate under Symmetric() or Gaussian()."
        )
    return net


def _places(net: Network, at: Sequence[str] | None, rank: int | Mapping[str, int] | None) -> list[str]:
    if isinstance(rank, Mapping):
        return list(rank)
    bonds = [name for (name, f), _ in pairwise(net.layers) if len(f.codomain) == 1]
    if at is not None:
        return [at] if isinstance(at, str | int) else list(at)
    units = []
    for name, f in net if rank is None else ():
        if not is_hidden(net, name + HIDDEN):
            continue
        try:
            products(f)
        except ValueError:
            continue
        units.append(name + HIDDEN)
    if not bonds + units:
        raise ValueError(
            "this network has no bond between layers to cut; name hidden units, at=['layer.hidden']."
        )
    return bonds + units


def _plans(
    net: Network,
    places: list[str],
    under: Measure | None,
    method: Method,
    budget: float,
    memory: float,
    bar: bool,
) -> dict[str, Shrinking]:
    for p in places:
        if p not in net.names[:-1] and not is_hidden(net, p):
            raise ValueError(f"{p!r} is no bond between two layers; there are {list(net.names[:-1])}.")
    shown = tqdm(places, "unfolding", delay=2, leave=False, disable=not bar)
    return {p: plan_at(net, p, under, method, budget, memory) for p in shown}


def _measured(
    net: Network,
    plans: Mapping[str, Shrinking],
    ranks: Mapping[str, int],
    bound: bool,
    options: dict[str, Any],
) -> Truncation:
    small = shrunk(net, plans, ranks)
    steps = None
    if bound:
        done = net
        steps = {}
        for k, p in enumerate(ranks):
            after = shrunk(net, plans, dict(list(ranks.items())[: k + 1]))
            steps[p] = _compared(done, after, options)[1] * _compared(net, done, options)[2]
            done = after
    cosine, error, _ = _compared(net, small, options)
    return Truncation(
        small,
        cosine,
        error,
        dict(ranks),
        {p: float(plans[p].left[r]) for p, r in ranks.items()},
        (parameters_of(small), parameters_of(net)),
        steps,
    )


def _compared(a: Network, b: Network, options: dict[str, Any]) -> tuple[float, float, float]:
    """The similarity of two networks, ‖a − b‖ / ‖a‖ and ‖b‖ / ‖a‖."""
    if a is b:
        return 1.0, 0.0, 1.0
    under, method = options["under"], options["method"]
    nets, law, exponents = in_units((a, b), under)

    def run() -> list[Scaled]:
        problem = Problem.of(nets, law, method, exponents=exponents)
        return problem.products([(0, 1), (0, 0), (1, 1)], "sum")

    what = f"similarity to the original ({method})"
    with torch.no_grad():
        ab, aa, bb = priced(run, what, options["budget"], options["memory"], has_cheaper(under, method))
    check_sizes(aa.mantissa, "the model", "a relative error", nets[0])
    mine, other = aa.root(), bb.root()
    cosine = float(ab.mantissa / aa.mantissa**0.5 / bb.mantissa**0.5) if bb.mantissa > 0 else 0.0
    ratio = float(other.at(mine.exponent) / mine.mantissa)
    return cosine, max(0.0, 1 - 2 * cosine * ratio + ratio**2) ** 0.5, ratio


def _shares(plans: Mapping[str, Shrinking]) -> list[float]:
    return sorted({float(x) for plan in plans.values() for x in plan.left[1:]})


def _ranks(plans: Mapping[str, Shrinking], share: float) -> dict[str, int]:
    """Places that lose something; others are left as they are."""
    kept = {p: plan.keep(share) for p, plan in plans.items()}
    return {p: r for p, r in kept.items() if r < plans[p].width}


def _fitting(net: Network, plans: Mapping[str, Shrinking], most: int) -> dict[str, int]:
    """Leave out as little as gets the network down to so many parameters."""
    shares = _shares(plans)
    low, high = 0, len(shares) - 1
    sizes: dict[int, int] = {}

    def size(k: int) -> int:
        if k not in sizes:
            sizes[k] = parameters_of(shrunk(net, plans, _ranks(plans, shares[k])))
        return sizes[k]

    if parameters_of(net) <= most:
        return {}
    if size(high) > most:
        raise ValueError(
            f"cut to rank 1 everywhere, {size(high)} parameters are left; {most} cannot be reached."
        )
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if size(middle) <= most else (middle + 1, high)
    return _ranks(plans, shares[low])


def _within(
    net: Network, plans: Mapping[str, Shrinking], error: float, bound: bool, options: dict[str, Any]
) -> Truncation:
    """Leave out as much as the computed error allows. The result meets it; a larger cut might happen to as well."""
    if not error > 0:
        raise ValueError(f"error is {error}; write a relative error above 0, such as 0.1.")
    shares = _shares(plans)
    low, high = -1, len(shares) - 1
    while low < high:
        middle = (low + high + 1) // 2
        fits = _compared(net, shrunk(net, plans, _ranks(plans, shares[middle])), options)[1] <= error
        low, high = (middle, high) if fits else (low, middle - 1)
    return _measured(net, plans, {} if low < 0 else _ranks(plans, shares[low]), bound, options)
