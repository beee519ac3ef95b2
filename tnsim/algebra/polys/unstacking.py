"""Unstack: one model's layer out of a stack of models."""

from dataclasses import replace
from typing import Any

import quimb.tensor as qtn

from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import retensor
from tnsim.common.wires import MODEL
from tnsim.engine.sparsity import over_positions, with_support

__all__ = ["unstacked"]

Array = Any


def unstacked(f: Poly, i: int, kept: dict[int, Array]) -> Poly:
    """One model's layer; weights that terms share stay shared."""

    def picked(x: qtn.Tensor) -> qtn.Tensor:
        if MODEL not in x.inds:
            return x
        if id(x.data) not in kept:
            one = x.data[i]
            kept[id(x.data)] = (
                with_support(one, [x.data], lambda masks: masks[0][i]) if over_positions(x.inds) else one
            )
        return retensor(x, data=kept[id(x.data)], inds=x.inds[1:])

    one = replace(f, terms=tuple(replace(t, tensors=tuple(map(picked, t.tensors))) for t in f.terms))
    return one.having(f.units and f.units.mapped(lambda g: unstacked(g, i, kept)))
