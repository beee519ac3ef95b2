"""Rewriting passes on names and shapes: from a sum of terms to one multilinear map.

In homogeneous coordinates x̂ = (1, x) a constant is linear, a linear map is quadratic, and so on: a sum of
terms of degree at most n becomes *one* term of degree n.
"""

import math
from itertools import chain
from typing import Any

import autoray as ar
import networkx as nx
import quimb.tensor as qtn

from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term, canonical, retensor
from tnsim.common.border import bordered, flag, instance
from tnsim.common.wires import MODEL, WIRE, WireError, index, input_leg, output_leg, role_of, space, unused
from tnsim.engine.contract import Contraction

__all__ = ["lift", "star", "unwired"]

Array = Any


@bordered({"f": instance(Poly, "pass a Poly, such as a layer of a network, net[0]"), "constant_row": flag})
def lift(f: Poly, constant_row: bool = True) -> Poly:
    """One term in homogeneous coordinates, equal to the sum of the terms of ``f``.

    Where every term is a *star* (factors around one hidden index, as in D((Lx)∘(Rx))), the hidden indices are
    put side by side and the result is a star again. Otherwise a term index ``term:h`` selects the summand.

    A sequence has a constant at every position: x̂[s] = (1, x[s]).

    Args:
        f: a polynomial over features, n → o, or over positions and features, (s, n) → (s, o); not stacked.
        constant_row: keep the constant 1 as output 0, so that lifted layers compose.

    Returns:
        A polynomial n+1 → o+1 (or n+1 → o) of one term: lift(f)((1, x)) = (1, f(x)). Positions stay as they are.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra.polys.writing import identity, poly
        >>> f = poly("L[out,in0]", L=np.eye(2)) + np.array([3.0, 4.0])
        >>> lift(f)(np.array([1.0, 10.0, 20.0]))
        array([ 1., 13., 24.])
    """
    if len(f.domain) > 2 or len(f.codomain) > 2 or f.models is not None:
        raise WireError(
            "homogeneous coordinates are defined for a single model of features, or of positions and features; "
            f"this one has input {f.domain}, output {f.codomain}" + (" and is stacked." if f.models else ".")
        )
    degree = max(1, f.degree)
    rows = bool(constant_row and f.codomain)
    flat = len(f.domain) == 1 and len(f.codomain) < 2
    stars = [star(t) if flat else None for t in f.terms if t.degree]
    term = (
        _direct_sum(f, [s for s in stars if s is not None], degree, rows)
        if all(s is not None for s in stars)
        else _selected_sum(f, degree, rows)
    )
    grow = lambda axes, by: tuple((s, n + by * (k == len(axes))) for k, (s, n) in enumerate(axes, 1))  # noqa: E731
    spaces = [s for s, _ in f.domain]
    return Poly((canonical(term, spaces),), grow(f.domain, 1), grow(f.codomain, int(rows)))


def star(t: Term) -> tuple[Array, ...] | None:
    """The factors (out, leg₀, leg₁, …) around one hidden index, or ``None`` if the term is not a star.

    Returns:
        Arrays ``(o, h)`` (``(h,)`` without outputs), then ``(h, n)`` for every leg; the coefficient is in the first.
        Those of a stacked term have the run axis in front.
    """
    like = t.tensors[0].data
    sizes = t.sizes
    ends = [t.out, *t.legs]
    for hub in sorted(sizes.keys() - {MODEL}, key=lambda ix: (sizes[ix], ix)):
        graph = nx.Graph()
        for k, x in enumerate(t.tensors):
            graph.add_node(k)
            graph.add_edges_from((k, ix) for ix in x.inds if ix not in (hub, MODEL))
        parts = [
            (sorted(n for n in part if isinstance(n, int)), {n for n in part if isinstance(n, str)})
            for part in nx.connected_components(graph)
        ]
        owners = [[e for e, end in enumerate(ends) if set(end) & names] for _, names in parts]
        if any(len(owner) > 1 for owner in owners):
            continue
        factors: list[Array] = []
        loose = [k for (ks, _), owner in zip(parts, owners, strict=True) if not owner for k in ks]
        for e, end in enumerate(ends):
            mine = [k for (ks, _), owner in zip(parts, owners, strict=True) if owner == [e] for k in ks]
            mine += loose if e == 0 else []
            tensors = [t.tensors[k] for k in mine]
            if not any(hub in x.inds for x in tensors):
                tensors.append(qtn.Tensor(ar.do("ones", (sizes[hub],), like=like), (hub,)))
            port = tuple(f"{ix}|" for ix in end) if hub in end else end
            joins = {f"{ix}|": ix for ix in end} if hub in end else {}
            run = (MODEL,) if any(MODEL in x.inds for x in tensors) else ()
            output = (*run, *port, hub) if e == 0 else (*run, hub, *port)
            factors.append(
                Contraction(tuple(tensors), output, joins, t.coefficient if e == 0 else 1.0).value()
            )
        return tuple(factors)
    return None


def _direct_sum(f: Poly, stars: list[tuple[Array, ...]], degree: int, rows: bool) -> Term:
    """Stars side by side on the hidden index; a missing leg reads the constant coordinate, all constants are one unit."""
    like = f.like
    n = f.in_shape[0]
    constants = [Contraction(t.tensors, t.out, {}, t.coefficient).value() for t in f.terms if not t.degree]
    if rows or constants:
        nothing = ar.do("zeros", f.out_shape, like=like)
        stars = [(ar.do("reshape", sum(constants, nothing), (*f.out_shape, 1)),), *stars]
    outs, legs = [], [[] for _ in range(degree)]  # type: ignore[var-annotated]
    for i, (out, *factors) in enumerate(stars):
        h = ar.shape(out)[-1]
        if rows:
            top = ar.do("ones" if i == 0 else "zeros", (1, h), like=like)
            out = ar.do("concatenate", (top, out), axis=0)
        outs.append(out)
        for k in range(degree):
            one = ar.do("ones" if k >= len(factors) else "zeros", (h, 1), like=like)
            rest = factors[k] if k < len(factors) else ar.do("zeros", (h, n), like=like)
            legs[k].append(ar.do("concatenate", (one, rest), axis=1))
    hid = index("hid", "h")
    names = _factor_names(f, degree)
    out_leg = output_leg([s for s, _ in f.codomain])
    tensors = [qtn.Tensor(ar.do("concatenate", outs, axis=-1), (*out_leg, hid), tags=names[0])]
    for k in range(degree):
        (leg,) = input_leg(k, ["d"])
        tensors.append(qtn.Tensor(ar.do("concatenate", legs[k], axis=0), (hid, leg), tags=names[k + 1]))
    if degree == 1:  # out @ leg is one matrix
        inds = (*out_leg, *input_leg(0, ["d"]))
        matrix = Contraction(tuple(tensors), inds).value()
        tensors = [qtn.Tensor(matrix, inds, tags=names[0])]
    return Term(tuple(tensors), tuple(input_leg(k, ["d"]) for k in range(degree)), out_leg)


def _factor_names(f: Poly, degree: int) -> list[str]:
    """Role tags for the lifted factors: those of the top term, where there is one factor for each."""
    top = f.terms[0]
    roles = [
        role_of(x.tags) or "T" for x in top.tensors
    ]  # of a wire, its looks: what is lifted holds weights
    by_leg = [
        next((r for r, x in zip(roles, top.tensors, strict=True) if set(leg) & set(x.inds)), "I")
        for leg in top.legs
    ]
    read = {ix for leg in top.legs for ix in leg}
    outer = [not read & set(x.inds) and bool(set(top.out) & set(x.inds)) for x in top.tensors]
    one = roles[0] if f.degree == len(roles) == 1 else "D"
    out = next((r for r, last in zip(roles, outer, strict=True) if last), one)
    return [out, *by_leg, *["I"] * (degree - len(by_leg))]


def _selected_sum(f: Poly, degree: int, rows: bool) -> Term:
    """A term index picks the summand; the tensors of the others then contract to ones."""
    like = f.like
    pick = index("term", "h")
    legs = [input_leg(k, [s for s, _ in f.domain]) for k in range(degree)]
    out = output_leg([s for s, _ in f.codomain])
    outer = set(chain(out, *legs))
    grown = {leg[-1] for leg in legs} | (set(out[-1:]) if rows else set())
    count = len(f.terms) + int(rows)
    tensors = []
    for i, t in enumerate(f.terms):
        t = unwired(t).nested(str(i))
        names = [t.out, *t.legs]
        t = t.renamed(
            {
                old: new
                for a, b in zip(names, [out, *legs], strict=False)
                for old, new in zip(a, b, strict=True)
            }
        )
        for k, x in enumerate(t.tensors):
            own = x.data * t.coefficient if k == 0 else x.data
            for axis, ix in enumerate(x.inds):
                if ix in grown:
                    shape = list(ar.shape(own))
                    shape[axis] = 1
                    own = ar.do("concatenate", (ar.do("zeros", tuple(shape), like=like), own), axis=axis)
            neutral = ar.do(
                "ones",
                tuple(n if ix in outer else 1 for ix, n in zip(x.inds, ar.shape(own), strict=True)),
                like=like,
            )
            for axis, ix in enumerate(x.inds):
                if ix not in outer and ar.shape(own)[axis] > 1:
                    shape = list(ar.shape(neutral))
                    shape[axis] = ar.shape(own)[axis] - 1
                    neutral = ar.do(
                        "concatenate", (neutral, ar.do("zeros", tuple(shape), like=like)), axis=axis
                    )
            data = ar.do("stack", [own if j == i else neutral for j in range(count)], axis=0)
            tensors.append(retensor(x, data=data, inds=(pick, *x.inds)))
    reads = (*f.in_shape[:-1], f.in_shape[-1] + 1)
    ones = lambda shape: ar.do("ones", shape, like=like)  # noqa: E731
    first = ar.do(
        "reshape", ar.do("eye", math.prod(reads), like=like)[0], reads
    )  # the constant at the first position
    degrees = [t.degree for t in f.terms] + [0] * int(rows)
    for k, leg in enumerate(legs):
        if any(d <= k for d in degrees):
            data = ar.do("stack", [first if d <= k else ones(reads) for d in degrees], axis=0)
            tensors.append(qtn.Tensor(data, (pick, *leg), tags=WIRE))
    if rows:
        gives = (*f.out_shape[:-1], f.out_shape[-1] + 1)
        row = ones(gives) * ar.do("eye", gives[-1], like=like)[0]
        data = ar.do("stack", [ones(gives)] * len(f.terms) + [row], axis=0)
        tensors.append(qtn.Tensor(data, (pick, *out), tags=WIRE))
    return Term(tuple(tensors), tuple(legs), out)


def unwired(t: Term) -> Term:
    """The same map with an identity matrix wherever legs share an index with each other or the output."""
    sizes, like = t.sizes, t.tensors[0].data
    ends = [t.out, *t.legs]
    ports: list[tuple[str, ...]] = []
    extra = []
    for e, end in enumerate(ends):
        port: list[str] = []
        for ix in end:
            shared = any(ix in other for o, other in enumerate(ends) if o != e)
            new = unused({*sizes, *chain(*ports, port)}, f"port{e}", space(ix)) if shared else ix
            if shared:
                extra.append(qtn.Tensor(ar.do("eye", sizes[ix], like=like), (new, ix), tags=WIRE))
            port.append(new)
        ports.append(tuple(port))
    return Term((*t.tensors, *extra), tuple(ports[1:]), ports[0], t.coefficient)
