"""Term: one multilinear map, written as an open tensor network."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.terms.symmetry import Branch, Tree, fixed, graft, shifted
from tnsim.common.notebook import Drawn
from tnsim.common.wires import (
    BATCH,
    MODEL,
    PICK,
    Leg,
    WireError,
    avoiding,
    input_leg,
    nest,
    place,
    rename,
    role_of,
    space,
    unused,
)
from tnsim.engine.effort import weigh

__all__ = ["Term", "aligned", "canonical", "compose", "fresh", "multiply", "picked", "retensor"]

Array = Any


@dataclass(frozen=True, eq=False)
class Term(Drawn):
    """One multilinear map t(x, …, x): an open network, its input legs, its outputs and a coefficient.

    A leg is a tuple of indices that together carry one copy of the input. An index may belong to
    several legs, or to a leg and to the output: that is a hyperedge (a *wire*), not a COPY tensor. The
    identity is the vector of ones on the output index, with that index as its leg.

    Attributes:
        tensors: the tensors of the network, in a fixed order.
        legs: input legs, in order; their number is the degree.
        out: output indices.
        coefficient: a number in front.
        symmetry: which legs may be exchanged; ``None`` says nothing. It holds by construction, and
            :func:`tnsim.algebra.polys.symmetrising.check_symmetry` verifies it numerically.

    Example:
        >>> import torch, tnsim
        >>> D, L = torch.ones(2, 3), torch.ones(3, 4)
        >>> term = tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D, L=L, R=L).terms[0]
        >>> term.degree, term.legs, term.out
        (2, (('in0:d',), ('in1:d',)), ('out:d',))
    """

    tensors: tuple[qtn.Tensor, ...]
    legs: tuple[Leg, ...]
    out: Leg
    coefficient: float = 1.0
    symmetry: Tree | None = None

    def __post_init__(self) -> None:
        if len(set(self.out)) != len(self.out):
            raise WireError(
                f"the outputs {self.out} of a term are not all different; tie them with Term.tied."
            )

    def __repr__(self) -> str:
        shown = [
            f"{'·'.join((role_of(x.tags), *list(x.tags)[1:])) or '?'}[{', '.join(map(str, x.inds))}]"
            for x in self.tensors
        ]
        rest = [f"… {len(shown) - 6} more"] if len(shown) > 6 else []
        front = "" if self.coefficient == 1 else f"{self.coefficient:g} "
        return f"Term(degree {self.degree}: {front}{' '.join(shown[:6] + rest)})"

    @property
    def tree(self) -> Tree:
        """The symmetry as a tree over the legs."""
        if self.symmetry is not None:
            return self.symmetry
        return 0 if self.degree == 1 else fixed(self.degree)

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for terms made of the very same arrays in the same wiring."""
        return (tuple((id(x.data), x.inds) for x in self.tensors), self.legs, self.out)

    @property
    def degree(self) -> int:
        """How many copies of the input the term multiplies."""
        return len(self.legs)

    @property
    def network(self) -> qtn.TensorNetwork:
        """The term as a quimb ``TensorNetwork`` (without the coefficient)."""
        return qtn.TensorNetwork(self.tensors, check_collisions=False)

    @property
    def sizes(self) -> dict[str, int]:
        """The size of every index."""
        return {ix: int(n) for t in self.tensors for ix, n in zip(t.inds, ar.shape(t.data), strict=True)}

    def renamed(self, mapping: Mapping[str, str]) -> "Term":
        """The same map under other index names.

        Nothing is merged: an inner index or a leg that has one of the new names already gets another one.

        Raises:
            WireError: if two indices would have one name, or an output or a shared index has one of the new names.
        """
        return self._spelt(avoiding(mapping, self._names(), {*self.out, MODEL, BATCH} - mapping.keys()))

    def tied(self, a: int, b: int) -> "Term":
        """The diagonal of two outputs, where output ``a`` was: their two indices become one."""
        out = (*self.out[:b], *self.out[b + 1 :])
        return replace(self, out=out)._spelt({self.out[b]: self.out[a]})

    def onto(self, leg: Leg) -> "Term":
        """The map with its outputs called like a leg, to be fed into it; a leg may name an index twice."""
        t = self
        for b in reversed(range(len(leg))):
            if leg[b] in leg[:b]:
                t = t.tied(leg.index(leg[b]), b)
        return t.renamed(dict(zip(t.out, dict.fromkeys(leg), strict=True)))

    def clear(self, names: Iterable[str]) -> "Term":
        """The same map with none of these names, which may then be given to something new."""
        taken = {*self._names(), *names}
        mapping: dict[str, str] = {}
        for ix in self._names():
            if ix in names:
                mapping[ix] = unused(taken, "hid", "s" if space(ix).startswith("s") else "h")
                taken.add(mapping[ix])
        return self._spelt(mapping)

    def _names(self) -> tuple[str, ...]:
        """Every index once, in order of appearance."""
        return tuple(dict.fromkeys(chain(*[t.inds for t in self.tensors], *self.legs, self.out)))

    def _spelt(self, mapping: Mapping[str, str]) -> "Term":
        if not mapping:
            return self
        weigh(1 + len(self.tensors) / 4)
        return replace(
            self,
            tensors=tuple(retensor(t, inds=rename(t.inds, mapping)) for t in self.tensors),
            legs=tuple(rename(leg, mapping) for leg in self.legs),
            out=rename(self.out, mapping),
        )

    def nested(self, path: str) -> "Term":
        """The same map with every index under ``path``; run and sample indices stay shared."""
        return self.renamed({ix: nest(ix, path) for ix in self.sizes})

    def tagged(self, tags: Iterable[str]) -> "Term":
        """The same map with more tags on every tensor."""
        extra = tuple(tags)
        return replace(self, tensors=tuple(retensor(t, tags=(*t.tags, *extra)) for t in self.tensors))

    def scaled(self, factor: float) -> "Term":
        """The map times a number."""
        return replace(self, coefficient=self.coefficient * factor)

    def attached(self, tensor: qtn.Tensor, out: Leg | None = None) -> "Term":
        """The map with one more tensor on its output side."""
        return replace(self, tensors=(*self.tensors, tensor), out=self.out if out is None else out)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Term":
        """A term with arrays of its own; those with gradients become leaves, apart from what they were made from."""
        return replace(self, tensors=tuple(retensor(x, data=_own(x.data, memo)) for x in self.tensors))

    def wired(self, k: int) -> frozenset[str]:
        """The output indices that belong to the ``k``-th output *and* to some leg."""
        return frozenset({self.out[k]}).intersection(ix for leg in self.legs for ix in leg)


def _own(x: Array, memo: dict[int, Any]) -> Array:
    """A copy of an array, one for all that share it."""
    if id(x) not in memo and getattr(x, "requires_grad", False):
        memo[id(x)] = x.detach().clone().requires_grad_(True)  # a torch array with a history has no deep copy
    return copy.deepcopy(x, memo)


def retensor(t: qtn.Tensor, **changes: Any) -> qtn.Tensor:
    """A copy of a tensor with other data, inds or tags (the array is shared, not copied)."""
    return qtn.Tensor(
        changes.get("data", t.data), changes.get("inds", t.inds), tags=changes.get("tags", t.tags)
    )


def fresh(term: Term, place: str, space: str) -> str:
    """An index name that the term does not use: ``place:space``, ``place1:space``, ….

    Example:
        >>> t = Term((qtn.Tensor([1.0], ("k:s",)),), (), ("k:s",))
        >>> fresh(t, "k", "s"), fresh(t, "k", "h")
        ('k1:s', 'k:h')
    """
    return unused(set(term.sizes).union(term.out, *term.legs), place, space)


def canonical(term: Term, spaces: Sequence[str]) -> Term:
    """Legs named ``in0 in1 …``, except where a leg shares an index with the output or another leg."""
    seen: dict[str, int] = {}
    for leg in term.legs:
        for ix in leg:
            seen[ix] = seen.get(ix, 0) + 1
    mapping = {
        ix: name
        for k, leg in enumerate(term.legs)
        for ix, name in zip(leg, input_leg(k, spaces), strict=True)
        if seen[ix] == 1 and ix not in term.out
    }
    return term.renamed(mapping)


def multiply(a: Term, b: Term) -> Term:
    """The elementwise product a(x)∘b(x): the two share their output indices."""
    tree = Branch((a.tree, shifted(b.tree, a.degree)), free=a.degree > 0 and a.key == b.key)
    if a.out != b.out or (a.legs and b.legs) or _inner(a) & _inner(b):
        a, b = _apart(a, "0", a.out), _apart(b, "1", a.out)
    return Term((*a.tensors, *b.tensors), (*a.legs, *b.legs), a.out, a.coefficient * b.coefficient, tree)


def compose(outer: Term, inner: Sequence[Term]) -> Term:
    """Feed one term into each leg of ``outer``: outer(inner₀(x), inner₁(x), …)."""
    tree = graft(outer.tree, [(t.key, t.tree) for t in inner])
    bonds = _bond_names(outer)
    outer = outer.renamed(bonds)
    taken = set(outer.sizes)
    tensors = list(outer.tensors)
    legs: list[Leg] = []
    coefficient = outer.coefficient
    for k, (leg, term) in enumerate(zip(outer.legs, inner, strict=True)):
        if len(inner) > 1 or (set(term.sizes) - set(term.out)) & taken:
            roots = {ix.split("/", 1)[0] for ix in taken if "/" in ix}
            term = term.nested(next(path for n in count() if (path := f"{k}{'x' * n}") not in roots))
        term = term.onto(leg)
        tensors += term.tensors
        legs += term.legs
        coefficient *= term.coefficient
    return Term(tuple(tensors), tuple(legs), outer.out, coefficient, tree)


def picked(t: Term, axis: int, key: Any, keep: bool) -> Term:
    """Index one output axis. Where the output is a wire, a selection matrix is put in between."""
    ix = t.out[axis]
    if t.wired(axis):
        inner = fresh(t, "pick", space(ix))
        t = t.renamed({ix: inner})
        eye = ar.do("eye", t.sizes[inner], like=t.tensors[0].data)
        t = t.attached(qtn.Tensor(eye, (ix, inner), tags=PICK), (*t.out[:axis], ix, *t.out[axis + 1 :]))
    tensors = tuple(_index(x, ix, key, keep) if ix in x.inds else x for x in t.tensors)
    out = t.out if keep else (*t.out[:axis], *t.out[axis + 1 :])
    return replace(t, tensors=tensors, out=out)


def _index(x: qtn.Tensor, ix: str, key: Any, keep: bool) -> qtn.Tensor:
    at = x.inds.index(ix)
    inds = x.inds if keep else (*x.inds[:at], *x.inds[at + 1 :])
    return retensor(x, data=x.data[(slice(None),) * at + (key,)], inds=inds)


def aligned(term: Term, out: Leg) -> Term:
    """The same map with its outputs called ``out``."""
    return term if term.out == out else term.renamed(dict(zip(term.out, out, strict=True)))


def _inner(term: Term) -> set[str]:
    return set(term.sizes) - set(term.out)


def _apart(term: Term, path: str, out: Leg) -> Term:
    return term.nested(path).renamed(dict(zip((nest(ix, path) for ix in term.out), out, strict=True)))


def _bond_names(outer: Term) -> dict[str, str]:
    """Once something is fed into it, a leg is an inner bond: ``in0:d`` becomes ``hid:h``."""
    open_legs = [ix for leg in outer.legs for ix in leg if place(ix).startswith("in")]
    taken = set(outer.sizes)
    mapping: dict[str, str] = {}
    for ix in dict.fromkeys(open_legs):
        mapping[ix] = unused(taken, "hid", "s" if space(ix) == "s" else "h")
        taken.add(mapping[ix])
    return mapping
