"""Composed: layers that become one polynomial compute what they compute one after the other."""

from dataclasses import replace

import torch

from tnsim.algebra import Network, Poly
from tnsim.convert.layers.check import absolute
from tnsim.convert.module.errors import ConvertError
from tnsim.convert.record.forward import sample

__all__ = ["check_composed"]

_SAMPLES = 2
_MOST_LEGS = 64  # of all terms of a composition; beyond, contracting takes longer than tracing
_MOST_TERMS = 4  # that are tried one by one, where a whole layer is too large


@torch.no_grad()
def check_composed(net: Network) -> None:
    """Compare layers composed into one polynomial with the same layers one after the other, on a random batch.

    Exact questions are asked of compositions, so that is the function they see. As many layers are composed as stay
    small; where two are too large together already, a few of their terms are.

    Raises:
        ConvertError: if they differ.
    """
    layers = net.layers
    first, whole = 0, net.polys[0]
    for k, (_, f) in enumerate(layers[1:], start=1):
        if _legs(f, whole) > _MOST_LEGS:
            _compare(net[first:k], whole)
            first, whole = k - 1, net.polys[k - 1]
        if _legs(f, whole) > _MOST_LEGS:
            for pair in _term_by_term(layers[k - 1 : k + 1]):
                _compare(pair, pair.collapse())
            first, whole = k, f
        else:
            whole = net[first : k + 1].collapse()
    _compare(net[first:], whole)


def _legs(f: Poly, inner: Poly) -> int:
    """Legs of all terms of f ∘ inner together."""
    return sum(len(inner.terms) ** t.degree * max(1, t.degree * inner.degree) for t in f.terms)


def _term_by_term(layers: tuple[tuple[str, Poly], ...]) -> list[Network]:
    """Some terms of the second layer, each fed by one term of the first."""
    (name, inner), (other, f) = layers
    pairs = [
        (replace(inner, terms=(inner.terms[i % len(inner.terms)],)), replace(f, terms=(t,)))
        for i, t in enumerate(f.terms[:_MOST_TERMS])
    ]
    return [Network(((name, s), (other, t))) for s, t in pairs if s.degree * t.degree <= _MOST_LEGS]


def _compare(net: Network, whole: Poly) -> None:
    if len(net) == 1:
        return
    like = net.polys[0].like
    x = sample(_SAMPLES, net.polys[0].in_shape, like.dtype, like.device)
    got, want, size = whole(x), net(x), absolute(net)(x.abs())
    if not bool(torch.isfinite(size).all()):
        return
    finfo = torch.finfo(want.dtype)
    error = float(((got - want).abs() / (size.max() + finfo.tiny)).max())
    if not error <= finfo.eps**0.75:
        raise ConvertError(
            f"layers {', '.join(net.names)} composed into one polynomial are another function than one after the other "
            f"(relative error {error:.0e}). That is a fault of tnsim; please report the module."
        )
