"""Links: a term of many legs as a product of small factors, each of which reads one or two copies of the input.

Attention is a product of scores (two legs each, joined by the features of a head) and of a value (one leg). Heads,
positions and hidden units number such products; they are the *batch* of the term.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from tnsim.common.caches import cached
from tnsim.common.wires import Leg, space

__all__ = ["End", "Product", "Wiring", "entries", "product_of"]

Wiring = tuple[tuple[tuple[str, ...], ...], tuple[Leg, ...], Leg]  # indices of every tensor, legs, outputs


@dataclass(frozen=True)
class End:
    """A linear form of one copy of the input: the product of some tensors over the features of a leg.

    Attributes:
        leg: the indices of the leg.
        parts: numbers of the tensors that make up its weight; none for the input itself.
        summed: indices that the weight is contracted over: features of the leg, and what joins the parts.
        inner: the index that joins it to its partner, or stays open; ``None`` for a number.
        batch: its other indices.
    """

    leg: Leg
    parts: tuple[int, ...]
    summed: tuple[str, ...]
    inner: str | None = None
    batch: tuple[str, ...] = ()


@dataclass(frozen=True)
class Product:
    """A term as Σ over the batch of rest × ∏ links.

    Attributes:
        ends: one for every leg.
        pairs: links with two legs, Σ_c u_c w_c, as numbers of ends.
        singles: links with one leg, as numbers of ends; at most one of them has an open index.
        batch: indices that number the products.
        rest: numbers of the other tensors.
    """

    ends: tuple[End, ...]
    pairs: tuple[tuple[int, int], ...]
    singles: tuple[int, ...]
    batch: tuple[str, ...]
    rest: tuple[int, ...]

    @property
    def open(self) -> str | None:
        """The open index, if there is one."""
        return next((self.ends[e].inner for e in self.singles if self.ends[e].inner), None)


@cached(4096)
def product_of(wiring: Wiring, sizes: tuple[tuple[str, int], ...]) -> Product:
    """The links of a term.

    Args:
        wiring: how the term is wired.
        sizes: the size of every index.
    """
    size = dict(sizes)
    tensors, legs, out = wiring
    forms = _absorbed(tensors, legs, out, _forms(tensors, legs, out), size)
    used = {p for e in forms for p in e.parts}
    rest = tuple(n for n in range(len(tensors)) if n not in used)
    kept = [_kept(e, tensors) for e in forms]
    elsewhere = set(out).union(*(tensors[n] for n in rest), *legs)
    pairs: list[tuple[int, int]] = []
    inner: dict[int, str] = {}
    for ix in sorted({ix for k in kept for ix in k} - elsewhere, key=lambda ix: (-size[ix], ix)):
        holders = [e for e, k in enumerate(kept) if ix in k]
        if len(holders) == 2 and not inner.keys() & set(holders):
            pairs.append((holders[0], holders[1]))
            inner.update(dict.fromkeys(holders, ix))
    singles = tuple(e for e in range(len(forms)) if e not in inner)
    free = [
        (space(ix) != "s", size[ix], ix, e)
        for e in singles
        for ix in kept[e]
        if not any(ix in k for other, k in enumerate(kept) if other != e)
    ]
    if free:
        *_, ix, e = max(free)
        inner[e] = ix
    ends = tuple(
        replace(form, inner=inner.get(e), batch=tuple(ix for ix in kept[e] if ix != inner.get(e)))
        for e, form in enumerate(forms)
    )
    batch = tuple(dict.fromkeys(ix for e in ends for ix in e.batch))
    return Product(ends, tuple(pairs), singles, batch, rest)


def _forms(tensors: Sequence[Sequence[str]], legs: Sequence[Leg], out: Leg) -> list[End]:
    """One form for every leg: the tensor that holds the leg's own indices, where it may be taken for a weight."""
    own = [
        {ix for ix in leg if ix not in out and not any(ix in o for j, o in enumerate(legs) if j != k)}
        for k, leg in enumerate(legs)
    ]
    holders = [[n for n, inds in enumerate(tensors) if mine & set(inds)] for mine in own]
    forms = []
    for k, leg in enumerate(legs):
        part = holders[k][0] if len(holders[k]) == 1 else None
        others = {n for j, h in enumerate(holders) if j != k for n in h}
        shared = [set(tensors[h[0]]) for j, h in enumerate(holders) if j != k and len(h) == 1]
        takes = (
            part is not None
            and part not in others
            and all(ix in leg or any(ix in s for s in shared) for ix in set(tensors[part]) & set(out))
        )
        forms.append(End(leg, (part,) if takes and part is not None else (), tuple(own[k]) if takes else ()))
    return forms


def _absorbed(
    tensors: Sequence[Sequence[str]],
    legs: Sequence[Leg],
    out: Leg,
    forms: Sequence[End],
    size: Mapping[str, int],
) -> list[End]:
    """Weights take in what hangs on them alone, such as a rotation of a head's features.

    Where two weights could take a tensor, the one whose form grows least does: the rotation of a key depends on the
    position of the key, and taken in by the query it would make a query for every pair of positions.
    """
    forms = list(forms)
    fixed = set(out) - {ix for leg in legs for ix in leg}
    while True:
        used = {p for e in forms for p in e.parts}
        choices = []
        for n, inds in enumerate(tensors):
            if n in used or fixed & set(inds):
                continue
            for k, form in enumerate(forms):
                kept = _kept(form, tensors)
                mine = set(kept) & set(inds) - set(out) - {ix for leg in legs for ix in leg}
                others = [t for m, t in enumerate(tensors) if m != n and m not in form.parts]
                joint = tuple(ix for ix in inds if ix in mine and not any(ix in t for t in others))
                if form.parts and joint:
                    choices.append((prod(size[ix] for ix in inds if ix not in kept), n, k, joint))
        if not choices:
            return forms
        _, n, k, joint = min(choices)
        forms[k] = replace(forms[k], parts=(*forms[k].parts, n), summed=(*forms[k].summed, *joint))


def _kept(e: End, tensors: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The indices of a form: those of its weight that are not summed, and the leg's that the weight does not sum."""
    inds = (ix for n in e.parts for ix in tensors[n])
    return tuple(dict.fromkeys(ix for ix in (*e.leg, *inds) if ix not in e.summed))


def entries(indices: Sequence[str], sizes: Mapping[str, int]) -> int:
    """How many values indices take together."""
    return prod(sizes[ix] for ix in indices)
