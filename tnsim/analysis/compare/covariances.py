"""Second moments and covariances of two models' outputs, as indices of similarity need them."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, Literal

import autoray as ar
import quimb.tensor as qtn
import torch

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.polys.writing import identity
from tnsim.algebra.terms.term import Term
from tnsim.analysis.asking.problem import Method, Model, Problem, has_cheaper, priced, together
from tnsim.analysis.asking.sizes import check_range
from tnsim.analysis.asking.tensors import tensor
from tnsim.analysis.asking.units import in_units
from tnsim.common.wires import MODEL, output_leg
from tnsim.measure.laws.tensorial import Frobenius, Symmetric
from tnsim.measure.pairings.expectation import expect
from tnsim.measure.pairings.measure import Measure, MeasureError

__all__ = ["beside", "own_moment", "scaled_moments"]

Array = Any
Which = Literal["aa", "ab", "bb"]

_ROUNDING = 16  # standard deviations of so many units in the last place of the mean are no variance
_PAIRS: tuple[tuple[Which, int, int], ...] = (("ab", 0, 1), ("aa", 0, 0), ("bb", 1, 1))


def scaled_moments(
    a: Model,
    b: Model,
    under: Measure | None,
    method: Method,
    centred: bool,
    budget: float,
    memory: float,
    progress: bool,
    what: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """M_ab, M_aa and M_bb as matrices, for models scaled to tr M_aa = tr M_bb = 1.

    None of the indices depends on the scale, and without it no square or product can overflow.
    """
    nets = together((a, b))
    if centred and isinstance(under, Symmetric | Frobenius):
        raise MeasureError(
            f"{under!r} compares tensors, which have no mean to subtract. Write centred=False, or use Gaussian()."
        )

    ready, law, _ = in_units(nets, under)  # no index depends on units

    def run() -> tuple[dict[Which, Array], Sequence[Array]]:
        problem = Problem.of(ready, law, method)
        if not centred:
            return {key: problem.product(i, j, "all", progress).mantissa for key, i, j in _PAIRS}, ()
        return _covariances(problem, progress)

    raw, means = priced(run, f"{what} ({method})", budget, memory, has_cheaper(under, method))
    sizes = [prod(net.polys[-1].out_shape) for net in nets]
    found: dict[Which, torch.Tensor] = {}
    for key, i, j in _PAIRS:
        m = tensor(raw[key])
        n = len(nets[i].codomain) + len(nets[j].codomain)
        found[key] = m.reshape(*m.shape[: m.ndim - n], sizes[i], sizes[j])
    noise = [(_ROUNDING * torch.finfo(found["ab"].dtype).eps * tensor(m).norm()) ** 2 for m in means]
    traces = [found[key].diagonal(dim1=-2, dim2=-1).sum(-1) for key in ("aa", "bb")]
    for trace, name, net, least in zip(traces, "ab", nets, noise or (0.0, 0.0), strict=True):
        _check(trace, name, net, least, centred)
    left, right = (trace.sqrt()[..., None, None] for trace in traces)
    ab = found["ab"] / beside(left, found["ab"]) / right
    return ab, found["aa"] / left**2, found["bb"] / right**2


def _covariances(problem: Problem, progress: bool) -> tuple[dict[Which, Array], Sequence[Array]]:
    """Covariances of the outputs, never a difference of two large numbers; and the means, where these were needed.

    Under a Gaussian law a covariance is a sum over connected pairings, and a constant gives exactly zero.
    """
    factors, law, means = _centred(problem.factors, problem.law)
    products = {
        key: expect((factors[i], factors[j]), law, "all", (i, j), connected=law.splits, progress=progress)
        for key, i, j in _PAIRS
    }
    return products, means


def own_moment(f: Poly, law: Measure, centred: bool) -> tuple[Array, Array]:
    """The covariance of a polynomial's outputs, or E[f ⊗ f]; and the mean that was taken away (zero if none had to be)."""
    means: Sequence[Array] = ()
    if centred:
        (f,), law, means = _centred((f,), law)
    value = expect((f, f), law, "all", (0, 0), connected=centred and law.splits)
    return value, means[0] if means else ar.do("zeros", (1,), like=value)


def _centred(factors: Sequence[Poly], law: Measure) -> tuple[tuple[Poly, ...], Measure, Sequence[Array]]:
    """Polynomials without their means where the law does not do without, and these means."""
    means: list[Array] = []
    for _ in range(0 if law.splits else 2):  # what rounding leaves of a mean goes the second time
        shifts = [expect((f,), law, sides=(i,)) for i, f in enumerate(factors)]
        factors = tuple(_less_mean(f, shift) for f, shift in zip(factors, shifts, strict=True))
        means = means or shifts
        if law.carries(factors):  # samples: centre the outputs themselves
            law = law.push(factors)
            factors = tuple(identity(f.codomain, f.like) for f in factors)
    return tuple(factors), law, means


def _less_mean(f: Poly, mean: Array) -> Poly:
    """f(x) − mean, where a stacked one has one mean for every model."""
    out = output_leg([s for s, _ in f.codomain])
    run = (MODEL,) if ar.ndim(mean) > len(out) else ()
    term = Term((qtn.Tensor(mean, (*run, *out), tags="MEAN"),), (), out, -1.0)
    return f + replace(f, terms=(term,))


def _check(trace: torch.Tensor, name: str, net: Network, least: Any, centred: bool) -> None:
    """Refuse models without variance, or without one in range."""
    check_range(trace, f"model {name}", "the index", *(() if centred else (net,)))
    if not bool((trace > least).all()):
        kind = "constant" if centred else "the zero function"
        raise ValueError(f"model {name} is {kind} under this law; the index is not defined.")


def beside(left: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
    """What belongs to the first model, with room for the run axis of the second."""
    return left.reshape(*left.shape[:1], 1, *left.shape[1:]) if 2 < left.ndim < pair.ndim else left
