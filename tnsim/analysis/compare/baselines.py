"""What people use today: cosine of weights, cosine of outputs on data, linear CKA on data."""

from collections.abc import Iterator
from typing import Any

import torch

from tnsim.algebra.networks.network import Network
from tnsim.analysis.asking.problem import Model
from tnsim.analysis.asking.questions import question
from tnsim.analysis.asking.tensors import double, tensor

__all__ = ["linear_cka", "output_cosine", "weight_cosine"]

Array = Any

_ROUNDING = 16  # units in the last place that a mean may be off by


@question
def weight_cosine(a: Model, b: Model) -> torch.Tensor:
    """Cosine of all weights, flattened and concatenated. Blind to every symmetry of the weights.

    Args:
        a: a module (its parameters are used) or a Network (its arrays are).
        b: another with parameters of the same shapes.

    Raises:
        ValueError: if the shapes differ, or all weights of a model are zero.

    Example:
        >>> import tnsim
        >>> a = tnsim.nn.BilinearLayer(4, 8, 3)
        >>> round(weight_cosine(a, a).item(), 6)
        1.0
    """
    u, v = list(_weights(a)), list(_weights(b))
    if [x.shape for x in u] != [x.shape for x in v]:
        raise ValueError("the cosine of weights needs two models with parameters of the same shapes.")
    p, q = (
        _unit(torch.cat([x.reshape(-1) for x in w]), f"all weights of model {name} are zero")
        for w, name in ((u, "a"), (v, "b"))
    )
    return torch.dot(p, q)


@question
def output_cosine(f: Array, g: Array) -> torch.Tensor:
    """Mean over samples of the cosine of two models' output vectors (behavioural similarity).

    Args:
        f: outputs of one model, shape ``(N, o)``.
        g: outputs of the other on the same inputs, shape ``(N, o)``.

    Raises:
        ValueError: if shapes do not fit, values are not finite, or an output vector is zero and has no direction.

    Example:
        >>> import torch, tnsim
        >>> f = torch.randn(100, 10)
        >>> round(float(tnsim.output_cosine(f, -2 * f)), 4)
        -1.0
    """
    f, g = _pair(f, g, same_width=True)
    p, q = (_unit(x, f"an output of model {name} is zero", rows=True) for x, name in ((f, "a"), (g, "b")))
    return (p * q).sum(1).mean()


@question
def linear_cka(f: Array, g: Array) -> torch.Tensor:
    """Linear centred kernel alignment ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖) of activations, columns centred.

    Args:
        f: activations of one model, shape ``(N, p)``.
        g: activations of the other on the same inputs, shape ``(N, q)``.

    Raises:
        ValueError: if shapes do not fit, values are not finite, or a model's activations are the same for all inputs.

    References:
        Kornblith et al., arXiv 1905.00414.

    Example:
        >>> import torch, tnsim
        >>> x, turn = torch.randn(100, 4), torch.linalg.qr(torch.randn(4, 4))[0]
        >>> round(float(tnsim.linear_cka(x, 3 * x @ turn + 1)), 4)
        1.0
    """
    f, g = _pair(f, g, same_width=False)
    x, y = (_centred(z, name) for z, name in ((f, "a"), (g, "b")))
    return (x.T @ y).pow(2).sum() / ((x.T @ x).norm() * (y.T @ y).norm())


def _unit(x: torch.Tensor, zero: str, rows: bool = False) -> torch.Tensor:
    """x, or every row of it, over its norm; by its largest entry first, whose square may be out of range."""
    largest = x.abs().amax(-1, keepdim=rows)
    if not bool((largest > 0).all()):
        raise ValueError(f"{zero}; the cosine is not defined.")
    x = x / largest.detach()
    return x / x.norm(dim=-1, keepdim=rows)


def _centred(x: torch.Tensor, name: str) -> torch.Tensor:
    """Activations less their mean, the largest of them 1."""
    size = x.detach().abs().max()
    x = x / torch.where(size > 0, size, 1.0)
    x = x - x.mean(0)
    spread = x.detach().abs().max()
    if not spread > _ROUNDING * torch.finfo(x.dtype).eps:
        raise ValueError(
            f"the activations of model {name} are the same for all inputs; the index is not defined."
        )
    return x / spread


def _weights(model: Model) -> Iterator[torch.Tensor]:
    if isinstance(model, torch.nn.Module):
        yield from (double(p) for p in model.parameters())
    elif isinstance(model, Network):
        yield from (x for f in model.polys for x in f.arrays())
    else:
        yield from model.arrays()


def _pair(f: Array, g: Array, same_width: bool) -> tuple[torch.Tensor, torch.Tensor]:
    f, g = double(tensor(f)), double(tensor(g))
    if f.ndim != 2 or g.ndim != 2 or len(f) != len(g) or (same_width and f.shape != g.shape):
        need = "(N, o) and (N, o)" if same_width else "(N, p) and (N, q)"
        raise ValueError(f"need outputs of shapes {need}; got {tuple(f.shape)} and {tuple(g.shape)}.")
    if not (torch.isfinite(f).all() and torch.isfinite(g).all()):
        raise ValueError("outputs have entries that are not finite.")
    return f, g
