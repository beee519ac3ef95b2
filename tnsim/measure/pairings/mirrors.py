"""Mirrors: a network that is its own image when ket and bra are exchanged is contracted by halves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.terms.term import retensor
from tnsim.common.wires import SIDES, rename, side_of
from tnsim.engine.contract import Contraction

__all__ = ["halved", "mirror"]

_BLOCKS = 4  # that an index is cut into: 10 of 16 pairs of blocks are left
_DEAR = 1e9  # effort; below, more contractions cost more time than they save
_WORTH = 0.9  # of the effort


def mirror(c: Contraction) -> dict[str, str] | None:
    """An exchange of indices, ket with bra, that maps the network onto itself; ``None`` if none is found.

    Tensors are alike if they share one array, so nothing depends on values. Indices that are kept must stay in place.

    Args:
        c: a contraction.

    Returns:
        For every index its image. It is an involution.
    """
    tensors = [(id(t.data), rename(t.inds, c.joins)) for t in c.tensors]
    names = {ix for _, inds in tensors for ix in inds}
    found = {ix: _across(ix, names) for ix in names if side_of(ix)}
    found |= {kept: kept for kept in (c.joins.get(ix, ix) for ix in c.output)}
    if any(found[found[ix]] != ix for ix in found):
        return None
    return _matched(tensors, found, list(range(len(tensors))), list(range(len(tensors))))


def halved(c: Contraction) -> Iterator[Contraction]:
    """Contractions with the same sum, of which those that are each other's mirror image are done once.

    Where two indices x and x' are exchanged, the summand is symmetric in them. They are cut into blocks, and
    only pairs of blocks on and above the diagonal are contracted, those above it with weight two.

    Args:
        c: a contraction of a factor with itself.
    """
    whole = c.cost()
    exchanged = mirror(c) if whole.effort > _DEAR else None
    best, least = None, _WORTH * whole.effort
    for x, y in (exchanged or {}).items():
        if x < y:
            blocks = list(_blocks(c, x, y))
            effort = sum(b.cost().effort for b in blocks)
            if effort < least:
                best, least = blocks, effort
    yield from best or [c]


def _across(ix: str, names: set[str]) -> str:
    """The same index on the other side; itself where there is none, as for what both sides share."""
    side = side_of(ix)
    other = SIDES[1 - SIDES.index(side)] + ix[len(side) :] if side else ix
    return other if other in names else ix


def _matched(
    tensors: Sequence[tuple[int, Sequence[str]]],
    found: Mapping[str, str],
    left: Sequence[int],
    free: Sequence[int],
) -> dict[str, str] | None:
    """Images for the tensors that are left, among those that are free."""
    if not left:
        return dict(found)
    first, *others = left
    kind, inds = tensors[first]
    for target in free:
        if tensors[target][0] != kind:
            continue
        now = dict(found)
        pairs = list(zip(inds, tensors[target][1], strict=True))
        if all(now.setdefault(a, b) == b and now.setdefault(b, a) == a for a, b in pairs):
            whole = _matched(tensors, now, others, [n for n in free if n != target])
            if whole is not None:
                return whole
    return None


def _blocks(c: Contraction, x: str, y: str) -> Iterator[Contraction]:
    sizes = {
        c.joins.get(ix, ix): n for t in c.tensors for ix, n in zip(t.inds, ar.shape(t.data), strict=True)
    }
    count = min(_BLOCKS, int(sizes[x]))
    edges = [int(sizes[x]) * k // count for k in range(count + 1)]
    parts = [slice(a, b) for a, b in pairwise(edges)]
    for i, own in enumerate(parts):
        for j, other in enumerate(parts[i:], start=i):
            cut = tuple(_cut(t, c.joins, {x: own, y: other}) for t in c.tensors)
            yield replace(c, tensors=cut, weight=c.weight * (1.0 if i == j else 2.0))


def _cut(t: qtn.Tensor, joins: Mapping[str, str], parts: Mapping[str, slice]) -> qtn.Tensor:
    """A tensor with some values of an index only."""
    where = tuple(parts.get(joins.get(ix, ix), slice(None)) for ix in t.inds)
    return t if all(part == slice(None) for part in where) else retensor(t, data=t.data[where])
