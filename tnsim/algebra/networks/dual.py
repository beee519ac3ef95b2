"""The derivative of a network with respect to its weights, in one direction: a network again."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import autoray as ar

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.subtraction import fuse
from tnsim.algebra.polys.poly import ComposeError, Poly
from tnsim.algebra.polys.writing import poly
from tnsim.algebra.terms.collecting import collect
from tnsim.algebra.terms.term import Term, canonical, compose, retensor

__all__ = ["pushforward"]

Array = Any


def pushforward(net: Network, change: Callable[[Array], Array | None]) -> Network:
    """d/dε f_{θ+εv} at ε = 0 as a network: hidden states h are carried beside their derivatives (dual numbers).

    Args:
        net: a network; hidden states have one axis.
        change: for every array of the network its change v, or ``None`` if it has none.

    Raises:
        ComposeError: if a hidden state has several axes.

    Example:
        >>> import numpy as np
        >>> W = np.array([[2.0]])
        >>> square = Network((("a", poly("W[out,in0]", W=W)), ("b", poly("D[out,h] L[h,in0] R[h,in1]",
        ...     D=np.eye(1), L=np.eye(1), R=np.eye(1)))))  # (w x)²
        >>> pushforward(square, lambda x: np.eye(1) if x is W else None)(np.array([3.0]))  # 2 w x²
        array([36.])
    """
    layers: list[tuple[str, Poly]] = []
    for k, (name, f) in enumerate(net.layers):
        changed = _changed(f, change)
        if k > 0:
            n = f.in_shape[0]
            eye = ar.do("eye", 2 * n, like=f.like)
            value, slope = (poly("S[out,in0]", S=x) for x in (eye[:n], eye[n:]))
            carried = _along(f, value, slope)
            changed = carried if changed is None else carried + changed @ value
            f = f @ value
        if k + 1 < len(net):
            if len(f.codomain) != 1:
                raise ComposeError(f"{name} has outputs {f.out_shape}; hidden states need one axis.")
            n = f.out_shape[0]
            eye = ar.do("eye", 2 * n, like=f.like)
            up, down = (poly("S[out,in0]", S=x) for x in (eye[:, :n], eye[:, n:]))
            layers.append((name, fuse(up @ f if changed is None else up @ f + down @ changed)))
        else:
            layers.append((name, fuse(f * 0.0 if changed is None else changed)))
    return Network(tuple(layers), net.in_shape, net.notes)


def _changed(f: Poly, change: Callable[[Array], Array | None]) -> Poly | None:
    """One array at a time replaced by its change, summed over arrays."""
    terms = []
    for t in f.terms:
        for k, x in enumerate(t.tensors):
            new = change(x.data)
            if new is not None:
                tensors = (*t.tensors[:k], retensor(x, data=new), *t.tensors[k + 1 :])
                terms.append(replace(t, tensors=tensors, symmetry=None))
    return replace(f, terms=collect(terms)) if terms else None


def _along(f: Poly, value: Poly, slope: Poly) -> Poly:
    """J_f(value) · slope: one leg reads the slope, the others the value."""
    terms: list[Term] = []
    for t in f.terms:
        for k in range(t.degree):
            inner = [(slope if j == k else value).terms[0] for j in range(t.degree)]
            terms.append(canonical(compose(t, inner), ["d"]))
    if not terms:
        return f @ value * 0.0
    return Poly(collect(terms), value.domain, f.codomain)
