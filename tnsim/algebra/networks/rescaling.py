"""A change of units between layers, which is exact: x = 2ᵉ z."""

from dataclasses import replace
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import retensor
from tnsim.common.wires import MODEL

__all__ = ["absorb", "rescale"]

Array = Any


def rescale(f: Poly, exponent: Array) -> tuple[Poly, Array]:
    """The polynomial g and the exponent N·e with f(2ᵉ z) = 2^(N·e) g(z), where N is the degree of f.

    A term of degree n is multiplied by 2^((n−N)·e): a power of two, so nothing is rounded. The common factor is
    not multiplied in; that is what keeps deep models in the range of their dtype.

    Args:
        f: a polynomial, possibly stacked.
        exponent: whole number e, shape ``()``, or ``(m,)`` for one of every stacked model.
    """
    run = (MODEL,) if ar.ndim(exponent) else ()
    terms = []
    for t in f.terms:
        if t.degree < f.degree:
            gain = qtn.Tensor(2.0 ** ((t.degree - f.degree) * exponent), run, tags="scale")
            t = t.attached(gain)
        terms.append(t)
    return replace(f, terms=tuple(terms)), f.degree * exponent


def absorb(f: Poly, exponent: Array) -> tuple[Poly, Array]:
    """The polynomial g with f(2ᵉ z) = g(z), and the exponent 0 of its output.

    The factor goes into the weights that read the input, once for every weight, so that terms which share weights
    still do. That is for layers of many such terms (attention with biases); :func:`rescale` keeps a wider range.

    Args:
        f: a polynomial, possibly stacked.
        exponent: whole number e, shape ``()``, or ``(m,)`` for one of every stacked model.
    """
    run = (MODEL,) if ar.ndim(exponent) else ()
    scaled: dict[int, Array] = {}
    terms = []
    for t in f.terms:
        tensors = list(t.tensors)
        for leg in t.legs:
            holders = [k for k, x in enumerate(tensors) if leg[-1] in x.inds]
            alone = sum(leg[-1] in other for other in (*t.legs, t.out)) == 1
            if len(holders) == 1 and alone and set(run) <= set(tensors[holders[0]].inds):
                x = tensors[holders[0]]
                if id(x.data) not in scaled:
                    shape = tuple(-1 if ix in run else 1 for ix in x.inds)
                    gain = ar.do("reshape", 2.0**exponent, shape) if run else 2.0**exponent
                    scaled[id(x.data)] = x.data * gain
                tensors[holders[0]] = retensor(x, data=scaled[id(x.data)])
            else:
                tensors.append(qtn.Tensor(2.0**exponent, run, tags="scale"))
        terms.append(replace(t, tensors=tuple(tensors)))
    return replace(f, terms=tuple(terms)), exponent * 0
