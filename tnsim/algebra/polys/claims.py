"""Claims: what is known of a network besides its numbers, tried on numbers: exchanges of legs, and hidden units.

Answers rest on both. Where a network comes from somebody else, they are checked before anything is asked.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import autoray as ar
import numpy as np

from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.polys.symmetrising import exchanged
from tnsim.algebra.terms.symmetry import exchanges
from tnsim.common.wires import WireError
from tnsim.engine.costs import Exceeded, capped, pricing

__all__ = ["ClaimError", "check_claims"]

Array = Any

_MOST_FLOPS = 1e12
_ROUNDING = 32.0  # of the precision, times the sum of absolute values


class ClaimError(WireError):
    """What a network says about itself is not so, or cannot be tried."""


def check_claims(layers: Iterable[tuple[str, Poly]], precision: float, memory: float) -> None:
    """Try on random inputs whether legs that are said to be exchangeable are, and layers are those of their units.

    It costs an evaluation for every exchange of two legs, and three for every layer that remembers its units.

    Args:
        layers: those of a network in float64, with their names.
        precision: of the dtype that its numbers once had.
        memory: bytes that may be taken.

    Raises:
        ClaimError: naming the layer; also if trying takes more than ``memory``.
    """
    tolerance = max(1e-9, _ROUNDING * precision)
    rng = np.random.default_rng(0)
    for name, f in layers:
        where = f'layer "{name}"'
        _check(f, where, rng, tolerance, memory)


def _check(f: Poly, where: str, rng: np.random.Generator, tolerance: float, memory: float) -> None:
    for k, t in enumerate(f.terms):
        orders = list(exchanges(t.tree))
        if orders and _differ(
            partial(_exchanged, f, k, orders, int(rng.integers(2**32))), tolerance, where, memory
        ):
            raise ClaimError(
                f"{where}: exchanging legs changes it, although they are said to be exchangeable."
            )
    if f.units is None:
        return
    for part in (f.units.products, f.units.read, f.units.rest, f.units.inner):
        if part is not None:
            _check(part, where, rng, tolerance, memory)
    x = ar.do("asarray", rng.normal(size=(2, *f.in_shape)), like=f.like)
    if _differ(partial(_through_units, f, x), tolerance, where, memory):
        raise ClaimError(f"{where}: it is another polynomial than that of its hidden units.")


def _differ(values: Callable[[bool], Array], tolerance: float, where: str, memory: float) -> bool:
    """Whether values that should be equal along the first axis differ by more than rounding can do.

    Args:
        values: makes them; or, if told so, the same sums with all signs positive.
        tolerance: a share of these.
        where: the layer.
        memory: bytes that may be taken.
    """
    try:
        with capped(memory), pricing(_MOST_FLOPS) as bill:
            values(False)
        dear = bill.total().bytes > memory
    except Exceeded:
        dear = True
    if dear:
        raise ClaimError(
            f"{where}: trying what it says of itself takes more than {memory / 2**20:.0f} MiB, or too long."
        )
    with capped(memory):
        rows = values(False)
        gap = ar.do("max", ar.do("abs", rows - rows[:1]))
        return bool(gap != 0) and not bool(gap <= tolerance * ar.do("max", values(True)))


def _exchanged(f: Poly, k: int, orders: Sequence[Sequence[int]], seed: int, positive: bool) -> Array:
    return exchanged((f.absolute() if positive else f).terms[k], orders, seed, positive)


def _through_units(f: Poly, x: Array, positive: bool) -> Array:
    """The values of a layer, and what its units make of them."""
    units = f.units
    assert units is not None
    parts = [f, units.products, units.read, units.rest, units.inner]
    if positive:
        x, parts = ar.do("abs", x), [part and part.absolute() for part in parts]
    whole, products, read, rest, inner = parts
    assert whole is not None and products is not None and read is not None
    z = x if inner is None else inner.evaluate(x)
    run = inner is not None and inner.models is not None
    y = read.evaluate(products.evaluate(z, run), run or products.models is not None)
    y = y if rest is None else y + rest.evaluate(z, run)
    return ar.do("stack", [whole.evaluate(x) + 0 * y, y], axis=0)
