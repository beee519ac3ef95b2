"""Paths through two attention layers: which inner products come from which composition of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import autoray as ar
from tqdm.auto import tqdm

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.polys.writing import poly
from tnsim.algebra.terms.term import canonical, compose
from tnsim.analysis.asking.problem import Method, Model, comparable
from tnsim.analysis.asking.questions import question
from tnsim.analysis.asking.units import in_units
from tnsim.common.scaled import Scaled
from tnsim.measure.attention.products.linked import has_links
from tnsim.measure.pairings.expectation import expect
from tnsim.measure.pairings.measure import Measure

__all__ = ["Paths", "paths"]

Array = Any


@dataclass(frozen=True, eq=False)
class Paths:
    """Inner products of the paths of two models.

    Attributes:
        labels: ``"direct"``, ``"layer 1"``, and 32 five-letter words: for every leg of the second layer's attention, in
            the order of its legs, ``1`` if it reads the first layer's attention and ``0`` if it reads past it.
        products: shape ``(34, 34)``; its sum is the inner product of the two models, layer by layer.
        squares: squared norms of the paths of each model, two of shape ``(34,)``.

    Example:
        >>> import torch, tnsim
        >>> labels = ("direct", "layer 1", *(f"{k:05b}" for k in range(32)))
        >>> found = tnsim.Paths(labels, products=torch.ones(34, 34), squares=(torch.ones(34), torch.ones(34)))
        >>> found.layers().tolist()
        [[1.0, 1.0, 32.0], [1.0, 1.0, 32.0], [32.0, 32.0, 1024.0]]
    """

    labels: tuple[str, ...]
    products: Array
    squares: tuple[Array, Array]

    def similarity(self) -> Array:
        """Cosines of every path of one model with every path of the other: divided by the paths' own norms.

        A path that is zero gives nan.
        """
        mine, other = (x**0.5 for x in self.squares)
        return self.products / mine[:, None] / other[None, :]

    def layers(self) -> Array:
        """Sums over the paths that end in no layer, in the first and in the second, shape ``(3, 3)``."""
        parts = [slice(0, 1), slice(1, 2), slice(2, None)]
        rows = [[ar.do("sum", self.products[i, j]) for j in parts] for i in parts]
        return ar.do("stack", tuple(ar.do("stack", tuple(row), axis=0) for row in rows), axis=0)


@question
def paths(
    a: Model,
    b: Model | None = None,
    *,
    method: Method,
    under: Measure | None = None,
    progress: bool = True,
) -> Paths:
    """Split the inner product of two two-layer attention-only models over paths, layer by layer.

    Behind its first layer a model carries two things, what went past the attention and what came out of it; their
    joint law is replaced by the Gaussian of the same mean and covariance. The second layer's attention reads one of
    the two on each of its five legs. All 34 paths of one model meet all of the other: about 34² times the cost of one
    inner product of attention layers, and 68 more for their norms.

    Args:
        a: a model of linear layers, two attention layers without biases, and linear layers.
        b: another; by default ``a`` itself.
        method: ``"layerwise"``: an approximation is asked for by name, and there is no other method here.
        under: the law of the input; the standard normal by default.
        progress: show a bar if it takes more than two seconds.

    Raises:
        ValueError: if a model is of another kind, or for another method.

    Example:
        >>> import torch, tnsim
        >>> model = tnsim.nn.Transformer(5, 4, 2, 3, ("attn", "attn"), scale=0.5)
        >>> net = tnsim.convert(model, torch.zeros(1, 2, dtype=torch.long))
        >>> # a minute:
        >>> found = tnsim.paths(net, method="layerwise")  # doctest: +SKIP
        >>> torch.isclose(found.products.sum(), tnsim.inner(net, method="layerwise"))  # doctest: +SKIP
        tensor(True)
    """
    if method != "layerwise":
        raise ValueError(
            f"paths are known layer by layer only, which is an approximation; method is {method!r}. "
            'Write method="layerwise".'
        )
    nets = comparable(a, a if b is None else b)
    ready, law, exponents = in_units(nets, under)
    chains = [_parts(net) for net in ready]
    if len({len(front) for front, *_ in chains}) > 1:
        raise ValueError("a and b have different numbers of linear layers before their attention.")
    for layers in zip(*(front for front, *_ in chains), strict=True):
        law = law.push(layers)
    law = law.push([wide for _, wide, _ in chains])
    left, right = (every for *_, every in chains)
    same = ready[0] is ready[1]
    asked = [((f, g), (0, 1)) for f, g in product(left, right)]
    asked += [((f, f), (k, k)) for k, own in enumerate((left, right)) for f in own if not same]
    bar = tqdm(asked, "paths", delay=2, leave=False, disable=not progress)
    values = [expect(pair, law, "sum", sides=sides) for pair, sides in bar]
    count = len(left) * len(right)
    table = ar.do("reshape", ar.do("stack", tuple(values[:count]), axis=0), (len(left), len(right)))
    if same:
        squares = (ar.do("diagonal", table),) * 2
    else:
        ends = (values[count : count + len(left)], values[count + len(left) :])
        squares = (ar.do("stack", tuple(ends[0]), axis=0), ar.do("stack", tuple(ends[1]), axis=0))
    words = ("".join(map(str, bits)) for bits in product((0, 1), repeat=5))
    what = "an inner product of paths"
    squares = tuple(Scaled(x, 2 * e).value(what) for x, e in zip(squares, exponents, strict=True))
    return Paths(("direct", "layer 1", *words), Scaled(table, sum(exponents)).value(what), squares)


def _parts(net: Network) -> tuple[list[Poly], Poly, list[Poly]]:
    """Leading linear layers, the first attention layer with its two outputs side by side, and all paths from there."""
    scores = [k for k, f in enumerate(net.polys) if has_links(f)]
    if (
        len(scores) != 2
        or scores[1] != scores[0] + 1
        or any(f.degree > 1 for k, f in enumerate(net.polys) if k not in scores)
    ):
        raise ValueError(
            f"paths are those of two attention layers between linear ones; this model has the layers {list(net.names)}."
        )
    first, second = (_split(net.polys[k], net.names[k]) for k in scores)
    axes = first[0].codomain
    put = [_place(axes, k, first[0].like) for k in (0, 1)]
    take = [_place(axes, k, first[0].like, back=True) for k in (0, 1)]
    wide = put[0] @ first[0] + put[1] @ first[1]
    ends = [second[0] @ take[0], second[0] @ take[1]]
    (top,) = second[1].terms
    spaces = [s for s, _ in wide.codomain]
    for bits in product((0, 1), repeat=5):
        term = canonical(compose(top, [take[k].terms[0] for k in bits]), spaces)
        ends.append(Poly((term,), wide.codomain, second[1].codomain))
    for f in net.polys[scores[1] + 1 :]:
        ends = [_linear(f) @ g for g in ends]
    return list(net.polys[: scores[0]]), wide, ends


def _split(f: Poly, name: str) -> tuple[Poly, Poly]:
    """What goes past the attention, and the attention."""
    top = [t for t in f.terms if t.degree == 5]
    rest = [t for t in f.terms if t.degree != 5]
    if len(top) != 1 or len(rest) != 1 or rest[0].degree != 1:
        raise ValueError(f"{name} is not one attention without biases beside a residual connection.")
    return replace(f, terms=tuple(rest)), replace(f, terms=tuple(top))


def _linear(f: Poly) -> Poly:
    if any(t.degree != 1 for t in f.terms):
        raise ValueError("a bias behind the attention belongs to no path; compare models without it.")
    return f


def _place(axes: Sequence[tuple[str, int]], k: int, like: Array, back: bool = False) -> Poly:
    """The features as the k-th half of twice as many; or that half of them back."""
    *positions, (_, d) = axes  # a sequence of one is a vector
    eye = ar.do("eye", 2 * d, like=like)[:, k * d : (k + 1) * d]
    matrix = ar.do("transpose", eye, (1, 0)) if back else eye
    if not positions:
        return poly("S[out,in0]", S=matrix)
    ((_, s),) = positions
    return poly("S[out@p,in0@p] one[p]", S=matrix, one=ar.do("ones", (s,), like=like))
