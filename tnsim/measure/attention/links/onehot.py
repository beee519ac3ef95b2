"""Layers that read one-hot vectors. Their entries add up to one, so a bias is a linear form: b = (b 1ᵀ) x.

With that, a product of affine forms, which multiplies out to 16 or 32 terms for attention with biases, is a single
term again; so is an embedding with a position embedding added to it.
"""

import operator
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.polys.axes import is_local
from tnsim.algebra.polys.poly import Axes, Poly
from tnsim.algebra.polys.writing import identity
from tnsim.algebra.terms.collecting import busy, collect
from tnsim.algebra.terms.term import Term, aligned, canonical, compose
from tnsim.common.wires import MODEL, WIRE, input_leg, output_leg
from tnsim.engine.contract import Contraction
from tnsim.measure.attention.links.batch import Linked
from tnsim.measure.attention.links.family import Family, families_of

__all__ = ["front_of", "read_behind"]

Array = Any
_SPACES = ("s", "d")  # position, token


def read_behind(f: Poly, front: Poly | None) -> Poly:
    """f ∘ front for sequences of one-hot vectors, every product of affine forms as one term.

    It equals f ∘ front on sequences of one-hot vectors, and nowhere else.

    Args:
        f: a layer.
        front: what stands between it and the tokens, of degree one, as :func:`front_of` gives it; ``None`` for nothing.
    """
    families = families_of(f)
    single = front is None or (len(front.terms) == 1 and front.degree == 1)
    affine = [family for family in families if family.offsets] if single else []
    if not affine:
        return f if front is None else f @ front
    domain = f.domain if front is None else front.domain
    inner = (identity(domain, f.like) if front is None else front).terms[0]
    terms = [_homogeneous(family, inner, f.models) for family in affine]
    rest = tuple(family.term for family in families if not family.offsets)
    if rest:
        others = replace(f, terms=rest)
        terms += (others if front is None else others @ front).terms
    return Poly(collect(terms), domain, f.codomain)


def _axes(domain: Axes) -> tuple[str, ...]:
    return tuple(space for space, _ in domain)


def front_of(f: Poly) -> Poly:
    """The same function of sequences of one-hot vectors as one linear term, where positions are mapped each for itself.

    Args:
        f: of degree one, from positions and tokens to positions and features.
    """
    if (
        (_axes(f.domain), _axes(f.codomain)) != (_SPACES, _SPACES)
        or not is_local(f, 0)
        or (len(f.terms) == 1 and f.degree == 1)
    ):
        return f
    leg, out = input_leg(0, _SPACES), output_leg(_SPACES)
    place, feature, token = out[0], out[1], leg[1]
    sizes = dict(zip((place, feature, token), (*f.out_shape, f.in_shape[1]), strict=True))
    forms = [_form(aligned(t, out), feature, token, sizes[token]) for t in f.terms]
    run = {MODEL: f.models} if f.models else {}
    placed = {place: sizes[place]} if any(place in x.inds for form in forms for x in form) else {}
    wanted = run | placed | {feature: sizes[feature], token: sizes[token]}
    weights = [t.coefficient for t in f.terms]
    data = reduce(operator.add, [_spread(form, wanted, w) for form, w in zip(forms, weights, strict=True)])
    tensors = [qtn.Tensor(data, tuple(wanted), tags="E")]
    if not placed:
        tensors.append(_ones(place, sizes[place], f.like))
    term = Term(tuple(tensors), ((place, token),), out)
    return Poly((term,), f.domain, f.codomain)


def _form(t: Term, feature: str, token: str, n: int) -> list[qtn.Tensor]:
    """A term of degree one or zero as tensors over feature and token, without idle ones."""
    if not t.legs:
        return busy(t)
    (leg,) = t.legs
    if leg[1] == feature:  # features are tokens
        return [*busy(t), qtn.Tensor(ar.do("eye", n, like=t.tensors[0].data), (feature, token))]
    return busy(t.renamed({leg[1]: token}))


def _homogeneous(family: Family, inner: Term, models: int | None) -> Term:
    """A product of affine forms behind a linear layer, as one term that reads tokens."""
    term = replace(family.term, symmetry=None)
    ends = Linked(term, 0, models, family.offsets).product.ends
    held = {ends[e].parts[0] for e in family.offsets}
    kept = tuple(x for n, x in enumerate(term.tensors) if n not in held)
    legs, inners = list(term.legs), [inner] * term.degree
    for e, bias in family.offsets.items():
        inners[e] = _affine(term.tensors[ends[e].parts[0]], bias, ends[e].leg, inner)
        legs[e] = inners[e].out
    outer = replace(term, tensors=kept, legs=tuple(legs))
    return canonical(compose(outer, inners), _SPACES)


def _affine(weight: qtn.Tensor, bias: qtn.Tensor, leg: Sequence[str], inner: Term) -> Term:
    """W y + b of what a linear layer makes of tokens: a linear map of tokens, whose outputs are the position and more.

    Where the layer leaves no positions, every position gives its part of b.
    """
    *places, feature = leg
    inner = inner.nested("token")
    inner = inner.renamed(dict(zip(inner.out, leg, strict=True)))
    ((place, token),) = inner.legs
    if token == feature:  # features are tokens
        linear, token = [weight], feature
    else:
        linear = [weight, *busy(inner)]
    size = {ix: int(n) for x in (*linear, bias) for ix, n in zip(x.inds, ar.shape(x.data), strict=True)}
    if not places:
        size[place] = inner.sizes[place]
    front = [ix for ix in size if ix not in (feature, token)]
    wanted = {ix: size[ix] for ix in (*front, token)}
    share = 1.0 if places else 1.0 / size[place]
    data = _spread(linear, wanted, inner.coefficient) + _spread([bias], wanted, share)
    out = (*places, *(ix for ix in front if ix not in (place, MODEL)))
    return Term((qtn.Tensor(data, tuple(wanted), tags=weight.tags),), ((place, token),), out)


def _spread(tensors: Sequence[qtn.Tensor], wanted: dict[str, int], weight: float) -> Array:
    """A contraction, repeated along indices that no tensor has."""
    have = {ix for x in tensors for ix in x.inds}
    like = tensors[0].data
    ones = [_ones(ix, n, like) for ix, n in wanted.items() if ix not in have]
    return Contraction((*tensors, *ones), tuple(wanted), weight=weight).value()


def _ones(ix: str, n: int, like: Array) -> qtn.Tensor:
    return qtn.Tensor(ar.do("ones", (n,), like=like), (ix,), tags=WIRE)
