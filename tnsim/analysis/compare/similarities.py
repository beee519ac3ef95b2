"""How alike two models are, as functions of all inputs."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any

import autoray as ar

from tnsim.algebra.networks.network import Network
from tnsim.analysis.asking.problem import (
    BUDGET,
    MEMORY,
    Method,
    Model,
    Problem,
    comparable,
    has_cheaper,
    priced,
    together,
)
from tnsim.analysis.asking.questions import question
from tnsim.analysis.asking.sampled import Options, answered
from tnsim.analysis.asking.sizes import check_sizes
from tnsim.analysis.asking.statistics import COSINE, INNER, MOMENTS
from tnsim.analysis.asking.units import in_units
from tnsim.analysis.tracing.recipes import answer
from tnsim.common.scaled import Scaled
from tnsim.engine.constants import in_main_memory
from tnsim.engine.costs import Cost, CostError, Exceeded, capped
from tnsim.engine.effort import planning
from tnsim.measure.pairings.expectation import Keep
from tnsim.measure.pairings.measure import Measure

__all__ = [
    "PATIENCE",
    "cost",
    "inner",
    "moments",
    "product",
    "product_cost",
    "products_of",
    "second_moments",
    "similarity",
]

Array = Any

PATIENCE = 100_000  # operations weighed to say what something costs: some three seconds


@question
def moments(
    a: Model,
    b: Model | None = None,
    *,
    under: Measure | None = None,
    method: Method = "exact",
    budget: float = BUDGET,
    memory: float = MEMORY,
    error: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Any:
    """The matrix E[a(x) b(x)ᵀ]: every output of one model against every output of the other.

    Args:
        a: a torch module or a Network.
        b: another; by default ``a`` itself. It may have other outputs, but reads the same input.
        under: the law of the input; the standard normal by default.
        method: ``"exact"``, or ``"layerwise"``: the Gaussian-closure approximation, exact for one layer only.
        budget: flops that may be spent.
        memory: bytes that intermediate tensors may take.
        error: a standard error that will do. Then the answer is an :class:`Estimate`: exact where the price is within the
            budget, else from as many draws as it takes; as a share of √(E|a|² E|b|²), for every entry.
        seed: of the draws.
        progress: show a bar if it takes more than two seconds.

    Returns:
        Shape ``(o_a, o_b)``, differentiable. Stacked networks put their run axes in front.

    Raises:
        CostError: if it would take more than the budget.
        ValueError: if the models do not read the same input, or differ in dtype or device.

    References:
        arXiv 2605.15183; Isserlis (1918).

    Example:
        >>> import torch, tnsim
        >>> W = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
        >>> f = tnsim.poly("W[out,in0]", W=W)
        >>> tnsim.moments(f)  # E[Wx (Wx)ᵀ] = W Wᵀ
        tensor([[5., 2.],
                [2., 1.]])
    """
    nets = together((a, a if b is None else b))
    if error is not None:
        options = Options(under, None, error, seed, budget, memory, progress)
        return answered(moments, nets, method, options, MOMENTS)
    return second_moments(nets, under, method, budget, memory, progress).value("E[a bᵀ]")


@question
def inner(
    a: Model,
    b: Model | None = None,
    *,
    under: Measure | None = None,
    method: Method = "exact",
    output: Any = None,
    budget: float = BUDGET,
    memory: float = MEMORY,
    error: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Any:
    """The inner product ⟨a, b⟩ = E[a(x) · b(x)], the trace of :func:`moments`.

    Args:
        a: a torch module or a Network.
        b: another with the same outputs; by default ``a`` itself.
        under: the law of the input; the standard normal by default.
        method: ``"exact"`` or ``"layerwise"`` (approximate from two layers on).
        output: one output, or a slice of them; all by default.
        budget: flops that may be spent.
        memory: bytes that intermediate tensors may take.
        error: a standard error that will do. Then the answer is an :class:`Estimate`: exact where the price is within the
            budget, else from as many draws as it takes; as a share of ‖a‖ ‖b‖.
        seed: of the draws.
        progress: show a bar if it takes more than two seconds.

    Returns:
        A differentiable number. Stacked networks give one for every pair of models.

    Example:
        >>> import torch, tnsim
        >>> one = torch.ones(1, 1)
        >>> square = tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=one, L=one, R=one)
        >>> tnsim.inner(square)  # E[x⁴] for x ~ N(0, 1)
        tensor(3.)
    """
    nets = comparable(a, a if b is None else b)
    if error is not None:
        options = Options(under, output, error, seed, budget, memory, progress)
        return answered(inner, nets, method, options, INNER)
    return product(nets, under, method, output, budget, memory, progress).value("the inner product")


@question
def similarity(
    a: Model,
    b: Model,
    *,
    under: Measure | None = None,
    method: Method = "exact",
    output: Any = None,
    budget: float = BUDGET,
    memory: float = MEMORY,
    error: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Any:
    """Tensor similarity: the cosine ⟨a,b⟩ / √(⟨a,a⟩⟨b,b⟩) of two models as functions.

    From the weights alone, over all inputs at once, weighted by the law ``under``. Exact by default.

    The default law N(0, I) counts all directions alike, those too that your inputs never take. If the number is low
    though the models agree on data, pass ``under=tnsim.Gaussian.of(x)``.

    Args:
        a: a torch module or a Network.
        b: another with the same inputs and outputs; hidden widths and depths may differ.
        under: the law of the input; the standard normal by default. ``Symmetric()`` compares symmetrised
            tensors, ``Frobenius()`` the tensors as stored, ``Empirical(x)`` the outputs on data.
        method: ``"exact"``, or ``"layerwise"``: every hidden state is replaced by the Gaussian of the same mean
            and covariance. Exact for one layer, an approximation from two on.
        output: one output, or a slice of them; all by default.
        budget: flops that may be spent.
        memory: bytes that intermediate tensors may take.
        error: a standard error that will do. Then the answer is an :class:`Estimate`: exact where the price is within the
            budget, else from as many draws as it takes.
        seed: of the draws.
        progress: show a bar if it takes more than two seconds.

    Returns:
        A differentiable number in [−1, 1]. Stacked networks give one for every pair of models.

    Raises:
        CostError: if it would take more than the budget; :func:`cost` asks without raising.
        SamplingError: if the error asked for cannot be had, or not be trusted.
        ValueError: if inputs, outputs, dtypes or devices differ, or a model is zero under the law.

    References:
        arXiv 2605.15183.

    Example:
        >>> import torch, tnsim
        >>> a = tnsim.nn.BilinearLayer(4, 8, 3)
        >>> round(tnsim.similarity(a, a).item(), 6)
        1.0
    """
    nets = comparable(a, b)
    if error is not None:
        options = Options(under, output, error, seed, budget, memory, progress)
        return answered(similarity, nets, method, options, COSINE)
    given = (*in_units(nets, under, output, method), method, output)
    cheaper = has_cheaper(under, method)
    ab, aa, bb = priced(products_of, f"similarity ({method})", budget, memory, cheaper, given, progress)
    rows, columns = aa**0.5, bb**0.5
    cosine = ab / (rows[:, None] if nets[0].models and nets[1].models else rows) / columns
    # the only values that are waited for, both at once and when everything else is under way
    for name, norm, net in zip("ab", in_main_memory(aa, bb), given[0], strict=True):
        check_sizes(norm, f"model {name}", "its cosine", net)
    return cosine


@question
def cost(
    a: Model,
    b: Model | None = None,
    *,
    under: Measure | None = None,
    method: Method = "exact",
    budget: float = 100 * BUDGET,
    memory: float = MEMORY,
) -> Cost:
    """What :func:`similarity` would take: flops, memory and the number of contractions. Nothing is computed.

    Flops and memory are within a factor of 3 of what is then spent, flops where products of matrices are what counts.
    What takes more than ``budget``, or more planning than some seconds, is not planned to its end: the price is then a
    lower bound, ``at_least`` is true, and the text says so. Too dear is an answer here, and never raises.

    Args:
        a: a torch module or a Network.
        b: another; by default ``a`` itself.
        under: the law of the input; the standard normal by default.
        method: ``"exact"`` or ``"layerwise"``.
        budget: flops beyond which a lower bound is enough; ``float("inf")`` for the price of anything, however long it
            takes to find.
        memory: bytes that intermediate tensors may take. A contraction that takes more is sliced, if it can be.

    Raises:
        ValueError: if inputs, outputs, dtypes or devices differ.

    Example:
        >>> import tnsim
        >>> a = tnsim.nn.BilinearLayer(16, 32, 10)
        >>> tnsim.cost(a, a).flops < 1e6
        True
        >>> deep = tnsim.nn.BilinearMLP(16, 16, 16, 10, 8)
        >>> tnsim.cost(deep, deep).at_least
        True
    """
    nets = comparable(a, a if b is None else b)
    with capped(memory):
        try:
            with planning(PATIENCE if budget < inf else inf):
                return answer(products_of, (*in_units(nets, under, None, method), method, None), budget).cost
        except (Exceeded, CostError) as error:
            return error.cost


def second_moments(
    nets: Sequence[Network],
    under: Measure | None,
    method: Method,
    budget: float,
    memory: float,
    progress: bool,
) -> Scaled:
    """E[a bᵀ] as mantissa and power of two, which is what :func:`moments` gives where it fits into the dtype."""
    given = (*in_units(nets, under, None, method), method, None, "all")
    cheaper = has_cheaper(under, method)
    return priced(_product, f"E[a bᵀ] ({method})", budget, memory, cheaper, given, progress)


def product(
    nets: Sequence[Network],
    under: Measure | None,
    method: Method,
    output: Any,
    budget: float,
    memory: float,
    progress: bool = True,
) -> Scaled:
    """⟨a, b⟩ as mantissa and power of two; of a model with itself it is not negative."""
    given = (*in_units(nets, under, output, method), method, output, "sum")
    cheaper = has_cheaper(under, method)
    found = priced(_product, f"an inner product ({method})", budget, memory, cheaper, given, progress)
    if nets[0] is not nets[1] or nets[0].models:
        return found
    m = found.mantissa
    return replace(found, mantissa=ar.do("where", m < 0, m * 0, m))


def product_cost(
    nets: Sequence[Network], under: Measure | None, method: Method, budget: float, memory: float
) -> Cost:
    """What :func:`product` takes; a lower bound beyond the budget."""
    with capped(memory):
        try:
            return answer(_product, (*in_units(nets, under, None, method), method, None, "sum"), budget).cost
        except Exceeded as error:
            return error.cost


def _product(
    nets: Sequence[Network],
    law: Measure,
    exponents: Sequence[Array],
    method: Method,
    output: Any,
    keep: Keep,
) -> Scaled:
    """⟨a, b⟩, or its parts."""
    problem = Problem.of(nets, law, method, keep=keep, exponents=exponents, output=output)
    return problem.product(0, 1, keep)


def products_of(
    nets: Sequence[Network], law: Measure, exponents: Sequence[Array], method: Method, output: Any
) -> tuple[Array, Array, Array]:
    """⟨a, b⟩, ⟨a, a⟩ and ⟨b, b⟩, in the models' own units."""
    problem = Problem.of(nets, law, method, keep="sum", exponents=exponents, output=output)
    ab, aa, bb = problem.products([(0, 1), (0, 0), (1, 1)], "sum")
    return ab.mantissa, aa.mantissa, bb.mantissa
