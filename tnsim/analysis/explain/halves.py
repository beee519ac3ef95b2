"""A network cut in two at a place: the second moment of what lies below, and how sensitive the output is above."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf, prod
from typing import Any

import quimb.tensor as qtn
import torch

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.derivative import jacobian
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.polys.symmetrising import Form, symmetrise
from tnsim.algebra.terms.term import Term, fresh
from tnsim.analysis.asking.problem import CHEAPER, SMALLER, Method, Problem, has_cheaper, law_for, priced
from tnsim.analysis.asking.units import in_units
from tnsim.analysis.bonds.places import Place, linear_map
from tnsim.analysis.compare.similarities import second_moments
from tnsim.analysis.explain.modes import Modes, factor_of, leading, rounding
from tnsim.analysis.explain.shares import slope
from tnsim.analysis.tracing.shapes import about, questioned
from tnsim.common.delay import waiting
from tnsim.common.scaled import Scaled
from tnsim.common.wires import PICK, space
from tnsim.engine.costs import check_budget
from tnsim.engine.effort import planning, worth
from tnsim.measure.laws.empirical import JointEmpirical
from tnsim.measure.laws.gaussian import Gaussian
from tnsim.measure.pairings.expectation import expect
from tnsim.measure.pairings.measure import Measure, MeasureError

__all__ = ["mean_and_cov", "modes_of", "put_back", "second_moment", "sensitivity"]

_FORMS: tuple[Form, ...] = ("polarised", "dense")


def mean_and_cov(net: Network, under: Measure | None) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Mean and covariance of the input, flattened; ``None`` is zero and the identity."""
    law = law_for([net], under)
    n = prod(net.polys[0].in_shape)
    if isinstance(law, Gaussian):
        mean = None if law.mean is None else law.mean.reshape(n)
        cov = law.cov
        return mean, cov if cov is None else cov.reshape((n, n) if cov.numel() == n * n else (n,))
    if isinstance(law, JointEmpirical):
        x = law.samples[0].data.reshape(-1, n)
        w = x.new_full((len(x),), 1 / len(x)) if law.weights is None else law.weights
        mean = w @ x
        centred = x - mean
        return mean, (centred.T * w) @ centred
    raise MeasureError(f"{under!r} has no covariance of the input; use Gaussian(mean, cov) or Empirical(x).")


def second_moment(
    place: Place, under: Measure | None, method: Method, budget: float, memory: float
) -> Scaled:
    """E[h hᵀ] of the state h at a place, shape ``(n, n)``."""
    with torch.no_grad():
        found = second_moments((place.below,) * 2, under, method, budget, memory, False)
    h = found.mantissa.detach()
    n = round(h.numel() ** 0.5)
    return replace(found, mantissa=h.reshape(n, n)[: place.size, : place.size])


def sensitivity(place: Place, under: Measure | None, method: Method, budget: float, memory: float) -> Scaled:
    """E[Jᵀ J] of the Jacobian J = ∂f/∂h of the output with respect to the state h at a place, shape ``(n, n)``.

    The Jacobian of a polynomial is a polynomial, so this is an expectation like any other. It is read off as the
    gradient of E[J · (J C)] with respect to a matrix C, which that number is linear in: the sum over outputs is
    never opened. Layer by layer, the matrix of a layer is put in front of the one below, as in backpropagation.
    """
    net, size = place.net, place.size
    like = net.polys[0].like
    if place.at == len(net):
        return Scaled(torch.eye(size, dtype=like.dtype, device=like.device))
    what = f"the sensitivity at {place.name!r} ({method})"
    with waiting(what), questioned(budget, what, CHEAPER if has_cheaper(under, method) else SMALLER):
        found = _sensitivity(place, under, method, what, budget, memory)
    return replace(found, mantissa=found.mantissa[:size, :size])


def _sensitivity(
    place: Place, under: Measure | None, method: Method, what: str, budget: float, memory: float
) -> Scaled:
    net, layers = place.net, list(place.net.layers)
    exponent: Any = 0.0
    if method == "exact":
        candidates = [_slotted(layers, place.at, form) for form in _FORMS]
    else:
        above: Scaled | None = None
        for at in range(len(net) - 1, place.at, -1):
            slotted = _slotted(layers[: at + 1], at, None, above.mantissa if above else None)
            found = _gram_of([slotted], under, method, what, budget, memory)
            above = found.shifted(above.exponent) if above else found
        candidates = [_slotted(layers[: place.at + 1], place.at, None, above.mantissa if above else None)]
        if above:
            exponent = above.exponent
    return _gram_of(candidates, under, method, what, budget, memory).shifted(exponent)


def modes_of(
    metric: torch.Tensor | None,
    operator: Callable[[torch.Tensor], torch.Tensor],
    size: int,
    like: torch.Tensor,
    top: int | None,
    name: str,
    what: str,
    root: bool,
) -> Modes:
    """Eigenvectors of an operator in a metric: those of Fᵀ A F for metric = F Fᵀ, seen from both sides.

    Args:
        metric: shape ``(n, n)`` or ``(n,)``; ``None`` is the identity.
        operator: A, applied to columns.
        size: n.
        like: a tensor of the right dtype and device.
        top: how many are wanted.
        name: of the place.
        what: the values are.
        root: take the square roots of the eigenvalues, which are not negative. Those that rounding cannot tell from
            zero are zero, so singular values below about √ε of the largest are not resolved.
    """
    if metric is None:
        whole = size
        values, vectors = leading(operator, size, like, top)
        readers = patterns = vectors.T
    else:
        factor, dual = factor_of(metric)
        whole = factor.shape[1]
        values, vectors = leading(lambda v: factor.T @ operator(factor @ v), factor.shape[1], like, top)
        readers, patterns = (dual @ vectors).T, (factor @ vectors).T
    if root:
        values = torch.where(values > rounding(values), values, 0).sqrt()
    return Modes(values, readers, patterns, name, what, partial=len(values) < whole)


def put_back(modes: Modes, below: Any, above: Any) -> Modes:
    """Singular values of a state and a model that were measured in other units: 2^below for E[h hᵀ], 2^above for E[JᵀJ].

    Raises:
        ScaleError: if they do not fit into the dtype.
    """
    return replace(
        modes,
        values=Scaled(modes.values, (below + above) / 2).value("a singular value"),
        readers=Scaled(modes.readers, -below / 2).value("a reader"),
        patterns=Scaled(modes.patterns, below / 2).value("a pattern"),
    )


def _slotted(
    layers: list[tuple[str, Poly]], at: int, form: Form | None, weight: torch.Tensor | None = None
) -> Network:
    """The network whose output is the Jacobian of the layers from ``at`` on, at the state that the ones below make."""
    upper = [f for _, f in layers[at:]]
    if form is not None:
        upper = [symmetrise(f, form) for f in upper]
    whole = Network(tuple((str(i), f) for i, f in enumerate(upper))).collapse()
    if weight is not None:
        whole = linear_map(factor_of(weight)[0].T, whole.codomain) @ whole
    return Network((*layers[:at], ("slot", jacobian(whole))))


def _gram_of(
    candidates: list[Network], under: Measure | None, method: Method, what: str, budget: float, memory: float
) -> Scaled:
    """E[Jᵀ J] of networks that compute the same Jacobian J: of the one that takes the least effort."""
    jac = candidates[0]
    axes = [(s, n) for s, n in jac.codomain if s.startswith("g")]
    n = prod(size for _, size in axes)
    like = jac.polys[0].like
    weights = torch.eye(n, dtype=like.dtype, device=like.device).requires_grad_(True)

    ready = [in_units((net,), under) for net in candidates]

    def run(k: int) -> Scaled:
        nets, law, exponents = ready[k]
        problem = Problem.of(nets, law, method, exponents=exponents)
        f = problem.factors[0]
        weighted = _weighted(f, axes, weights)
        return Scaled(expect((f, weighted), problem.law, "sum", sides=(0, 0)), problem.exponent(0, 0))

    best = 0
    if len(candidates) > 1:
        bills = [about(partial(run, 0), budget)]
        for k in range(1, len(candidates)):
            least = min(bill.effort for bill in bills if not bill.at_least) if not bills[0].at_least else inf
            with planning(worth(least)):
                bills.append(about(partial(run, k), budget))
        best = min(range(len(bills)), key=lambda k: (bills[k].at_least, bills[k].effort))
        if bills[best].at_least:
            check_budget(
                bills[best], budget / 3, memory, what, CHEAPER if has_cheaper(under, method) else SMALLER
            )
    with torch.enable_grad():
        value = priced(partial(run, best), what, budget / 3, memory, has_cheaper(under, method))
        gram = slope(value.mantissa, weights)
    return replace(value, mantissa=(gram + gram.T) / 2)


def _weighted(f: Poly, axes: list[tuple[str, int]], weights: torch.Tensor) -> Poly:
    """The Jacobian with the matrix C on its input axes."""
    spaces = {s for s, _ in axes}
    terms: list[Term] = []
    for t in f.terms:
        slot = [ix for ix in t.out if space(ix) in spaces]
        inner = {ix: fresh(t, "pick", space(ix)) for ix in slot}
        data = weights.reshape(*(n for _, n in axes), *(n for _, n in axes))
        tensor = qtn.Tensor(data, (*slot, *inner.values()), tags=PICK)
        terms.append(t.renamed(inner).attached(tensor, t.out))
    return Poly(tuple(terms), f.domain, f.codomain)
