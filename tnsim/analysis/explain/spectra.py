"""Spectrum: the input directions that an output, or a whole model, depends on."""

import operator
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from math import log2, prod
from typing import Any, Literal

import torch

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.subtraction import fuse
from tnsim.algebra.polys.derivative import jacobian
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.polys.rewriting import star
from tnsim.analysis.asking.problem import BUDGET, MEMORY, Method, Model, as_network
from tnsim.analysis.asking.questions import question
from tnsim.analysis.asking.sampled import Models, Options, check_error, exactly, sized
from tnsim.analysis.bonds.places import Place, linear_map
from tnsim.analysis.explain.halves import mean_and_cov, modes_of, put_back, sensitivity
from tnsim.analysis.explain.modes import Modes, of_each
from tnsim.measure.laws.empirical import Empirical
from tnsim.measure.laws.gaussian import Gaussian
from tnsim.measure.pairings.measure import Measure
from tnsim.sampling.run import Means

__all__ = ["spectrum"]

Array = Any
Of = Literal["interaction", "gradient"]


@question
def spectrum(
    model: Model,
    output: int | None = None,
    *,
    of: Of | None = None,
    under: Measure | None = None,
    top: int | None = None,
    method: Method = "exact",
    budget: float = BUDGET,
    memory: float = MEMORY,
    error: float | None = None,
    seed: int = 0,
) -> Modes:
    """The input directions a model depends on, in the metric of the law of its input (mean μ, covariance Σ).

    * ``of="interaction"``, for one output of a model of degree 2: f(μ + z) = zᵀ M z + b·z + c, and Σ^½ M Σ^½ has
      eigenvalues λ_i, so that zᵀ M z = Σ_i λ_i (w_i·z)² with uncorrelated coordinates w_i·z of variance 1. The
      interaction of the output, one direction at a time: a positive λ raises it, a negative one lowers it. Under a
      Gaussian law E[f²] = (c + Σλ)² + bᵀΣb + 2Σλ², which are its :func:`orders` of interaction.
    * ``of="gradient"``, at any depth: eigenvectors of the expected gradient outer product E[JᵀJ] in the same metric.
      The value σ_i is the root mean square of ∂f along pattern i. Without lower-degree terms, σ_i = 2|λ_i| for one
      output of a bilinear layer, in the same directions.

    By default an output of a model of degree 2 is asked for its interaction, everything else for its gradient; the
    result says which (``what``). A difference of two models is passed as a model, :func:`difference`.

    Inputs that the first layer does not read are left out before anything is computed: with h hidden units, d
    inputs and 2h < d, the cost is that of 2h × 2h matrices, and of E[JᵀJ] three inner products.

    Args:
        model: a torch module, a Network or a Poly, possibly stacked (the modes of every model, with the run axis in
            front).
        output: position of one output (a tuple for several axes); ``None`` takes all together.
        of: ``"interaction"`` or ``"gradient"``.
        under: a Gaussian law or samples (then Σ is their covariance, and the gradient is averaged over them); the
            standard normal by default.
        top: how many modes are wanted; all by default. A few of more than 1024 come from Lanczos iteration, and of an
            interaction matrix of this size nothing but products with vectors is ever computed.
        method: ``"exact"``, or ``"layerwise"`` for the gradient (approximate from two layers on).
        budget: flops that may be spent.
        memory: bytes that intermediate tensors may take.
        error: a standard error of the values that will do, as a share of the largest. Then the gradient's modes are exact
            where the price is within the budget, else from draws, and ``modes.estimate`` has the values with their errors.
        seed: of the draws.

    Returns:
        The modes, from large to small in absolute value. Equal ones are found by ``modes.groups()``.

    Raises:
        CostError: if it would take more than the budget.
        ValueError: if an interaction is asked of a model of another degree than 2, or of no output.
        MeasureError: if the law has no covariance.

    References:
        Interaction matrices: Pearce et al., arXiv 2410.08417. Gradient outer products: Constantine, Active
        Subspaces (2015).

    Example:
        >>> import torch, tnsim
        >>> one = torch.ones(1, 1, dtype=torch.float64)
        >>> L, R = torch.eye(2, dtype=torch.float64)[:1], torch.eye(2, dtype=torch.float64)[1:]
        >>> modes = spectrum(tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=one, L=L, R=R), output=0)  # x₀x₁
        >>> [round(v, 3) for v in sorted(modes.values.tolist())]
        [-0.5, 0.5]
    """
    net = as_network(model)
    if output is not None:
        (*first, (name, last)) = net.layers
        net = Network((*first, (name, last[output])), net.in_shape)
    one = prod(net.polys[-1].out_shape) == 1  # of a sequence output=k is all of position k
    kind: Of = of or ("interaction" if output is not None and one and net.degree == 2 else "gradient")
    if kind not in ("interaction", "gradient"):
        raise ValueError(f'of is {of!r}; write "interaction" or "gradient".')
    if kind == "interaction" and not (one and net.degree == 2):
        raise ValueError(
            f"an interaction matrix belongs to one output of a model of degree 2; got output={output} and degree "
            f'{net.degree}. Pass output=k (for every axis of the output one), or of="gradient".'
        )
    if error is not None:
        check_error(error, method)
        limits: dict[str, Any] = {"budget": budget, "memory": memory}
        found = exactly(lambda: spectrum(net, of=kind, under=under, top=top, **limits), under)
        options = Options(under, None, error, seed, **limits)
        return of_each(net, lambda one: _sampled(one, options, top)) if found is None else found
    return of_each(net, lambda one: _single(one, kind, under, top, method, budget, memory))


def _single(
    net: Network,
    kind: Of,
    under: Measure | None,
    top: int | None,
    method: Method,
    budget: float,
    memory: float,
) -> Modes:
    mean, cov = mean_and_cov(net, under)
    basis, small = _support(net)
    if basis is None:
        metric, law = cov, under
    else:
        metric = None if cov is None else (basis.T * cov if cov.ndim == 1 else basis.T @ cov) @ basis
        law = Gaussian(None if mean is None else basis.T @ mean, metric)
        if isinstance(under, Empirical):
            law = replace(under, x=under.x.reshape(len(under.x), -1) @ basis)
        mean = None if mean is None else basis.T @ mean
    like = small.polys[0].like
    n = prod(small.polys[0].in_shape)
    if kind == "gradient":
        found = sensitivity(Place("in", small, 0, n), law, method, budget, memory)
        gram = found.mantissa
        what = "root mean square changes of the output"
        modes = modes_of(metric, lambda v: gram @ v, n, like, top, "in", what, root=True)
        modes = put_back(modes, 0.0, found.exponent)
    else:
        modes = _interaction(small.collapse(), metric, mean, top)
    if basis is None:
        return modes
    readers = modes.readers @ basis.T
    patterns = readers if cov is None else readers * cov if cov.ndim == 1 else readers @ cov
    linear = None if modes.linear is None else basis @ modes.linear
    return replace(modes, readers=readers, patterns=patterns, linear=linear)


def _sampled(net: Network, options: Options, top: int | None) -> Modes:
    """The gradient's modes with E[JᵀJ] from draws, in the metric of the law itself."""
    _, cov = mean_and_cov(net, options.under)
    like, n = net.polys[0].like, prod(net.polys[0].in_shape)
    models = Models([net], options.under, None, options.seed)
    power = models.exponents[0] - log2(models.unit)  # of a change
    what = "root mean square changes of the output"

    def sums(x: torch.Tensor, weights: torch.Tensor, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        with torch.enable_grad():
            free = x.detach().requires_grad_()
            (y,) = models.forward(free)
            rows = y.reshape(len(x), -1).sum(0)
            each = (torch.autograd.grad(one, free, retain_graph=True)[0].reshape(-1, n) for one in rows)
            return [reduce(operator.add, ((j.T * weights) @ j for j in each))]

    def modes(means: Means) -> Modes:
        return modes_of(cov, lambda v: means[0] @ v, n, like, top, "in", what, root=True)

    def values(means: Means) -> torch.Tensor:
        return modes(means).values

    run = models.run(options.asked("this spectrum", sums, values, lambda means: values(means).abs().max()))
    found = put_back(modes(run.parts.means()), 0.0, 2 * power)
    return replace(found, estimate=sized(run.estimate(values), power, what))


def _interaction(f: Poly, metric: torch.Tensor | None, mean: torch.Tensor | None, top: int | None) -> Modes:
    """The Jacobian of f is 2 M x + b: applying it is applying M."""
    like, shape = f.like, f.in_shape
    n = prod(shape)
    slope = jacobian(f)
    centre = torch.zeros(n, dtype=like.dtype, device=like.device) if mean is None else mean
    with torch.no_grad():
        zero = slope(torch.zeros(1, *shape, dtype=like.dtype, device=like.device)).reshape(1, n)

        def operator(v: torch.Tensor) -> torch.Tensor:
            return (slope(v.T.reshape(-1, *shape)).reshape(-1, n) - zero).T / 2

        what = "eigenvalues of the interaction matrix"
        modes = modes_of(metric, operator, n, like, top, "in", what, root=False)
        point = centre.reshape(1, *shape)
        return replace(modes, linear=slope(point).reshape(n), constant=f(point).reshape(()))


def _support(net: Network) -> tuple[torch.Tensor | None, Network]:
    """An orthonormal basis of what the first layer reads, if that is less than everything, and the network behind it."""
    (name, f), *rest = net.layers
    if len(f.domain) > 1 or len(f.codomain) > 1:
        return None, net
    rows = []
    for t in f.terms:
        factors = star(t) if t.degree else ()
        if factors is None:
            return None, net
        rows += list(factors[1:])
    n = f.in_shape[0]
    if not rows or sum(len(x) for x in rows) >= n:
        return None, net
    with torch.no_grad():
        basis = torch.linalg.qr(torch.cat(rows).T).Q
        return basis, Network(((name, fuse(f @ linear_map(basis, (("d", basis.shape[1]),)))), *rest))
