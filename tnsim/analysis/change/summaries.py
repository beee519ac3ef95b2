"""Findings: what there is to say about a run as a whole, from one Gram matrix and some pairs of neighbours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite
from typing import Any, TypeVar, cast

import numpy as np
import torch
from tqdm.auto import tqdm

from tnsim.algebra.networks.network import Network
from tnsim.analysis.asking.problem import Method
from tnsim.analysis.change.attribution import attribute
from tnsim.analysis.change.localisation import Localisation, localise
from tnsim.analysis.change.phases import Phases, segment
from tnsim.analysis.change.trajectories import Trajectory, trajectory
from tnsim.analysis.compare.crossed import Crossed, layers
from tnsim.analysis.explain.named_shares import Shares
from tnsim.analysis.grams.matrix import Gram
from tnsim.common.values import numbers
from tnsim.engine.costs import CostError
from tnsim.sampling.estimate import Estimate, SamplingError

__all__ = ["Findings", "findings"]

T = TypeVar("T")

_PHASES = 8  # at most
_HALVED, _NOTED = (
    0.5,
    0.05,
)  # a phase more takes off half of the cost that is left, and this much of that of one phase
_CANNOT = (CostError, SamplingError, ValueError, TypeError)
_FEWEST = 3  # outputs that can be compared with each other


@dataclass(frozen=True, eq=False)
class Findings:
    """About a run. What could not be had is ``None``, and why is said in ``reasons``.

    Attributes:
        gram: all pairs.
        phases: for every number of phases the best cut.
        chosen: how many phases there are, as far as one can say: each takes off half of the cost
            that is left, and a twentieth of that of one phase.
        trajectory: the run as a path.
        neighbours: for every model but the last, shares by layer of the squared distance to the next one.
        switches: for every beginning of a phase what changed there.
        layers: layers of the first model against those of the last.
        reasons: for names of these, why there is none.
    """

    gram: Gram
    phases: dict[int, Phases]
    chosen: int
    trajectory: Trajectory | None
    neighbours: list[Shares | None]
    switches: dict[int, Localisation | None]
    layers: Crossed | None
    reasons: dict[str, str] = field(default_factory=dict)


def findings(
    nets: Sequence[Network],
    gram: Gram,
    *,
    phases: int | None,
    method: Method,
    budget: float,
    error: float | None,
    progress: bool,
) -> Findings:
    """What there is to say about a run.

    Args:
        nets: the models, in order.
        gram: all pairs of them.
        phases: how many phases there are; found by the fall of the cost if ``None``.
        method: ``"exact"`` or ``"layerwise"``, for what is asked of pairs.
        budget: flops that may be spent on each question.
        error: a standard error that will do.
        progress: show bars.

    Raises:
        ValueError: if there are fewer models than phases.
    """
    reasons: dict[str, str] = {}
    how: dict[str, Any] = {"under": gram.under, "method": method, "budget": budget}

    def tried(name: str, ask: Callable[[], T]) -> T | None:
        """The answer, or none with a reason; where it is too dear once, it is not asked again."""
        if name in reasons:
            return None
        try:
            with torch.no_grad():
                return ask()
        except _CANNOT as said:
            reasons[name] = f"Not computed. {said}"
            return None

    cuts, chosen = _cuts(gram, phases)
    if not cuts:
        reasons["phases"] = "Not computed. Some model is zero, so it has no similarity with others."
    way = tried("path", lambda: trajectory(gram)) if len(nets) > 1 else None
    reasons.setdefault("path", "" if way else "A path needs two models.")
    bar = tqdm(pairwise(nets), "neighbours", len(nets) - 1, delay=2, disable=not progress, leave=False)
    neighbours = [
        tried("neighbours", lambda a=a, b=b: _values(attribute(a, b, to="layers", error=error, **how)))  # type: ignore[misc]
        for a, b in bar
    ]
    switches: dict[int, Localisation | None] = {}
    if len(_parts(nets[0])) >= _FEWEST:
        for k in cuts[chosen].boundaries if cuts else ():
            switches[k] = tried(
                "switches",
                lambda k=k: localise(  # type: ignore[misc]
                    nets[k - 1], nets[k], history=nets[: k - 1], error=error, progress=progress, **how
                ),
            )
    else:
        reasons["switches"] = f"Localising takes {_FEWEST} outputs at least."
    table = tried("layers", lambda: layers(nets[0], nets[-1], progress=progress, **how))
    return Findings(gram, cuts, chosen, way, neighbours, switches, table, reasons)


def _cuts(gram: Gram, phases: int | None) -> tuple[dict[int, Phases], int]:
    """The best cuts into few phases, and how many there are."""
    if not bool(np.isfinite(numbers(gram.similarity())).all()):
        return {}, 1
    most = min(len(gram), max(_PHASES, phases or 1))
    cuts = {k: segment(gram, k) for k in range(1, most + 1)}
    if phases is not None:
        return cuts | {phases: segment(gram, phases)}, phases
    noise = np.finfo(numbers(gram.similarity()).dtype).eps * len(gram) ** 2
    least, chosen = max(noise, _NOTED * cuts[1].cost), 1
    while chosen < most:
        cost, fewer = cuts[chosen].cost, cuts[chosen + 1].cost
        if fewer >= _HALVED * cost or cost - fewer <= least:
            break
        chosen += 1
    return cuts, chosen


def _values(found: Any) -> Shares | None:
    """Shares of the whole, without errors; none of a distance of zero."""
    shares = found.value if isinstance(found, Estimate) else found
    total = float(shares.sum())
    return cast(Shares, shares / total) if total and isfinite(total) else None


def _parts(net: Network) -> range:
    """The outputs of a model, one after the other."""
    size = 1
    for n in net.polys[-1].out_shape:
        size *= n
    return range(size)
