"""Ways to write a polynomial down: as an equation, as an identity, as a constant, side by side."""

import operator
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.polys.poly import Axes, Poly, identity
from tnsim.algebra.terms.collecting import collect
from tnsim.algebra.terms.term import Term
from tnsim.common.wires import PLACE, Leg, WireError, input_leg, output_leg, parse, space

__all__ = ["concat", "constant", "identity", "poly"]

Array = Any


def poly(equation: str, domain: Axes | None = None, **arrays: Array) -> Poly:
    """A layer written as its equation.

    Args:
        equation: factors with their index names; ``inK`` is copy K of the input, ``out`` the output,
            and ``in0@k`` reads copy 0 at position ``k``.
        domain: axes of the input; needed only when no factor reads the input.
        arrays: one array for every factor, axes in the order of its index names.

    Raises:
        WireError: if names and arrays do not fit.

    Example:
        >>> import numpy as np
        >>> D, L, R = np.ones((2, 3)), np.ones((3, 5)), np.ones((3, 5))
        >>> f = poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D, L=L, R=R)
        >>> f(np.ones(5))
        array([75., 75.])
    """
    eq = parse(equation)
    names = [name for name, _ in eq.factors]
    if set(names) != set(arrays):
        raise WireError(
            f"`{equation}` names factors {sorted(set(names))}, but arrays were given for {sorted(arrays)}."
        )
    sizes: dict[str, int] = {}
    tensors = []
    for name, inds in eq.factors:
        shape = tuple(ar.shape(arrays[name]))
        words = ",".join(ix.rsplit(":", 1)[0] for ix in inds)
        if len(shape) != len(inds):
            raise WireError(
                f"`{name}[{words}]` names {len(inds)} indices but array {name} has shape {shape}."
            )
        for ix, n in zip(inds, shape, strict=True):
            if sizes.setdefault(ix, n) != n:
                raise WireError(
                    f"`{ix.rsplit(':', 1)[0]}` has size {sizes[ix]} before `{name}[{words}]`, where it is {n}."
                )
        tensors.append(qtn.Tensor(arrays[name], inds, tags=name))

    def axes(leg: Leg) -> Axes:
        missing = [ix for ix in leg if ix not in sizes]
        if missing:
            raise WireError(f"no factor of `{equation}` has the axis {missing[0].rsplit(':', 1)[0]}.")
        return tuple((space(ix), sizes[ix]) for ix in leg)

    domains: set[Axes | None] = {axes(leg) for leg in eq.legs} or {domain}
    if len(domains) != 1 or domain not in (None, *domains):
        raise WireError(
            f"the input copies of `{equation}` have different sizes: {sorted(map(str, domains))}."
        )
    found = domains.pop()
    if found is None:
        raise WireError(f"`{equation}` reads no input; say its axes, for instance domain=(('d', 64),).")
    return Poly(collect([Term(tuple(tensors), eq.legs, eq.out)]), found, axes(eq.out))


def constant(value: Array, domain: Axes, spaces: Sequence[str] | None = None) -> Poly:
    """The map x ↦ value.

    Args:
        value: the array.
        domain: axes of the input that is ignored.
        spaces: names of the value's axes; by default the last is ``d`` and the one before it ``s``.
    """
    shape = tuple(ar.shape(value))
    names = tuple(spaces) if spaces is not None else ("s", "d")[2 - len(shape) :] if len(shape) < 3 else ()
    if len(names) != len(shape):
        raise WireError(f"an array of shape {shape} needs {len(shape)} space names; got {names}.")
    term = Term((qtn.Tensor(value, output_leg(names), tags="c"),), (), output_leg(names))
    return Poly((term,), domain, tuple(zip(names, shape, strict=True)))


def concat(polys: Iterable[Poly]) -> Poly:
    """Outputs side by side on the last axis."""
    parts = list(polys)
    sizes = [p.out_shape[-1] for p in parts]
    total = sum(sizes)
    placed, at = [], 0
    for p, n in zip(parts, sizes, strict=True):
        eye = ar.do("eye", total, like=p.like)[:, at : at + n]
        legs = (input_leg(0, ["d"]),)
        term = Term((qtn.Tensor(eye, (*output_leg(["d"]), *legs[0]), tags=PLACE),), legs, output_leg(["d"]))
        placed.append(Poly((term,), (("d", n),), (("d", total),)) @ p)
        at += n
    return reduce(operator.add, placed)
