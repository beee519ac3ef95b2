"""Symmetric CP: a homogeneous polynomial as a sum of powers, f(x) ≈ Σ_r d_r (w_r·x)ⁿ, from evaluations alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from tqdm.auto import tqdm

__all__ = ["PowerSum", "fit_powers"]

Array = Any

_RIDGE = 1e-12  # of the Gram matrix of powers, which is singular where two directions coincide
_STEPS = 3000


@dataclass(frozen=True, eq=False)
class PowerSum:
    """Σ_r d_r (w_r·x)ⁿ and how well it fits.

    Attributes:
        down: d, shape ``(o, r)``.
        directions: w of unit length, shape ``(r, n)``.
        error: relative error ‖f − f̂‖ / ‖f‖ in the metric of symmetric tensors.
        errors: the relative errors of all starts, best first.
    """

    down: torch.Tensor
    directions: torch.Tensor
    error: float
    errors: tuple[float, ...]


def fit_powers(
    f: Callable[[torch.Tensor], torch.Tensor],
    size: int,
    degree: int,
    squared_norm: float,
    rank: int,
    like: torch.Tensor,
    restarts: int,
    seed: int,
    progress: bool,
) -> PowerSum:
    """The best of several starts.

    For symmetric tensors, ⟨f, d ⊗ wⁿ⟩ = d·f(w) and ⟨d ⊗ wⁿ, d′ ⊗ w′ⁿ⟩ = (d·d′)(w·w′)ⁿ. So for given directions W the
    best D solves a linear system with the matrix K_rs = (w_r·w_s)ⁿ, and what it explains is tr(F K⁻¹ Fᵀ) with
    F = [f(w_1) … f(w_R)]. That is maximised over W, by L-BFGS with exact gradients. The dense tensor is never formed.

    The first start is algebraic where it can be (degree 2, rank at most the size): in a random combination of outputs
    against another, the directions are eigenvectors (Jennrich). The others are random.

    Args:
        f: the polynomial, from ``(b, n)`` to ``(b, o)``, differentiable.
        size: n.
        degree: of f, homogeneous.
        squared_norm: ‖f‖² as a symmetric tensor.
        rank: number of powers R.
        like: a tensor of the right dtype and device.
        restarts: how many starts.
        seed: of the random ones.
        progress: show a bar.
    """
    generator = torch.Generator().manual_seed(seed)

    def random() -> torch.Tensor:
        return torch.randn(rank, size, generator=generator, dtype=torch.float64, device="cpu").to(like)

    starts: list[torch.Tensor] = []
    if degree == 2 and rank <= size:
        first = _pencil(f, size, rank, like, generator)
        starts += [] if first is None else [first]
    starts += [random() for _ in range(max(1, restarts) - len(starts))]
    found = []
    for start in tqdm(starts, "fitting powers", delay=2, leave=False, disable=not progress):
        found.append(_ascend(f, start, degree, squared_norm))
        if found[-1][0] < 1e-7:
            break
    found.sort(key=lambda item: item[0])
    error, directions = found[0]
    with torch.no_grad():
        _, down, _ = _explained(f, directions, degree)
    return PowerSum(down, directions, error, tuple(e for e, _ in found))


def _explained(
    f: Callable[[torch.Tensor], torch.Tensor], directions: torch.Tensor, degree: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """tr(F K⁻¹ Fᵀ), D = F K⁻¹, and whether K is singular, as a number other than zero."""
    kernel = (directions @ directions.T) ** degree
    ridge = _RIDGE * len(kernel) * torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
    values = f(directions)
    triangle, failed = torch.linalg.cholesky_ex(kernel + ridge)  # does not wait for the device to say so
    down = torch.cholesky_solve(values, triangle).T
    # exact for any D, so that a D blurred by rounding cannot claim more than it explains
    return 2 * (down.T * values).sum() - (down.T @ down * kernel).sum(), down, failed


def _ascend(
    f: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor, degree: int, squared_norm: float
) -> tuple[float, torch.Tensor]:
    """Climb from one start; the relative error reached, and the unit directions."""

    def unit(w: torch.Tensor) -> torch.Tensor:
        return w / w.norm(dim=1, keepdim=True)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = torch.as_tensor(flat, device="cpu").to(start).reshape(start.shape).requires_grad_(True)
        with torch.enable_grad():
            explained, _, failed = _explained(f, unit(w), degree)
            value = 1 - explained / squared_norm
            (gradient,) = torch.autograd.grad(value, w)
        # all that is needed in one go: an iteration waits for the device once
        numbers = (
            torch.cat([gradient.reshape(-1), value.detach()[None], failed.to(value)[None]]).cpu().numpy()
        )
        if numbers[-1]:
            raise torch.linalg.LinAlgError(  # type: ignore[attr-defined]
                "powers of these directions are linearly dependent; take a smaller rank."
            )
        return float(numbers[-2]), numbers[:-2]

    flat = unit(start).reshape(-1).cpu().numpy()
    options = dict(maxiter=_STEPS, maxfun=2 * _STEPS, ftol=1e-15, gtol=1e-12, maxcor=30)
    done = minimize(loss, flat, jac=True, method="L-BFGS-B", options=options)
    directions = unit(torch.as_tensor(done.x, device="cpu").to(start).reshape(start.shape))
    return max(0.0, float(done.fun)) ** 0.5, directions


def _pencil(
    f: Callable[[torch.Tensor], torch.Tensor],
    size: int,
    rank: int,
    like: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor | None:
    """Directions of an exact sum of squares: M_a = Wᵀ Λ_a W for any combination a of outputs.

    Their span is that of M_a V for random V, and M_a v is half the gradient of a·f at v. Inside the span, of size rank,
    M_a M_b⁻¹ = Wᵀ (Λ_a/Λ_b) W⁻ᵀ. Where f is no such sum, real parts still make a start.
    """

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, device="cpu").to(like)

    probes = random(rank + 4, size).requires_grad_(True)
    with torch.enable_grad():
        values = f(probes)
        slopes = [
            torch.autograd.grad((values @ random(values.shape[1])).sum(), probes, retain_graph=k < 3)[0]
            for k in range(4)
        ]
    with torch.no_grad():
        span = torch.linalg.svd(torch.cat(slopes), full_matrices=False).Vh[:rank].T
        eye = torch.eye(rank, dtype=like.dtype, device=like.device)
        own = f(eye @ span.T)
        pairs = f((eye[:, None] + eye[None, :]).reshape(-1, rank) @ span.T).reshape(rank, rank, -1)
        matrices = ((pairs - own[:, None] - own[None, :]) / 2).movedim(-1, 0)
        a, b = torch.einsum("mk,kij->mij", random(2, len(matrices)), matrices)
        try:
            vectors = torch.linalg.eig(torch.linalg.solve(b, a, left=False)).eigenvectors
        except RuntimeError:
            return None
        directions = (span @ vectors.real).T
        return directions if bool((directions.norm(dim=1) > 1e-6).all()) else None
