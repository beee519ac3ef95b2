"""CKA, Procrustes and CCA from weights: how alike two representations are, whatever their bases."""

from functools import partial
from typing import Any, Literal

import torch

from tnsim.analysis.asking.problem import BUDGET, MEMORY, Method, Model, together
from tnsim.analysis.asking.questions import question
from tnsim.analysis.asking.sampled import Options, answered
from tnsim.analysis.asking.statistics import index_of
from tnsim.analysis.compare.covariances import beside, scaled_moments
from tnsim.measure.pairings.measure import Measure

__all__ = ["cca", "cka", "procrustes"]

Array = Any
Which = Literal["aa", "ab", "bb"]

_ROUNDING = 16  # standard deviations of so many units in the last place of the mean are no variance
_PAIRS: tuple[tuple[Which, int, int], ...] = (("ab", 0, 1), ("aa", 0, 0), ("bb", 1, 1))


@question
def cka(
    a: Model,
    b: Model,
    *,
    under: Measure | None = None,
    method: Method = "exact",
    centred: bool = True,
    budget: float = BUDGET,
    memory: float = MEMORY,
    error: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Any:
    """Linear centred kernel alignment ‖M_ab‖² / (‖M_aa‖ ‖M_bb‖), without data.

    M_ab is the covariance of the two models' outputs under a law of the input, and ‖·‖ the Frobenius norm.
    An orthogonal map, a scale or a shift of either model's outputs changes nothing, so models may have
    different numbers of outputs, and hidden layers of any width (``net[:k]``) may be compared.
    :func:`linear_cka` is the same index estimated from activations; with ``under=Empirical(x)`` they agree.

    Costs what E[a aᵀ], E[a bᵀ] and E[b bᵀ] cost together: all outputs of one against all of the other.

    Args:
        a: a torch module or a Network.
        b: another that reads the same input; outputs, hidden widths and depths may differ.
        under: the law of the input; the standard normal by default.
        method: ``"exact"``, or ``"layerwise"``: the Gaussian-closure approximation, exact for one layer only.
        centred: covariances; ``False`` takes second moments E[a bᵀ], means and all. ``Symmetric()`` and
            ``Frobenius()`` compare tensors, which have no mean, and need ``False``.
        budget: flops that may be spent.
        memory: bytes that intermediate tensors may take.
        error: a standard error that will do. Then the answer is an :class:`Estimate`: exact where the price is within the
            budget, else from as many draws as it takes.
        seed: of the draws.
        progress: show a bar if it takes more than two seconds.

    Returns:
        A differentiable number in [0, 1]. Stacked networks put their run axes in front.

    Raises:
        CostError: if it would take more than the budget.
        ValueError: if inputs, dtypes or devices differ, or a model is constant (with ``centred=False``: zero).
        MeasureError: for a centred index under a law that has no mean.

    References:
        Kornblith et al., arXiv 1905.00414; tensor similarity, arXiv 2605.15183.

    Example:
        >>> import tnsim
        >>> a = tnsim.nn.BilinearLayer(4, 8, 3)
        >>> round(cka(a, a).item(), 6)
        1.0
        >>> bool(0 <= cka(a, tnsim.nn.BilinearLayer(4, 5, 2)) <= 1)
        True
    """
    if error is not None:
        asked = index_of("this CKA", _kernels, centred)
        options = Options(under, None, error, seed, budget, memory, progress)
        return answered(partial(cka, centred=centred), together((a, b)), method, options, asked)
    ab, aa, bb = scaled_moments(a, b, under, method, centred, budget, memory, progress, "CKA")
    return _kernels(ab, aa, bb)


@question
def procrustes(
    a: Model,
    b: Model,
    *,
    under: Measure | None = None,
    method: Method = "exact",
    centred: bool = True,
    budget: float = BUDGET,
    memory: float = MEMORY,
    error: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Any:
    """Procrustes similarity ‖M_ab‖_* / √(tr M_aa tr M_bb): the cosine after the best rotation, without data.

    ‖·‖_* is the nuclear norm, the sum of singular values. It is the largest cosine of a and Q b over all
    orthogonal Q (rectangular ones with orthonormal columns or rows, where the numbers of outputs differ), so
    its arc cosine is an angle, and a metric between models up to rotation. An orthogonal map, a scale or a
    shift of either model's outputs changes nothing.

    Costs what E[a aᵀ], E[a bᵀ] and E[b bᵀ] cost together, and one singular value decomposition.

    Args:
        a: a torch module or a Network.
        b: another that reads the same input; outputs, hidden widths and depths may differ.
        under: the law of the input; the standard normal by default.
        method: ``"exact"``, or ``"layerwise"`` (approximate from two layers on).
        centred: covariances; ``False`` takes second moments, and is needed for ``Symmetric()`` and
            ``Frobenius()``, see :func:`cka`.
        budget: flops that may be spent.
        memory: bytes that intermediate tensors may take.
        error: a standard error that will do. Then the answer is an :class:`Estimate`: exact where the price is within the
            budget, else from as many draws as it takes.
        seed: of the draws.
        progress: show a bar if it takes more than two seconds.

    Returns:
        A differentiable number in [0, 1]. Stacked networks put their run axes in front.

    Raises:
        CostError: if it would take more than the budget.
        ValueError: if inputs, dtypes or devices differ, or a model is constant (with ``centred=False``: zero).
        MeasureError: for a centred index under a law that has no mean.

    References:
        Williams et al., arXiv 2110.14739.

    Example:
        >>> import torch, tnsim
        >>> a = tnsim.convert(tnsim.nn.BilinearLayer(4, 8, 3))
        >>> rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
        >>> b = tnsim.poly("Q[out,in0]", Q=rotation) @ a.collapse()
        >>> round(procrustes(a, b).item(), 6)
        1.0
    """
    if error is not None:
        asked = index_of("this Procrustes similarity", _nuclear, centred)
        options = Options(under, None, error, seed, budget, memory, progress)
        return answered(partial(procrustes, centred=centred), together((a, b)), method, options, asked)
    return _nuclear(
        *scaled_moments(a, b, under, method, centred, budget, memory, progress, "Procrustes similarity")
    )


@question
def cca(
    a: Model,
    b: Model,
    *,
    under: Measure | None = None,
    method: Method = "exact",
    centred: bool = True,
    tolerance: float | None = None,
    budget: float = BUDGET,
    memory: float = MEMORY,
    progress: bool = True,
) -> torch.Tensor:
    """Canonical correlations: the singular values of M_aa^(−½) M_ab M_bb^(−½), without data.

    The k-th is the largest correlation between a linear function of a's outputs and one of b's, uncorrelated
    with the k − 1 pairs before. Any invertible linear map (or shift) of either model's outputs changes nothing.

    Where outputs are linearly dependent, the inverse root is the pseudo-inverse one: directions whose variance
    is at most ``tolerance`` times the largest are left out. Rounding in a direction of relative variance t is
    amplified to ε / t, so by default, t = √ε, both are of one size (1.5e-8 in float64, 3.5e-4 in float32). To
    count outputs of very different scale alike, rescale them first.

    Costs what E[a aᵀ], E[a bᵀ] and E[b bᵀ] cost together, two eigendecompositions and one singular value
    decomposition.

    Args:
        a: a torch module or a single Network.
        b: another that reads the same input; outputs, hidden widths and depths may differ.
        under: the law of the input; the standard normal by default.
        method: ``"exact"``, or ``"layerwise"`` (approximate from two layers on).
        centred: covariances; ``False`` takes second moments, and is needed for ``Symmetric()`` and
            ``Frobenius()``, see :func:`cka`.
        tolerance: relative variance of a direction that still counts; √ε of the dtype by default.
        budget: flops that may be spent.
        memory: bytes that intermediate tensors may take.
        progress: show a bar if it takes more than two seconds.

    Returns:
        Shape ``(r,)``, from large to small, in [0, 1] and differentiable; r is the smaller of the two ranks.
        Rounding above 1 is cut off; anything larger is left to be seen. Their mean is the mean CCA similarity
        of the literature, their mean square is R²_CCA.

    Raises:
        CostError: if it would take more than the budget.
        ValueError: if inputs, dtypes or devices differ, a model is constant (with ``centred=False``: zero), or
            networks are stacked.
        MeasureError: for a centred index under a law that has no mean.

    References:
        Hotelling (1936); Kornblith et al., arXiv 1905.00414.

    Example:
        >>> import torch, tnsim
        >>> a = tnsim.convert(tnsim.nn.BilinearLayer(4, 8, 3))
        >>> b = tnsim.poly("W[out,in0]", W=torch.randn(3, 3, dtype=torch.float64)) @ a.collapse()
        >>> [round(value, 4) for value in cca(a, b).tolist()]
        [1.0, 1.0, 1.0]
    """
    ab, aa, bb = scaled_moments(a, b, under, method, centred, budget, memory, progress, "CCA")
    if ab.ndim > 2 or aa.ndim > 2 or bb.ndim > 2:
        raise ValueError(
            "models of a stacked network may have different ranks, so their canonical correlations do not stack. "
            "Pass one model at a time, net.pick(i)."
        )
    epsilon = torch.finfo(ab.dtype).eps
    least = epsilon**0.5 if tolerance is None else tolerance
    if not 0 < least < 1:
        raise ValueError(f"tolerance is {tolerance}; it is a relative variance between 0 and 1.")
    left, right = (_whitener(m, least) for m in (aa, bb))
    values = torch.linalg.svdvals(left @ ab @ right.T)
    rounding = 1 + max(ab.shape) * epsilon / least
    return torch.where(values <= rounding, values.clamp(max=1), values)


def _whitener(m: torch.Tensor, tolerance: float) -> torch.Tensor:
    """W with W M Wᵀ = 1 on the directions of M that count; shape ``(rank, o)``.

    The basis of these directions is held constant: canonical correlations do not depend on it, so neither does
    their gradient, which an eigendecomposition would lose where eigenvalues coincide.
    """
    values, vectors = torch.linalg.eigh(m.detach())
    counts = values > tolerance * values[-1]
    basis = (vectors[:, counts] / values[counts].sqrt()).T
    factor = torch.linalg.cholesky(basis @ m @ basis.T)
    return torch.linalg.solve_triangular(factor, basis, upper=False)


def _kernels(ab: torch.Tensor, aa: torch.Tensor, bb: torch.Tensor) -> torch.Tensor:
    left, right = (torch.linalg.matrix_norm(m, keepdim=True) for m in (aa, bb))
    return (ab.square() / beside(left, ab) / right).sum((-2, -1))


def _nuclear(ab: torch.Tensor, aa: torch.Tensor, bb: torch.Tensor) -> torch.Tensor:
    return torch.linalg.svdvals(ab).sum(-1)
