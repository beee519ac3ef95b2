"""Shares: a squared distance as a polynomial of gains, integrated along the diagonal (Aumann–Shapley)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import quimb.tensor as qtn
import torch

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.subtraction import fuse
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.polys.rewriting import star
from tnsim.algebra.polys.writing import identity
from tnsim.algebra.terms.term import Term
from tnsim.analysis.asking.problem import Method, Problem, has_cheaper, priced
from tnsim.analysis.asking.sizes import check_range
from tnsim.analysis.asking.units import in_units
from tnsim.common.scaled import Scaled
from tnsim.common.wires import input_leg, output_leg
from tnsim.measure.pairings.expectation import Keep
from tnsim.measure.pairings.measure import Measure

__all__ = ["blended", "gained", "gradients", "integrated", "mixed", "rule", "slope", "squared", "unit_gained"]

Array = Any
Pair = Sequence[Network]

_ROUNDING = 100  # times the precision of the dtype


def squared(
    nets: Pair, law: Measure, exponents: Sequence[Array], method: Method, output: Any, keep: Keep
) -> Scaled:
    """‖a − b‖² as ⟨a,a⟩ − 2⟨a,b⟩ + ⟨b,b⟩, for every output (``"diagonal"``) or in sum."""
    problem = Problem.of(nets, law, method, keep=keep, exponents=exponents, output=output)
    aa, ab, bb = problem.products([(0, 0), (0, 1), (1, 1)], keep)
    return Scaled.total([(1.0, aa), (-2.0, ab), (1.0, bb)])


def _apart(nets: Pair, law: Measure, exponents: Sequence[Array], method: Method) -> tuple[Scaled, Array]:
    """‖a_k − b_k‖² of every output, and what it is a difference of: ‖a_k‖² + ‖b_k‖², in the same units."""
    problem = Problem.of(nets, law, method, keep="diagonal", exponents=exponents)
    aa, ab, bb = problem.products([(0, 0), (0, 1), (1, 1)], "diagonal")
    moved = Scaled.total([(1.0, aa), (-2.0, ab), (1.0, bb)])
    return moved, aa.at(moved.exponent) + bb.at(moved.exponent)


def integrated(
    make: Callable[[torch.Tensor], Pair],
    shape: Sequence[int],
    nodes: tuple[np.ndarray, np.ndarray],
    start: Callable[[float], torch.Tensor],
    ask: tuple[Measure, Method, Any],
    what: str,
    budget: float,
    memory: float,
) -> Scaled:
    """∫₀¹ ∂E/∂g (s, …, s) ds for E(g) = ‖a_g − b_g‖², exactly.

    Args:
        make: gains to the two networks that have them.
        shape: of the gains.
        nodes: where to evaluate, with weights; see :func:`rule`.
        start: s to the gains that stand for it.
        ask: the law, the method, and which output.
        what: the question's name, for a refusal.
        budget: flops that may be spent on all nodes.
        memory: bytes that intermediate tensors may take.
    """
    law, method, output = ask
    parts: list[tuple[float, Scaled]] = []
    for point, weight in zip(*nodes, strict=True):
        gains = start(float(point)).reshape(tuple(shape)).requires_grad_()
        with torch.enable_grad():
            given = (*in_units(make(gains), law, output), method, output, "sum")
            each = budget / len(nodes[0])
            value = priced(squared, what, each, memory, has_cheaper(law, method), given)
            gradient = slope(value.mantissa, gains)
        parts.append((float(weight), replace(value, mantissa=gradient)))
    return Scaled.total(parts)


def slope(value: torch.Tensor, by: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """∂value/∂by, or Σ_k weight_k ∂value_k/∂by; zeros where the value does not depend on it, as for constant models."""
    if not value.requires_grad:
        return torch.zeros_like(by)
    keep = weights is not None
    (found,) = torch.autograd.grad(value, by, weights, retain_graph=keep, allow_unused=True)
    return torch.zeros_like(by) if found is None else found


def gradients(
    nets: Pair, law: Measure, method: Method, what: str, budget: float, memory: float
) -> tuple[Array, Callable[[Any], Array]]:
    """Squared distances of all outputs, and their derivatives by the gains of the inputs at gain 1.

    Distances that are no more than rounding are zero. Both are in units of the models: only ratios have a meaning.

    Returns:
        Shape of one output; and a function from weights of that shape to Σ_k weight_k ∂E_k/∂g, shape of one input.
    """
    like, shape = nets[0].polys[0].like, nets[0].polys[0].in_shape
    gains = torch.ones(shape, dtype=like.dtype, device=like.device, requires_grad=True)
    with torch.enable_grad():
        given = (*in_units([gained(net, gains) for net in nets], law), method)
        moved, own = priced(_apart, what, budget, memory, has_cheaper(law, method), given)
        value = moved.mantissa
    check_range(own.sum(), "the models", "their change", *nets)

    def of(weights: Any) -> Array:
        return slope(value, gains, weights)

    noise = _ROUNDING * torch.finfo(value.dtype).eps * own.detach()
    return torch.where(value.detach() > noise, value.detach(), torch.zeros_like(noise)), of


def rule(degree: int, homogeneous: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights that integrate the derivative of a polynomial of s of this degree over [0, 1] exactly.

    A homogeneous one, E(s) = E(1) sⁿ, is known from its derivative at 1 (Euler).
    """
    if homogeneous and degree:
        return np.ones(1), np.full(1, 1 / degree)
    points, weights = np.polynomial.legendre.leggauss(max(1, math.ceil(degree / 2)))
    return (points + 1) / 2, weights / 2


def gained(net: Network, gains: torch.Tensor) -> Network:
    """The network behind a gain on every input."""
    (name, first), *rest = net.layers
    f = first @ (identity(first.domain, first.like) * gains)
    return Network(((name, f), *rest), net.in_shape)


def mixed(net: Network, matrix: torch.Tensor) -> Network:
    """The network behind a linear map of its input, G with shape ``(*in, *in)``: x ↦ f(Gx)."""
    (name, first), *rest = net.layers
    spaces = [s for s, _ in first.domain]
    out, leg = output_leg(spaces), input_leg(0, spaces)
    turn = Term((qtn.Tensor(matrix, (*out, *leg), tags="G"),), (leg,), out)
    return Network(((name, first @ Poly((turn,), first.domain, first.domain)), *rest), net.in_shape)


def unit_gained(net: Network, layer: str, gains: torch.Tensor) -> Network:
    """The network with a gain on every hidden unit of a layer f(x) = D q(x) + ….

    The units q are the product that the layer was made from, biases of its factors included. Of a layer that was written
    down term by term they are those of its one term of products.
    """
    f = net[layer]
    if f.units is not None:
        shape = f.units.resolved().products.out_shape  # at every position the same gain
        return _with(net, layer, f.units.gained(gains.expand(shape)))
    top = max(f.terms, key=lambda t: t.degree)
    factors = star(top)
    assert factors is not None  # counted by the caller
    down, *legs = factors
    spaces = [s for s, _ in f.domain]
    inputs = tuple(input_leg(k, spaces) for k in range(top.degree))
    hub = "hid:h"
    tensors = [qtn.Tensor(down * gains, (*top.out, hub), tags="D")]
    tensors += [qtn.Tensor(x, (hub, *leg), tags="unit") for x, leg in zip(legs, inputs, strict=True)]
    term = Term(tuple(tensors), inputs, top.out, symmetry=top.symmetry)
    return _with(net, layer, replace(f, terms=(term, *(t for t in f.terms if t is not top))))


def _with(net: Network, layer: str, new: Poly) -> Network:
    """The network with another layer in place of one."""
    return replace(net, layers=tuple((n, new if n == layer else g) for n, g in net.layers))


def blended(a: Network, b: Network, gains: torch.Tensor) -> Network:
    """Every layer on its way from a to b, as a function: f_k = (1 − t_k) a_k + t_k b_k."""
    layers = []
    for (name, f), (_, g), t in zip(a.layers, b.layers, gains, strict=True):
        ones = torch.ones(f.out_shape, dtype=gains.dtype, device=gains.device)
        layers.append((name, fuse(f * (ones * (1 - t)) + g * (ones * t))))
    return Network(tuple(layers), a.in_shape)
