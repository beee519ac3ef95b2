"""A change of units between layers, which is exact: x = 2ᵉ z."""

from dataclasses import replace
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.poly import Poly
from tnsim.algebra.wires import MODEL

__all__ = ["rescale"]

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
