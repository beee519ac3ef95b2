"""The normal form of a chain of layers: what is linear is part of its neighbours. The same function, cheaper to ask about.

An embedding in front of a layer and a head behind it are factors of that layer's weights; as layers of their own they
make every question about the whole dearer. Gains on a leg are part of the weight that reads it.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.subtraction import fuse
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term, retensor
from tnsim.common.wires import MODEL, WIRE
from tnsim.engine.contract import Contraction

__all__ = ["absorbed", "folded", "gathered"]

Array = Any

_MOST_TERMS = 64  # of a layer and an affine one beside it, before terms of equal form are put together


def folded(layers: Sequence[Poly]) -> list[Poly]:
    """The same chain without affine layers that a neighbour can take in.

    A layer behind an affine one takes it in unless it narrows: D((LE)x ∘ (RE)x) has as many weights as before. A layer
    in front takes in what does not widen. What narrows the input, and what widens the output, stays.

    Args:
        layers: polynomials of one feature axis, each reading the one before.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra.polys.writing import poly
        >>> block = poly("D[out,h] L[h,in0] R[h,in1]", D=np.ones((4, 5)), L=np.ones((5, 4)), R=np.ones((5, 4)))
        >>> embed, head = poly("E[out,in0]", E=np.ones((4, 4))), poly("H[out,in0]", H=np.ones((2, 4)))
        >>> [f.out_shape for f in folded([embed, block, head])]
        [(2,)]
    """
    done = list(layers)
    k = 0
    while len(done) > 1 and k < len(done):
        f = done[k]
        if not _flat(f) or f.degree > 1:
            k += 1
        elif k + 1 < len(done) and prod(f.in_shape) <= prod(f.out_shape) and _takes(done[k + 1], f):
            done[k : k + 2] = [fuse(done[k + 1] @ f)]
        elif k > 0 and prod(f.out_shape) <= prod(f.in_shape) and _takes(f, done[k - 1]):
            done[k - 1 : k + 1] = [fuse(f @ done[k - 1])]
            k -= 1
        else:
            k += 1
    return done


def _takes(f: Poly, inner: Poly) -> bool:
    """Whether a composition stays small until it is put together."""
    return _flat(f) and _flat(inner) and sum(len(inner.terms) ** t.degree for t in f.terms) <= _MOST_TERMS


def _flat(f: Poly) -> bool:
    return len(f.domain) == 1 and len(f.codomain) <= 1


def absorbed(f: Poly) -> Poly:
    """The same polynomial with vectors on an index multiplied into a weight that has the index.

    A learned gain per channel in front of attention stands on a leg beside the weight that reads it: W (g ∘ x) is
    (W g) x. What shared its weights goes on sharing them.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra.polys.writing import identity, poly
        >>> x = identity((("d", 3),), np.ones(1))
        >>> f = poly("W[out,in0]", W=np.eye(3)) @ (x * np.array([1.0, 2.0, 3.0]))
        >>> len(f.terms[0].tensors), len(absorbed(f).terms[0].tensors)
        (2, 1)
    """
    made: dict[Any, tuple[Array, ...]] = {}
    return replace(f, terms=tuple(_absorbed(t, made) for t in f.terms))


def gathered(net: Network) -> Network:
    """The network with :func:`absorbed` layers."""
    return replace(net, layers=tuple((name, absorbed(f)) for name, f in net))


def _absorbed(t: Term, made: dict[Any, tuple[Array, ...]]) -> Term:
    tensors = list(t.tensors)
    at = 0
    while at < len(tensors):
        x = tensors[at]
        home = _home(x, [y for y in tensors if y is not x]) if len(_own(x)) == 1 else None
        if home is None:
            at += 1
            continue
        k = next(n for n, y in enumerate(tensors) if y is home)
        tensors[k] = home if WIRE in x.tags else _scaled(home, x, made)
        del tensors[at]
    return t if len(tensors) == len(t.tensors) else replace(t, tensors=tuple(tensors))


def _own(x: qtn.Tensor) -> tuple[str, ...]:
    return tuple(ix for ix in x.inds if ix != MODEL)


def _home(x: qtn.Tensor, others: Sequence[qtn.Tensor]) -> qtn.Tensor | None:
    """The smallest weight that a vector can be multiplied into without growing it."""
    (ix,) = _own(x)
    fits = [
        y
        for y in others
        if ix in y.inds
        and len(_own(y)) > 1
        and WIRE not in y.tags
        and (MODEL in y.inds or MODEL not in x.inds)
    ]
    return min(fits, key=lambda y: ar.size(y.data), default=None)


def _scaled(y: qtn.Tensor, x: qtn.Tensor, made: dict[Any, tuple[Array, ...]]) -> qtn.Tensor:
    key = (id(y.data), id(x.data), tuple(y.inds.index(ix) for ix in x.inds))
    if key not in made:
        made[key] = (Contraction((y, x), y.inds).value(), y.data, x.data)  # kept, so that ids stay theirs
    return retensor(y, data=made[key][0])
