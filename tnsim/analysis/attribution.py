"""Where the difference of two models is: exact splits of the squared distance."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from tnsim.algebra.build import identity
from tnsim.algebra.network import Network
from tnsim.analysis.problem import BUDGET, MEMORY, Method, Model, Problem, comparable, has_cheaper, priced
from tnsim.measure.measure import Measure

__all__ = ["attribute"]

Array = Any


def attribute(
    a: Model,
    b: Model,
    *,
    to: Literal["outputs", "inputs"] = "outputs",
    output: Any = None,
    under: Measure | None = None,
    method: Method = "exact",
    budget: float = BUDGET,
    memory: float = MEMORY,
) -> Array:
    """Split the squared distance ‖a − b‖² = ⟨a,a⟩ − 2⟨a,b⟩ + ⟨b,b⟩ over outputs or inputs. Exact.

    * ``to="outputs"``: the squared distance of every output; they add up to the whole.
    * ``to="inputs"``: every input's share. Scale input i by g_i; the squared distance is then a polynomial
      E(g), and input i gets ∫₀¹ ∂E/∂g_i (s, …, s) ds. By the fundamental theorem of calculus the shares add up
      to E(1) − E(0): the squared distance less ‖a(0) − b(0)‖² (under the law), for which no input is
      responsible and which vanishes without biases. For one term of degree n this is Euler's theorem,
      g_i ∂E/∂g_i / 2n; the integral is evaluated exactly by Gauss–Legendre quadrature.

    A share is negative where an input makes the two models more alike.

    Args:
        a: a torch module or a Network.
        b: another with the same inputs and outputs.
        to: ``"outputs"`` or ``"inputs"``.
        output: with ``to="inputs"``: the output (or slice of outputs) whose distance is split; all by default.
        under: the law of the input; the standard normal by default.
        method: ``"exact"`` or ``"layerwise"`` (approximate from two layers on).
        budget: flops that may be spent.
        memory: bytes that intermediate tensors may take.

    Returns:
        Shape of one output, or of one input.

    References:
        The split over inputs is Aumann–Shapley's (1974) for the squared distance as a function of input gains.

    Example:
        >>> import torch, tnsim
        >>> a, b = tnsim.nn.BilinearLayer(4, 8, 3), tnsim.nn.BilinearLayer(4, 8, 3)
        >>> shares = tnsim.attribute(a, b, to="outputs")
        >>> bool(torch.isclose(shares.sum(), tnsim.attribute(a, b, to="inputs").sum()))
        True
    """
    nets = comparable(a, b)
    if any(net.models for net in nets):
        raise ValueError(
            "a difference is split for two single models; pick them from the stack with net.pick(i)."
        )
    if to == "outputs":
        if output is not None:
            raise ValueError('output= goes with to="inputs"; to="outputs" gives all of them.')
        what = f"the split over outputs ({method})"
        return priced(
            lambda: _squared(nets, under, method, None, "diagonal"), what, budget, memory, method == "exact"
        )
    if to != "inputs":
        raise ValueError(f'to is {to!r}; write "outputs" or "inputs".')
    return _to_inputs(nets, output, under, method, budget, memory)


def _squared(
    nets: Sequence[Network],
    under: Measure | None,
    method: Method,
    output: Any,
    keep: Literal["diagonal", "sum"],
) -> Array:
    problem = Problem.of(nets, under, method).output(output)
    return problem.product(0, 0, keep) - 2 * problem.product(0, 1, keep) + problem.product(1, 1, keep)


def _to_inputs(
    nets: Sequence[Network], output: Any, under: Measure | None, method: Method, budget: float, memory: float
) -> Array:
    like = nets[0].polys[0].like
    shape = nets[0].polys[0].in_shape
    points, weights = _rule(nets)
    shares = torch.zeros(shape, dtype=like.dtype, device=like.device)
    what = f"the split over inputs ({method}, {len(points)} nodes)"
    for point, weight in zip(points, weights, strict=True):
        gains = torch.full(shape, float(point), dtype=like.dtype, device=like.device, requires_grad=True)

        def run(gains: torch.Tensor = gains) -> Array:
            return _squared([_gained(net, gains) for net in nets], under, method, output, "sum")

        with torch.enable_grad():
            value = priced(run, what, budget / len(points), memory, has_cheaper(under, method))
            (gradient,) = torch.autograd.grad(value, gains)
        shares = shares + float(weight) * gradient
    return shares.reshape(nets[0].in_shape)


def _rule(nets: Sequence[Network]) -> tuple[np.ndarray, np.ndarray]:
    """Nodes s and weights that integrate ∂E/∂g (s, …, s) over [0, 1] exactly."""
    degree = 2 * max(net.degree for net in nets)
    degrees = [[{t.degree for t in f.terms} for f in net.polys] for net in nets]
    if all(len(d) == 1 for layers in degrees for d in layers) and len({net.degree for net in nets}) == 1:
        return np.ones(1), np.full(1, 1 / degree)  # E is homogeneous, so one point tells all (Euler)
    points, weights = np.polynomial.legendre.leggauss(max(1, math.ceil(degree / 2)))
    return (points + 1) / 2, weights / 2


def _gained(net: Network, gains: torch.Tensor) -> Network:
    """The network behind a gain on every input."""
    (name, first), *rest = net.layers
    f = first @ (identity(first.domain, first.like) * gains)
    return Network(((name, f), *rest), net.in_shape)
