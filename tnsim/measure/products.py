"""Moments of products of links: all pairings of two terms of many legs under a Gaussian law."""

from collections.abc import Sequence
from typing import Any

import autoray as ar
import numpy as np

from tnsim.measure.batch import Linked
from tnsim.measure.ends import CHUNK, Ends, Moments, bytes_of_one, rows_of
from tnsim.measure.links import entries

__all__ = ["product_bytes", "product_moment"]

Array = Any


def product_moment(
    terms: Sequence[Linked], law: Moments, connected: bool, mirrored: bool = False
) -> tuple[Array, tuple[str, ...]] | None:
    """Expectations of the links of two terms, summed over what no output reads.

    Args:
        terms: one term, or two with different index names.
        law: mean and covariance of their inputs.
        connected: the covariance instead of the second moment.
        mirrored: the second is the first under other names, and the law treats them alike: half of the work is done.

    Returns:
        An array and its indices: kept batch and open index of f, then those of g; ``None`` if it is zero.
    """
    f, g = terms[0], terms[1] if len(terms) > 1 else None
    forms = Ends(f, g, law)
    left, right = f.table, np.zeros((1, 0), dtype=np.int64) if g is None else g.table
    i, j = (x.ravel() for x in np.meshgrid(np.arange(len(left)), np.arange(len(right)), indexing="ij"))
    if mirrored:
        i, j = i[i <= j], j[i <= j]
    places = [f.kept, () if g is None else g.kept]
    n_left, n_right = (entries(inds, t.sizes) if t else 1 for inds, t in zip(places, (f, g), strict=True))
    targets = f.address(left, places[0])[i] * n_right + (0 if g is None else g.address(right, places[1])[j])
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
    total = _sum_by(ar.do("concatenate", tuple(found), axis=0), np.concatenate(where), n_left * n_right)
    inds: list[str] = []
    shape: list[int] = []
    r, s = ar.shape(total)[1:]
    total = ar.do("transpose", ar.do("reshape", total, (n_left, n_right, r, s)), (0, 2, 1, 3))
    if mirrored:
        total = total + ar.do("transpose", total, (2, 3, 0, 1))
    for t, kept in zip((f, g), places, strict=True):
        if t is not None:
            inds += [*kept, *([t.product.open] if t.product.open else [])]
    sizes = {**f.sizes, **({} if g is None else g.sizes)}
    shape = [sizes[ix] for ix in inds]
    return ar.do("reshape", total, tuple(shape)), tuple(inds)


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
