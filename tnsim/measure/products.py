"""Moments of products of links: all pairings of two terms of many legs under a Gaussian law."""

from collections.abc import Sequence
from typing import Any

import autoray as ar
import numpy as np

from tnsim.measure.batch import Linked
from tnsim.measure.ends import CHUNK, Ends, Moments, bytes_of_one, rows_of
from tnsim.measure.links import entries
from tnsim.measure.measure import Keep, each_axis

__all__ = ["product_bytes", "product_moment", "shared_outputs"]

Array = Any


def product_moment(
    terms: Sequence[Linked], law: Moments, connected: bool, mirrored: bool = False, keep: Keep = "all"
) -> tuple[Array, tuple[str, ...]] | None:
    """Expectations of the links of two terms, summed over what no output reads.

    Args:
        terms: one term, or two with different index names.
        law: mean and covariance of their inputs.
        connected: the covariance instead of the second moment.
        mirrored: the second is the first under other names, and the law treats them alike: half of the work is done.
        keep: what is kept of the outputs. Where it is not all, products of different positions do not meet.

    Returns:
        An array and its indices; ``None`` if it is zero.
    """
    f, g = terms[0], terms[1] if len(terms) > 1 else None
    forms = Ends(f, g, law)
    left, right = f.table, np.zeros((1, 0), dtype=np.int64) if g is None else g.table
    both = [] if g is None else shared_outputs(f, g, keep)
    i, j = _meeting(f, left, g, right, both)
    if mirrored:
        i, j = i[i <= j], j[i <= j]
    places = [
        tuple(ix for ix in t.kept if ix not in [b[k] for b in both]) if t else ()
        for k, t in enumerate((f, g))
    ]
    equal = tuple(a for a, _ in both)
    n_both = entries(equal, f.sizes)
    n_left, n_right = (entries(inds, t.sizes) if t else 1 for inds, t in zip(places, (f, g), strict=True))
    targets = f.address(left, (*equal, *places[0]))[i] * n_right
    targets = targets + (0 if g is None else g.address(right, places[1])[j])
    weight = _gathered(f, left)[i] * (1.0 if g is None else _gathered(g, right)[j])
    if mirrored:
        weight = weight * ar.do("asarray", np.where(i == j, 0.5, 1.0), like=weight)
    found, where = [], []
    for some in forms.alike(left, right, i, j, connected):
        value = forms.chains(left[i[some]], right[j[some]]).total(connected)
        if value is None:
            continue
        if isinstance(value, float):
            value = ar.do("ones", (len(some), 1, 1), like=weight) * value
        places_here, ids = np.unique(targets[some], return_inverse=True)
        found.append(_sum_by(value * weight[some][:, None, None], ids, len(places_here)))
        where.append(places_here)
    if not found:
        return None
    count = n_both * n_left * n_right
    total = _sum_by(ar.do("concatenate", tuple(found), axis=0), np.concatenate(where), count)
    inds = list(equal)
    r, s = ar.shape(total)[1:]
    total = ar.do("transpose", ar.do("reshape", total, (n_both, n_left, n_right, r, s)), (0, 1, 3, 2, 4))
    if mirrored:
        total = total + ar.do("transpose", total, (0, 3, 4, 1, 2))
    for t, kept in zip((f, g), places, strict=True):
        if t is not None:
            inds += [*kept, *([t.product.open] if t.product.open else [])]
    sizes = {**f.sizes, **({} if g is None else g.sizes)}
    shape = [sizes[ix] for ix in inds]
    return ar.do("reshape", total, tuple(shape)), tuple(inds)


def shared_outputs(f: Linked, g: Linked, keep: Keep) -> list[tuple[str, str]]:
    """Outputs of which only equal ones are kept, and that number products of both."""
    kept = each_axis(keep, len(f.term.out))
    pairs = zip(f.term.out, g.term.out, kept, strict=False)
    return [(a, b) for a, b, k in pairs if k != "all" and a in f.kept and b in g.kept]


def _meeting(
    f: Linked, left: np.ndarray, g: Linked | None, right: np.ndarray, both: Sequence[tuple[str, str]]
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the products that meet: all pairs with equal values of some indices."""
    mine = f.address(left, [a for a, _ in both])
    other = np.zeros(len(right), dtype=np.int64) if g is None else g.address(right, [b for _, b in both])
    i, j = np.nonzero(mine[:, None] == other[None, :])
    return i, j


def _gathered(t: Linked, rows: np.ndarray) -> Array:
    return ar.do("reshape", t.weights, (-1,))[t.address(rows, t.product.batch)]


def _sum_by(values: Array, ids: np.ndarray, n: int) -> Array:
    """Values added up by number."""
    zeros = ar.do("zeros", (n, *ar.shape(values)[1:]), like=values)
    if ar.infer_backend(values) == "numpy":
        np.add.at(zeros, ids, values)
        return zeros
    return ar.do("index_add", zeros, 0, ar.do("asarray", ids, like=values), values)


def product_bytes(terms: Sequence[Linked]) -> float:
    """Memory of :func:`product_moment`: covariances of ends, and small matrices of a chunk."""
    wide = [
        sum(entries(e.batch, t.sizes) * t.sizes.get(e.inner or "", 1) for e in t.product.ends) for t in terms
    ]
    kept = [entries(t.kept, t.sizes) * rows_of(t) for t in terms]
    every = float(np.prod([entries(t.product.batch, t.sizes) for t in terms])) * bytes_of_one(terms)
    return 8.0 * (wide[0] * wide[-1] + 3 * kept[0] * kept[-1]) + min(every, 2 * CHUNK)
