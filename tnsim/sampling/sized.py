"""Sizes: models in units in which what they are on some inputs is about one."""

from dataclasses import replace
from math import frexp, inf, isfinite

import torch

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.onehot_ids import is_ids, one_hot
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term, retensor
from tnsim.sampling.forward import affine

__all__ = ["sized_on"]

_NEAR = 16.0  # powers of two that are left as they are
_FARTHEST = 1000.0


def sized_on(net: Network, x: torch.Tensor, exponent: float = 0.0) -> tuple[Network, float]:
    """The network g and the whole number e with f(2^exponent x) = 2ᵉ g(x), hidden states and outputs of size one on some x.

    Weights say how large a state can be; with many positions it is far smaller, and squares of it leave the range of
    single precision. Nothing is rounded: weights and terms are multiplied by powers of two.

    Args:
        net: a network.
        x: inputs in units of 2^exponent, or token ids.
        exponent: a whole number.

    Example:
        >>> from tnsim.algebra.polys.writing import poly
        >>> square = poly("D[out,h] L[h,in0] L[h,in1]", D=torch.eye(2) * 2.0**-60, L=torch.eye(2))
        >>> g, e = sized_on(Network((("a", square), ("b", square))), torch.ones(1, 2))
        >>> g(torch.ones(1, 2)), e
        (tensor([[0.5000, 0.5000]]), -179.0)
    """
    layers, e, h = [], exponent, x
    with torch.no_grad():
        for k, (name, f) in enumerate(net):
            if k == 0 and is_ids(x) and (table := affine(f)) is not None:
                h = table.looked_up(x)
                if e := _moderate(_exponent(h)):
                    f, h = f * 2.0**-e, h * 2.0**-e
            else:
                if is_ids(h):
                    n_ctx, size = f.in_shape
                    h = one_hot(h, n_ctx, size, f.like)
                f, e = _layer(f, e, h)
                h = f.evaluate(h)
            layers.append((name, f))
    return replace(net, layers=tuple(layers)), e


def _layer(f: Poly, e: float, h: torch.Tensor) -> tuple[Poly, float]:
    """A layer that reads 2ᵉ h, and the exponent of its outputs."""
    powers, terms = zip(*map(_weights_apart, f.terms), strict=True)
    sizes = [_exponent(replace(f, terms=(t,)).evaluate(h)) for t in terms]
    exponents = [p + t.degree * e for p, t in zip(powers, terms, strict=True)]
    whole = _moderate(max(p + n for p, n in zip(exponents, sizes, strict=True)))
    if whole == e == 0 and not any(powers):
        return f, 0.0
    gains = [0.0 if n == -inf else max(p - whole, -_FARTHEST) for p, n in zip(exponents, sizes, strict=True)]
    scaled = (t.scaled(2.0**gain) for t, gain in zip(terms, gains, strict=True))
    return replace(f, terms=tuple(scaled)), whole


def _weights_apart(t: Term) -> tuple[float, Term]:
    """A power of two, and the term without it, whose weights are in range."""
    found, tensors = 0.0, []
    for x in t.tensors:
        power = _moderate(float(frexp(float(x.data.abs().max()))[1])) if x.data.numel() else 0.0
        if power and isfinite(power):
            half = power // 2
            x, found = retensor(x, data=x.data * 2.0**-half * 2.0 ** (half - power)), found + power
        tensors.append(x)
    return found, replace(t, tensors=tuple(tensors)) if found else t


def _moderate(exponent: float) -> float:
    """An exponent, or 0 where it is near that."""
    return 0.0 if abs(exponent) <= _NEAR or exponent == -inf else exponent


def _exponent(values: torch.Tensor) -> float:
    """The power of two above the root mean square of some numbers; that of zero is −∞."""
    size = float(values.cpu().double().square().mean().sqrt())
    return float(frexp(size)[1]) if 0 < size < inf else -inf
