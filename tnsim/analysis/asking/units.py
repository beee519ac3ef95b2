"""Units: models and laws measured so that nothing on the way to an inner product is out of range."""

from collections.abc import Sequence
from typing import Any

import autoray as ar
import numpy as np

from tnsim.algebra.networks.extents import extent
from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.ranges import in_range
from tnsim.analysis.asking.problem import Method, law_for
from tnsim.analysis.tracing.recipes import answer
from tnsim.common.values import numbers
from tnsim.common.wires import WIRE
from tnsim.engine.sparsity import over_positions, with_support
from tnsim.measure.pairings.measure import Measure

__all__ = ["in_units"]


def in_units(
    nets: Sequence[Network], under: Measure | None, output: Any = None, method: Method = "exact"
) -> tuple[tuple[Network, ...], Measure, tuple[Any, ...]]:
    """Networks and a law in units in which nothing on the way to an inner product is out of range; exact.

    Args:
        nets: networks that read the same input.
        under: its law.
        output: which output will be asked for.
        method: how.

    Returns:
        For every network another, times a power of two (equal ones stay the same object); the law of their input in
        units of its size; and the exponents. Where nothing comes near the ends of the dtype's range, all stay as
        they are.
    """
    law = law_for(nets, under)
    if _moderate(nets, law, method):
        return tuple(nets), law, tuple(_zeros(net) for net in nets)
    law, units = law.normalised()
    known = {}
    for net in nets:
        if id(net) not in known:
            given = (net, units[0] if units else 0.0, output)
            known[id(net)] = answer(in_range, given)(given)
            _mask(known[id(net)][0], net)
    return tuple(known[id(net)][0] for net in nets), law, tuple(known[id(net)][1] for net in nets)


def _mask(made: Network, net: Network) -> None:
    """Masks in other units are zero where they were; so nothing is read from a device for them."""
    for f, g in zip(net.polys, made.polys, strict=True):
        for t, u in zip(f.terms, g.terms, strict=True):
            for x, y in zip(t.tensors, u.tensors, strict=False):  # a factor may stand behind the tensors
                if WIRE not in x.tags and over_positions(x.inds):
                    shape = ar.shape(y.data)
                    with_support(y.data, [x.data], lambda masks: np.broadcast_to(masks[0], shape))  # noqa: B023


def _moderate(nets: Sequence[Network], law: Measure, method: Method) -> bool:
    """Whether networks and a law are best left as they are; only known where values need not be waited for."""
    if not all(getattr(net.polys[0].like, "is_cpu", True) for net in nets):
        return False
    size = max((float(np.abs(numbers(x)).max()) for x in law.exponents()), default=0.0)
    return all(extent(net).moderate(size, method == "layerwise") for net in nets)


def _zeros(net: Network) -> Any:
    return ar.do("zeros", (net.models,) if net.models else (), like=net.polys[0].like)
