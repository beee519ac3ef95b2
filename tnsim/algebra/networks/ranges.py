"""A model in units of its own, in which the numbers on the way to an inner product stay in range.

Weights may be of any size: a model of degree n multiplies them n times over, and then an inner product squares it. So
every weight is divided by a power of two close to its size, and every hidden state is measured in units of the size it
is expected to have. Nothing is rounded. What is taken out is one power of two in front of the whole model.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import frexp, log2
from typing import Any

import autoray as ar
import networkx as nx
import quimb.tensor as qtn

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term, retensor
from tnsim.common.scaled import limits
from tnsim.common.wires import MODEL, WIRE

__all__ = ["in_range", "log_sizes", "spread"]

Array = Any
Key = tuple[int, int]  # an array, by its id, and the input legs that it holds

_NOTHING, _ZERO = -1e6, -5e5  # the exponent of zero, and what is no more than that
_LEAST = -40.0  # of a term of weights in range, as a power of two
_PLAIN = 2.0**20  # coefficients from its inverse to this are left as they are


def in_range(net: Network, exponent: Array = 0.0, output: Any = None) -> tuple[Network, Array]:
    """The network g and the whole number e with f(2^exponent z) = 2ᵉ g(z), g in range for z of size one.

    The size of a term is that of a random one with weights of the same norms. It only has to be right to within some
    powers of ten: units are exact whatever they are.

    Args:
        net: a network, possibly stacked.
        exponent: the units of the input.
        output: the output (or slice of outputs) that is asked for, if not all are; others may be out of range.

    Returns:
        The network, in which arrays that terms of a layer share are still shared; and e, shape ``()`` or ``(m,)``.
    """
    layers = []
    sizes = _sizes(net)
    e = ar.do("zeros", (), like=net.polys[0].like) + exponent
    for k, (name, f) in enumerate(net.layers, 1):
        whole = None
        if k == len(net) and output is not None:
            chosen = f[output]
            whole = _layer(chosen, e, _sizes(Network(((name, chosen),))))[1]
        g, e = _layer(f, e, sizes, whole)
        layers.append((name, g))
    return replace(net, layers=tuple(layers)), e


@dataclass(frozen=True, eq=False)
class _Size:
    """An array in its own units.

    Attributes:
        exponent: a power of two close to its largest entry, shape ``()``, or ``(m,)`` in a run; 0 if it stays as it is.
        norm: log2 of its norm in these units, estimated by the mean of its entries and the largest; far below zero for
            an array of zeros.
    """

    exponent: Array
    norm: Array

    def in_place(self) -> "_Size":
        """The array as it is."""
        return _Size(self.exponent * 0, self.norm + self.exponent)


def _layer(f: Poly, e: Array, known: Mapping[int, _Size], whole: Array = None) -> tuple[Poly, Array]:
    """A layer that reads x = 2ᵉ z, and the exponent of its output, if that is not given."""
    groups = _groups(f)
    alone = {group[0] for group in groups if len(group) == 1}
    keys = [[_key(x, t, k in alone) for x in t.tensors] for k, t in enumerate(f.terms)]
    holders = [_holder([f.terms[k] for k in group], [keys[k] for k in group]) for group in groups]
    coefficients = [
        _apart(t.coefficient) if k in alone else (t.coefficient, 0) for k, t in enumerate(f.terms)
    ]
    sizes: dict[int, _Size] = {}
    for group in groups:
        counts = [Counter(n for n, _ in keys[k]) for k in group]
        for k in group:
            for x, (n, _) in zip(f.terms[k].tensors, keys[k], strict=True):
                if n not in sizes:  # what all have equally often is a factor of them all
                    own = not _wire(x) and len({c[n] for c in counts}) == 1
                    sizes[n] = known[n] if own else known[n].in_place()

    exponents, norms = [], []
    for t, ks, (c, power) in zip(f.terms, keys, coefficients, strict=True):
        absorbed = sum(held for _, held in ks)
        exponents.append(sum((sizes[n].exponent for n, _ in ks), start=(t.degree - absorbed) * e + power))
        norm = sum((sizes[n].norm for n, _ in ks), start=e * 0 + spread(t))
        norms.append(norm + (log2(abs(c)) if c else _NOTHING))
    if whole is None:
        sized = (a + _at_least(x) for a, x in zip(exponents, norms, strict=True))
        whole = ar.do("round", reduce(_larger, sized))
        whole = ar.do("where", whole > _ZERO, whole, whole * 0)

    terms = list(f.terms)
    most = -log2(limits(whole)[0]) - 2
    for group, holder in zip(groups, holders, strict=True):
        norm = reduce(_larger, (norms[k] for k in group))
        made: dict[Key, Array] = {}
        for k in group:
            gain = exponents[k] - whole
            some = (norms[k] if holder is None else norm) > _ZERO
            tensors = []
            for x, key in zip(f.terms[k].tensors, keys[k], strict=True):
                if not _wire(x):
                    if key not in made:
                        shift = e * key[1] - sizes[key[0]].exponent
                        power = shift + gain if key[0] == holder else shift
                        made[key] = _times(x, _bounded(power, some, most))
                    x = retensor(x, data=made[key], inds=_inds(x, made[key]))
                tensors.append(x)
            t = replace(f.terms[k], tensors=tuple(tensors), coefficient=coefficients[k][0])
            terms[k] = t if holder is not None else t.attached(_factor(_bounded(gain, some, most)))
    return replace(f, terms=tuple(terms)), whole


def _key(x: qtn.Tensor, t: Term, alone: bool) -> Key:
    """An array, and how many input legs it alone holds, of terms that share weights: it takes the units of these."""
    held = 0
    for leg in () if alone or _wire(x) else t.legs:
        single = sum(leg[-1] in end for end in (*t.legs, t.out)) == 1
        held += single and leg[-1] in x.inds and sum(leg[-1] in y.inds for y in t.tensors) == 1
    return id(x.data), held


def _wire(x: qtn.Tensor) -> bool:
    return WIRE in x.tags


def _groups(f: Poly) -> list[tuple[int, ...]]:
    """The terms of a layer, those together that share weights, directly or through others."""
    if len(f.terms) == 1:
        return [(0,)]
    graph = nx.Graph()
    for k, t in enumerate(f.terms):
        graph.add_node(("term", k))
        graph.add_edges_from((("term", k), id(x.data)) for x in t.tensors if not _wire(x))
    parts = nx.connected_components(graph)
    return [tuple(sorted(n[1] for n in part if isinstance(n, tuple))) for part in parts]


def _holder(terms: Sequence[Term], keys: Sequence[Sequence[Key]]) -> int | None:
    """A weight that every term has once, nearest to the output, for a factor; ``None`` if each has its factor beside it.

    Terms that share weights do so with one factor for all, once the units of all their legs are in weights.
    """
    wires = any(t.degree != sum(held for _, held in ks) for t, ks in zip(terms, keys, strict=True))
    if wires and len(terms) > 1:
        return None
    counts = [Counter(n for n, _ in ks) for ks in keys]
    able = [
        (n, bool(set(terms[0].out) & set(x.inds)))
        for x, (n, _) in zip(terms[0].tensors, keys[0], strict=True)
        if not _wire(x) and all(c[n] == 1 for c in counts)
    ]
    return max(able, key=lambda found: found[1], default=(None, False))[0]


def _apart(coefficient: float) -> tuple[float, int]:
    """A coefficient far from 1 without a power of two, and that power."""
    far = coefficient and not 1 / _PLAIN <= abs(coefficient) <= _PLAIN
    return frexp(coefficient) if far else (coefficient, 0)


def _sizes(net: Network) -> dict[int, _Size]:
    """The sizes of all arrays, by their id."""
    arrays, logs = log_sizes(net)
    most, total = logs[::2], logs[1::2]
    powers = ar.do("ceil", ar.do("where", most > _ZERO, most, 0.0))
    norms = (most + total) / 2 - powers
    return {n: _Size(powers[k], norms[k]) for k, n in enumerate(arrays)}


def log_sizes(net: Network) -> tuple[list[int], Array]:
    """The ids of all arrays of a network, and log2 of the largest entry and of the sum of all of each, in turn.

    All at once, for there are many and each is quickly done. Of zeros it is far below zero. Shape ``(2n,)`` or
    ``(2n, m)``.
    """
    arrays = {id(x.data): x for f in net.polys for t in f.terms for x in t.tensors}
    runs = net.models
    found = []
    for x in arrays.values():
        data = ar.stop_gradient(x.data)
        rows = ar.shape(data)[0] if MODEL in x.inds else 1
        size = ar.size(data) // rows  # of a bond without dimensions, as that of a zero is, nothing
        flat = ar.do("reshape", data, (rows, size)) if size else ar.do("zeros", (rows, 1), like=data)
        flat = ar.do("abs", flat)  # norms of torch take ten times as long
        ends = ar.do("max", flat, axis=1), ar.do("sum", flat, axis=1)
        found += [ar.do("broadcast_to", y, (runs,)) if runs else y[0] for y in ends]
    table = ar.do("stack", found, axis=0)
    some = table != 0  # what is not a number stays so
    logs = ar.do("where", some, ar.do("log2", ar.do("where", some, table, 1.0)), _NOTHING)
    return list(arrays), logs


def spread(t: Term) -> float:
    """log2 of the root mean square output over the product of the norms, for random weights and inputs of size one."""
    held = Counter(ix for x in t.tensors for ix in x.inds)
    return sum((1 - held[ix] - (ix in t.out)) * log2(n) for ix, n in t.sizes.items() if n and ix != MODEL) / 2


def _at_least(norm: Array) -> Array:
    """Weights may be alike, or large where others are small: a size is not taken to be as small as that."""
    return ar.do("where", (norm > _LEAST) | (norm < _ZERO), norm, norm * 0 + _LEAST)


def _bounded(exponent: Array, some: Array, most: float) -> Array:
    """The exponent of a factor; in front of zeros in range, since a derivative may pass through a zero."""
    return ar.do("where", some, exponent, ar.do("clip", exponent, -most, most))


def _larger(a: Array, b: Array) -> Array:
    return ar.do("where", a > b, a, b)


def _times(x: qtn.Tensor, exponent: Array) -> Array:
    """An array times a power of two, one for every model of a run."""
    half = ar.do("floor", exponent / 2)  # 2ᵉ may be out of range where the product is not
    gains = 2.0**half, 2.0 ** (exponent - half)
    data = x.data
    if ar.ndim(exponent):
        data = data if MODEL in x.inds else data[None]
        gains = tuple(ar.do("reshape", gain, (-1, *(1,) * (ar.ndim(data) - 1))) for gain in gains)
    return data * gains[0] * gains[1]


def _inds(x: qtn.Tensor, data: Array) -> tuple[str, ...]:
    return tuple(x.inds) if ar.ndim(data) == len(x.inds) else (MODEL, *x.inds)


def _factor(exponent: Array) -> qtn.Tensor:
    return qtn.Tensor(2.0**exponent, (MODEL,) if ar.ndim(exponent) else (), tags="scale")
