"""Families of terms: a product of affine forms, recognised in the sum of terms that it expands to.

Biases on queries and keys make 16 terms of one attention layer, (W₁x + b₁)·(W₂x + b₂)⋯ multiplied out; with biases
everywhere there are 32. As one product of affine forms they cost as much as the first of them. What a family has and
the sum has not (terms that were merged with others) is subtracted again, so nothing is assumed.
"""

import operator
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Any

import autoray as ar
import networkx as nx
import quimb.tensor as qtn
from networkx.algorithms.isomorphism import GraphMatcher, categorical_node_match

from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term, retensor
from tnsim.common.caches import cached
from tnsim.common.wires import MODEL, Leg
from tnsim.measure.attention.links.link import Product, product_of

__all__ = ["Factor", "Family", "Sheet", "families", "families_of"]

Array = Any
Factor = tuple[tuple[str, ...], int]  # the indices of a tensor, and the number of its array


@dataclass(frozen=True)
class Sheet:
    """A term with numbers in place of arrays; with offsets, a product of affine forms.

    Attributes:
        tensors: indices and array number of every tensor.
        legs: input legs.
        out: output indices.
        coefficient: a number in front.
        offsets: for ends with a bias its number, and the bias in place of the tensor that holds the leg.
    """

    tensors: tuple[Factor, ...]
    legs: tuple[Leg, ...]
    out: Leg
    coefficient: float
    offsets: tuple[tuple[int, Factor], ...] = ()

    def product(self, sizes: Sequence[tuple[str, int]]) -> Product:
        """The links of the term."""
        names = {ix for inds, _ in self.tensors for ix in inds}
        own = tuple((ix, n) for ix, n in sizes if ix in names)
        return product_of((tuple(inds for inds, _ in self.tensors), self.legs, self.out), own)


@dataclass(frozen=True, eq=False)
class Family:
    """A product of affine forms, as the term of highest degree; or a term.

    Attributes:
        term: the term without biases.
        offsets: for ends with a bias, what stands in place of the tensor that holds the leg.
    """

    term: Term
    offsets: Mapping[int, qtn.Tensor]


def families_of(f: Poly) -> list[Family]:
    """The terms of a polynomial, those that make up a product of affine forms as one."""
    f = replace(f, terms=_summed(f.terms))
    arrays: list[Array] = []
    numbers: dict[int, int] = {}

    def number(x: Array) -> int:
        if id(x) not in numbers:
            numbers[id(x)] = len(arrays)
            arrays.append(x)
        return numbers[id(x)]

    def tensor(factor: Factor) -> qtn.Tensor:
        return qtn.Tensor(arrays[factor[1]], factor[0])

    def term(sheet: Sheet) -> Term:
        return Term(tuple(map(tensor, sheet.tensors)), sheet.legs, sheet.out, sheet.coefficient)

    sheets = tuple(
        Sheet(tuple((x.inds, number(x.data)) for x in t.tensors), t.legs, t.out, t.coefficient)
        for t in f.terms
    )
    known = dict(zip(sheets, f.terms, strict=True))
    found = families(sheets, tuple(tuple(t.sizes.items()) for t in f.terms))
    return [
        Family(known.get(sheet) or term(sheet), {e: tensor(factor) for e, factor in sheet.offsets})
        for sheet in found
    ]


def _summed(terms: Sequence[Term]) -> tuple[Term, ...]:
    """Without indices that a single tensor has and nobody reads: summed over now.

    A bias stands in place of a tensor, not of every entry of such an index: it would be counted once for each.
    """
    made: dict[tuple[int, tuple[int, ...]], Array] = {}

    def alone(t: Term) -> Term:
        held = Counter(ix for x in t.tensors for ix in x.inds)
        read = {MODEL, *t.out, *(ix for leg in t.legs for ix in leg)}
        tensors = []
        for x in t.tensors:
            kept = tuple(ix for ix in x.inds if held[ix] > 1 or ix in read)
            if len(kept) < len(x.inds):
                key = id(x.data), tuple(map(x.inds.index, kept))
                if key not in made:
                    over = tuple(k for k, ix in enumerate(x.inds) if ix not in kept)
                    made[key] = ar.do("sum", x.data, axis=over)
                x = retensor(x, data=made[key], inds=kept)
            tensors.append(x)
        return t if all(map(operator.is_, tensors, t.tensors)) else replace(t, tensors=tuple(tensors))

    return tuple(map(alone, terms))


@cached(1024)
def families(sheets: tuple[Sheet, ...], sizes: tuple[tuple[tuple[str, int], ...], ...]) -> tuple[Sheet, ...]:
    """The same sum with every family as one product of affine forms.

    Args:
        sheets: the terms of a polynomial, without run indices.
        sizes: for every term the size of every index.
    """
    left = dict(enumerate(sheets))
    result: list[Sheet] = []
    for k, top in enumerate(sheets):
        if k not in left or not top.product(sizes[k]).pairs:
            continue
        offsets = tuple(_offsets(top, top.product(sizes[k]), list(left.values())))
        if not offsets:
            continue
        extra: list[Sheet] = []
        rest = dict(left)
        for count in range(len(offsets) + 1):
            for dropped in combinations(offsets, count):
                member = _member(top, top.product(sizes[k]), dropped)
                found = next((n for n, t in rest.items() if _same(member, t)), None)
                if found is None:
                    extra.append(replace(member, coefficient=-member.coefficient))
                elif rest[found].coefficient == member.coefficient:
                    del rest[found]
                else:
                    remains = rest[found].coefficient - member.coefficient
                    rest[found] = replace(rest[found], coefficient=remains)
        if len(rest) + len(extra) < len(left) - 1:
            left = rest
            result += [replace(top, offsets=offsets), *extra]
    return (*result, *left.values())


def _offsets(top: Sheet, product: Product, others: Sequence[Sheet]) -> Iterator[tuple[int, Factor]]:
    """The biases of a term's ends, read off the terms in which one leg less is read."""
    for e, end in enumerate(product.ends):
        if not end.parts:
            continue
        held = top.tensors[end.parts[0]][0]
        pool = [ix for ix in dict.fromkeys((*end.leg, *held)) if not (ix in end.summed and ix in end.leg)]
        tried = {
            (inds, number)
            for t in others
            if len(t.legs) == len(top.legs) - 1 and len(t.out) == len(top.out)
            for bias, number in t.tensors
            for inds in permutations(pool, len(bias))
        }
        for factor in sorted(tried, key=str):
            member = _member(top, product, ((e, factor),))
            if any(_same(member, t) for t in others):
                yield e, factor
                break


def _member(top: Sheet, product: Product, dropped: Sequence[tuple[int, Factor]]) -> Sheet:
    """The term in which some ends are replaced by their bias."""
    tensors = list(top.tensors)
    for e, factor in dropped:
        tensors[product.ends[e].parts[0]] = factor
    gone = {e for e, _ in dropped}
    legs = tuple(leg for e, leg in enumerate(top.legs) if e not in gone)
    return Sheet(tuple(tensors), legs, top.out, top.coefficient)


def _same(a: Sheet, b: Sheet) -> bool:
    """Whether two terms are the same up to the names of indices and the order of legs."""
    if len(a.legs) != len(b.legs) or sorted(n for _, n in a.tensors) != sorted(n for _, n in b.tensors):
        return False
    if _print(a) != _print(b):
        return False
    return GraphMatcher(_graph(a), _graph(b), node_match=categorical_node_match("kind", None)).is_isomorphic()


@cached(65536)
def _print(s: Sheet) -> str:
    return str(nx.weisfeiler_lehman_graph_hash(_graph(s), node_attr="kind", iterations=3))


@cached(65536)
def _graph(s: Sheet) -> nx.Graph:
    """Tensors, their axes, indices and legs as nodes; array numbers and axis positions as their kinds."""
    graph = nx.Graph()
    for t, (inds, number) in enumerate(s.tensors):
        graph.add_node(("t", t), kind=f"array {number}")
        for axis, ix in enumerate(inds):
            graph.add_node(("a", t, axis), kind=f"axis {axis}")
            graph.add_edges_from([(("t", t), ("a", t, axis)), (("a", t, axis), ("i", ix))])
    for k, leg in enumerate((*s.legs, s.out)):
        for axis, ix in enumerate(leg):
            kind = "leg" if k < len(s.legs) else "out"
            graph.add_node(("l", k, axis), kind=f"{kind} {axis}")
            graph.add_edges_from([(("l", k, axis), ("i", ix)), (("l", k, axis), ("L", k))])
        graph.add_node(("L", k), kind="leg")
    for node in graph:
        graph.nodes[node].setdefault("kind", "index")
    return graph
