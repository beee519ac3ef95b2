"""Decompositions of a layer: CP, Tucker and HOSVD through tensorly, and symmetric CP."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import inf, prod
from typing import Any, Literal

import numpy as np
import tensorly as tl
import torch
from tensorly.cp_tensor import cp_to_tensor
from tensorly.decomposition import parafac, partial_tucker
from tensorly.tucker_tensor import tucker_to_tensor
from tqdm.auto import tqdm

from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.polys.writing import poly
from tnsim.algebra.terms.symmetry import free
from tnsim.analysis.asking.problem import BUDGET, Model, as_network
from tnsim.analysis.asking.questions import question
from tnsim.analysis.asking.tensors import double
from tnsim.analysis.bonds.places import linear_map
from tnsim.analysis.compare.similarities import inner, similarity
from tnsim.analysis.explain.halves import mean_and_cov
from tnsim.analysis.explain.modes import factor_of
from tnsim.analysis.explain.symmetric_cp import fit_powers
from tnsim.common.digits import rounded
from tnsim.engine.contract import Contraction
from tnsim.engine.costs import CostError
from tnsim.measure.laws.tensorial import Symmetric
from tnsim.measure.pairings.measure import Measure

__all__ = ["Decomposition", "decompose"]

Array = Any
Kind = Literal["cp", "tucker", "hosvd", "symmetric-cp"]

_LARGEST = 2**25  # entries of a dense tensor
_SWEEPS = 1000
_RIDGE = 1e-12  # of normal equations, for a tensor of entries up to 1: they are singular where summands coincide or vanish


@dataclass(frozen=True, eq=False)
class Decomposition:
    """A model written with fewer numbers.

    Attributes:
        kind: ``"cp"``, ``"tucker"``, ``"hosvd"`` or ``"symmetric-cp"``.
        poly: the decomposed model, a polynomial like any other.
        down: factor of the outputs, shape ``(o, r)``.
        legs: factors of the inputs, shape ``(r, n)`` each; one for all legs for symmetric CP.
        core: for Tucker and HOSVD, shape ``(r_out, r, …)``.
        error: relative error of the coefficient tensor in the metric of the law.
        similarity: of the model and ``poly`` under the law; computed, not estimated.
        parameters: numbers in the factors and the core.
        errors: errors of all starts, best first, where there are several.

    Example:
        >>> import tnsim
        >>> found = tnsim.decompose(tnsim.nn.BilinearLayer(4, 6, 3), "hosvd", 3)
        >>> found.kind, found.similarity > 0.5
        ('hosvd', True)
    """

    kind: Kind
    poly: Poly
    down: Array
    legs: tuple[Array, ...]
    core: Array | None
    error: float
    similarity: float
    parameters: int
    errors: tuple[float, ...] = ()

    def __repr__(self) -> str:
        starts = f", best of {len(self.errors)} starts" if self.errors else ""
        return (
            f"Decomposition({self.kind}, {self.parameters} parameters, error {self.error:.3g}, "
            f"similarity {self.similarity:.6f}{starts})"
        )


@question
def decompose(
    model: Model,
    kind: Kind,
    rank: int | Sequence[int],
    *,
    under: Measure | None = None,
    restarts: int = 4,
    seed: int = 0,
    progress: bool = True,
) -> Decomposition:
    """Write the coefficient tensor of a model with fewer numbers, in the metric of the law of its input.

    The tensor is that of the terms of highest degree n, symmetrised: T[o, i₁ … i_n] with f(x) = Σ T x…x. Terms of lower
    degree are kept as they are. Inputs are whitened by the covariance of the law, so that directions count as much as
    they vary.

    * ``"cp"``: f ≈ Σ_r d_r (u_r·x)(v_r·x)…, every leg with factors of its own; alternating least squares by tensorly.
    * ``"tucker"``: a core of shape (r_out, r, …, r) between an orthonormal factor for the outputs and one for every leg;
      alternating (HOOI) by tensorly. ``"hosvd"``: the same without iterating.
    * ``"symmetric-cp"``: f ≈ Σ_r d_r (w_r·x)ⁿ, with one direction for all legs: what the symmetry of the tensor asks
      for, with n − 1 factors less to store. Fitted from evaluations of f; no dense tensor is formed.

    CP has local optima: several starts are made, and all their errors reported.

    Args:
        model: a torch module, a Network or a Poly; several layers are composed. A difference is passed as
            :func:`difference`.
        kind: of decomposition.
        rank: number of summands; for Tucker the rank of inputs, or ``(outputs, inputs)``.
        under: the law of the input; the standard normal by default.
        restarts: starts of a CP.
        seed: of the random ones.
        progress: show a bar if it takes more than two seconds.

    Returns:
        The factors, the decomposed model, its error and its exact similarity.

    Raises:
        CostError: if a dense tensor would have more than 2²⁵ entries (not for symmetric CP).
        ValueError: for another kind, a rank that does not fit, a model that is linear, stacked or has several axes, or
            one whose part of highest degree is zero under the law.

    References:
        Kolda and Bader, Tensor Decompositions and Applications (2009); Kossaifi et al., TensorLy (2019); variable
        projection: Golub and Pereyra (1973).

    Example:
        >>> import torch, tnsim
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <...>
        >>> w = torch.randn(3, 6, dtype=torch.float64)
        >>> f = tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=torch.eye(3, dtype=w.dtype), L=w, R=w)
        >>> decompose(f, "symmetric-cp", 3).error < 1e-6
        True
    """
    given = _checked(model, kind, restarts)
    whole = given.mapped(double)  # whatever the model's dtype: fits lose half the digits
    top = replace(whole, terms=tuple(t for t in whole.terms if t.degree == whole.degree))
    rest = tuple(t for t in whole.terms if t.degree < whole.degree)
    _, cov = mean_and_cov(as_network(whole), under)
    factor, dual = (None, None) if cov is None else factor_of(cov)
    if factor is not None and not factor.shape[1]:
        raise ValueError(f"the input does not vary under {under!r}: there is nothing to decompose.")
    if factor is not None:
        top = top @ linear_map(factor, (("d", factor.shape[1]),))
    ranks = _ranks(rank, kind, top)
    if kind == "symmetric-cp":
        down, legs, core, error, errors = _powers(top, ranks[0], restarts, seed, progress)
    else:
        dense = _dense(top)
        _check_size(float(np.abs(dense).max()), top)
        down, legs, core, error, errors = _by_tensorly(dense, kind, ranks, restarts, seed, progress)
    if dual is not None:
        legs = [x @ dual.T for x in legs]
    small = _written(whole, down, legs, core)
    small = replace(small, terms=(*small.terms, *rest))
    down, legs = down.to(given.like), [x.to(given.like) for x in legs]
    core = None if core is None else core.to(given.like)
    with torch.no_grad():
        cosine = float(similarity(whole, small, under=under))
    count = down.numel() + sum(x.numel() for x in legs) + (0 if core is None else core.numel())
    own = small.mapped(lambda x: x.to(given.like))
    return Decomposition(kind, own, down, tuple(legs), core, error, cosine, count, errors)


Parts = tuple[torch.Tensor, list[torch.Tensor], torch.Tensor | None, float, tuple[float, ...]]


def _checked(model: Model, kind: str, restarts: int) -> Poly:
    if kind not in ("cp", "tucker", "hosvd", "symmetric-cp"):
        raise ValueError(f'kind is {kind!r}; write "cp", "tucker", "hosvd" or "symmetric-cp".')
    if restarts < 1:
        raise ValueError(f"restarts is {restarts}; at least one start is needed.")
    net = as_network(model)
    if net.models:
        raise ValueError("a run is decomposed model by model; pick one with net.pick(i).")
    whole = net.collapse()
    if len(whole.domain) != 1 or len(whole.codomain) > 1 or whole.degree < 2:
        raise ValueError(
            f"a decomposition needs a polynomial of degree 2 or more with one feature axis; this one has input "
            f"{whole.in_shape}, output {whole.out_shape} and degree {whole.degree}."
        )
    if not whole.codomain:
        raise ValueError("keep the output axis of a single output: write f[k:k + 1] for f[k].")
    return whole.mapped(lambda x: x.detach())


def _ranks(rank: int | Sequence[int], kind: str, top: Poly) -> tuple[int, ...]:
    given = (rank,) if isinstance(rank, int) else tuple(rank)
    limits = (top.out_shape[0], top.in_shape[0])
    if kind in ("tucker", "hosvd"):
        given = (limits[0], *given) if len(given) == 1 else given
        if len(given) != 2 or not all(1 <= r <= n for r, n in zip(given, limits, strict=True)):
            raise ValueError(
                f"the rank of a {kind} is one for inputs or (outputs, inputs), at most {limits}; got {rank}."
            )
    elif len(given) != 1 or given[0] < 1:
        raise ValueError(f"the rank of a {kind} is one positive number; got {rank}.")
    return given


def _check_size(size: float, top: Poly) -> None:
    if not 0.0 < size < inf:
        what = "is zero" if size == 0.0 else f"has the size {size}: its numbers leave the range of float64"
        raise ValueError(
            f"the part of degree {top.degree} {what}, in the metric of the law; it has no decomposition."
        )


def _powers(top: Poly, rank: int, restarts: int, seed: int, progress: bool) -> Parts:
    with torch.no_grad():
        norm = float(inner(top, under=Symmetric(), budget=BUDGET))
    _check_size(norm, top)
    found = fit_powers(top, top.in_shape[0], top.degree, norm, rank, top.like, restarts, seed, progress)
    return found.down, [found.directions], None, found.error, found.errors


def _dense(top: Poly) -> np.ndarray:
    """The symmetrised coefficient tensor, shape ``(o, n, …, n)``."""
    size = prod(top.out_shape) * prod(top.in_shape) ** top.degree
    if size > _LARGEST:
        raise CostError(
            f"the dense tensor, {top.out_shape} outputs by {top.in_shape} to the power of {top.degree}, has "
            f"{rounded(size):.1e} entries; the limit is {_LARGEST:.1e}. "
            'Use "symmetric-cp", which never forms it, or decompose single layers.'
        )
    shape = (*top.out_shape, *top.in_shape * top.degree)
    total: Any = 0
    for t in top.terms:
        ends = tuple(ix for leg in t.legs for ix in leg)
        total = total + Contraction(t.tensors, (*t.out, *ends), weight=t.coefficient).value().reshape(shape)
    orders = list(permutations(range(1, len(shape))))
    total = sum(total.permute(0, *order) for order in orders) / len(orders)
    return np.ascontiguousarray(double(total.detach()).cpu().numpy())


def _by_tensorly(
    dense: np.ndarray, kind: str, ranks: tuple[int, ...], restarts: int, seed: int, progress: bool
) -> Parts:
    """Factors by tensorly, on numpy arrays and in a backend of its own for as long as it takes.

    The tensor is fitted in units of its largest entry.
    """
    unit = float(np.abs(dense).max())
    dense = dense / unit
    norm = np.linalg.norm(dense)

    def error(fitted: np.ndarray) -> float:
        return float(np.linalg.norm(fitted - dense) / norm)

    def torched(x: Any) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(x), device="cpu")

    legs = dense.ndim - 1
    with tl.backend_context("numpy", local_threadsafe=True):
        if kind == "cp":
            tries: list[tuple[float, Any]] = []
            for k in tqdm(range(restarts), "fitting CP", delay=2, leave=False, disable=not progress):
                init = "svd" if k == 0 and ranks[0] <= min(dense.shape) else "random"
                fit = parafac(
                    dense,
                    ranks[0],
                    n_iter_max=_SWEEPS,
                    tol=1e-10,
                    l2_reg=_RIDGE,
                    init=init,
                    random_state=seed + k,
                    normalize_factors=False,
                )
                tries.append((error(cp_to_tensor(fit)), fit))
            tries.sort(key=lambda item: item[0])
            weights, factors = tries[0][1]
            down, *inputs = factors
            return (
                torched(down * weights * unit),
                [torched(x.T) for x in inputs],
                None,
                tries[0][0],
                tuple(e for e, _ in tries),
            )
        sizes = [min(ranks[0], ranks[1] ** legs), *[ranks[1]] * legs]
        sweeps = 0 if kind == "hosvd" else _SWEEPS
        (core, factors), _ = partial_tucker(dense, sizes, n_iter_max=sweeps, tol=1e-10, random_state=seed)
        down, *inputs = factors
        return (
            torched(down),
            [torched(x.T) for x in inputs],
            torched(core * unit),
            error(tucker_to_tensor((core, factors))),
            (),
        )


def _written(
    whole: Poly, down: torch.Tensor, legs: Sequence[torch.Tensor], core: torch.Tensor | None
) -> Poly:
    """The factors as a polynomial."""
    to: Callable[[torch.Tensor], torch.Tensor] = lambda x: x.to(whole.like)  # noqa: E731
    n = whole.degree
    tied = len(legs) == 1
    each = [to(x) for x in (list(legs) * n if tied else legs)]
    arrays: dict[str, Any] = {f"W{k}": x for k, x in enumerate(each)}
    if core is None:
        text = "D[out,hid] " + " ".join(f"W{k}[hid,in{k}]" for k in range(n))
        f = poly(text, D=to(down), **arrays)
        return replace(f, terms=tuple(replace(t, symmetry=free(n)) for t in f.terms)) if tied else f
    bonds = ",".join(f"b{k}" for k in range(n))
    text = f"D[out,a] G[a,{bonds}] " + " ".join(f"W{k}[b{k},in{k}]" for k in range(n))
    return poly(text, D=to(down), G=to(core), **arrays)
