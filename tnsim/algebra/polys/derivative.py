"""The Jacobian of a polynomial, which is a polynomial again: one leg at a time is opened."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.collecting import collect
from tnsim.algebra.terms.symmetry import Branch, Tree
from tnsim.algebra.terms.term import Term, canonical
from tnsim.common.wires import WIRE, Leg, index, space

__all__ = ["jacobian", "openings"]


def jacobian(f: Poly) -> Poly:
    """J(x) = ∂f/∂x as a polynomial: J(x)·v is f with v on one leg and x on the others, summed over legs.

    Args:
        f: a polynomial, possibly stacked, of outputs ``(*out,)`` in inputs ``(*in,)``.

    Returns:
        A polynomial of one degree less with outputs ``(*out, *in)``. The new axes live in the spaces of the input
        with a ``g`` (gradient) in front of their names, ``gd`` for ``d``; of a Jacobian of a Jacobian ``ggd``.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra.polys.writing import poly
        >>> D, L, R = np.ones((1, 1)), np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
        >>> jacobian(poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D, L=L, R=R))(np.array([3.0, 4.0]))  # of x₀x₁
        array([[4., 3.]])
    """
    spaces = [s for s, _ in f.domain]
    known = {s for s, _ in f.codomain}
    slope = "g"
    while not known.isdisjoint(f"{slope}{s}" for s in spaces):
        slope += "g"
    slot = tuple(index("out", f"{slope}{s}") for s in spaces)
    terms = [
        canonical(_opened(t, leg, slot, rest), spaces).scaled(count)
        for t in f.terms
        for leg, count, rest in openings(t.tree)
        if t.degree
    ]
    codomain = (*f.codomain, *((space(ix), n) for ix, (_, n) in zip(slot, f.domain, strict=True)))
    return Poly(collect(terms or [_nothing(f, slot)]), f.domain, codomain)


def openings(tree: Tree) -> Iterator[tuple[int, int, Tree | None]]:
    """Legs to open, one for all that may be exchanged: the leg, their number, and the symmetry of the others.

    Legs keep their numbers.

    Example:
        >>> [(leg, count) for leg, count, _ in openings(Branch((Branch((0, 1), True), 2)))]
        [(0, 2), (2, 1)]
    """
    if isinstance(tree, int):
        yield tree, 1, None
        return
    chosen = tree.children[:1] if tree.free else tree.children
    for k, child in enumerate(chosen):
        for leg, count, rest in openings(child):
            inner = () if rest is None else (rest,)
            if tree.free:
                others = tree.children[1:]
                left = (Branch(others, free=True),) if len(others) > 1 else others
                parts = (*inner, *left)
            else:
                parts = (*tree.children[:k], *inner, *tree.children[k + 1 :])
            remains = parts[0] if len(parts) == 1 else Branch(parts) if parts else None
            yield leg, count * (len(tree.children) if tree.free else 1), remains


def _opened(t: Term, k: int, slot: Leg, rest: Tree | None) -> Term:
    """The term with leg ``k`` as further outputs; an identity stands where the leg shares an index."""
    uses = Counter(ix for leg in (t.out, *t.legs) for ix in leg)
    mapping = {}
    for ix, new in zip(t.legs[k], slot, strict=True):
        if uses[ix] > 1:
            eye = ar.do("eye", t.sizes[ix], like=t.tensors[0].data)
            t = t.attached(qtn.Tensor(eye, (new, ix), tags=WIRE))
        else:
            mapping[ix] = new
    legs = (*t.legs[:k], *t.legs[k + 1 :])
    opened = replace(t, legs=legs, symmetry=_renumbered(rest, k)).renamed(mapping)
    return replace(opened, out=(*t.out, *slot))


def _renumbered(tree: Tree | None, gone: int) -> Tree | None:
    if tree is None or isinstance(tree, int):
        return tree if tree is None else tree - (tree > gone)
    children = (_renumbered(child, gone) for child in tree.children)
    return Branch(tuple(c for c in children if c is not None), tree.free)


def _nothing(f: Poly, slot: Leg) -> Term:
    """The Jacobian of a constant: zero."""
    t = f.terms[0]
    zeros = ar.do("zeros", (*f.out_shape, *f.in_shape), like=f.like)
    return Term((qtn.Tensor(zeros, (*t.out, *slot), tags="c"),), (), (*t.out, *slot))
