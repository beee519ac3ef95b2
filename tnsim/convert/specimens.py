"""Specimens: inputs drawn from a law as it is, by a generator of their own."""

import torch
from torch import Tensor

from tnsim.algebra.poly import Axes
from tnsim.measure import Empirical, Gaussian, MarkovChain, Measure, MeasureError, Mixture, Tokens
from tnsim.measure.measure import as_like

__all__ = ["specimens"]

_FLOOR = 1e-12  # of the eigenvalues of a covariance, relative to the largest: below is rounding


def specimens(
    law: Measure, domain: Axes, n: int, generator: torch.Generator, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Inputs that follow a law.

    Args:
        law: a law of inputs. Of samples (``Empirical``) all are taken, with their weights.
        domain: the axes of one input.
        n: how many.
        generator: draws the numbers, on the CPU.
        like: a tensor of the dtype and device to use.

    Returns:
        Inputs of shape ``(n, *sizes of the axes)``, and weights of shape ``(n,)`` that add up to one.

    Raises:
        MeasureError: if the law is none that inputs can be drawn from, or does not fit the domain.
    """
    sizes = tuple(size for _, size in domain)
    if isinstance(law, Empirical):
        bound = law.bound(domain, like)
        x = bound.samples[0].data
        n = len(x)
        return x, torch.full(
            (n,), 1 / n, dtype=like.dtype, device=like.device
        ) if bound.weights is None else bound.weights
    weights = torch.full((n,), 1 / n, dtype=like.dtype, device=like.device)
    if isinstance(law, Mixture):
        return _mixed(law, domain, n, generator, like)
    if isinstance(law, Gaussian):
        return _normal(law.bound(domain, like), sizes, n, generator, like), weights
    if isinstance(law, Tokens | MarkovChain):
        law.bound(domain, like)  # raises where it does not fit
        ids = _drawn(law, sizes[0], n, generator)
        return torch.nn.functional.one_hot(ids, sizes[1]).to(like.device, like.dtype), weights
    raise MeasureError(
        f"no inputs can be drawn from {law!r}; use tnsim.Gaussian, Mixture, Tokens, MarkovChain or Empirical."
    )


def _mixed(
    law: Mixture, domain: Axes, n: int, generator: torch.Generator, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Every part has its share of the draws, and at least one; weights make up for rounding."""
    shares = [1 / len(law.laws)] * len(law.laws) if law.weights is None else [float(w) for w in law.weights]
    parts = [
        (share, *specimens(part, domain, max(1, round(share * n)), generator, like))
        for share, part in zip(shares, law.laws, strict=True)
        if share > 0
    ]
    return torch.cat([x for _, x, _ in parts]), torch.cat([share * w for share, _, w in parts])


def _normal(
    law: Gaussian, sizes: tuple[int, ...], n: int, generator: torch.Generator, like: Tensor
) -> Tensor:
    z = torch.randn((n, *sizes), generator=generator, dtype=torch.float64, device="cpu").to(
        like.device, like.dtype
    )
    if law.cov is not None:
        cov = law.cov.detach()
        if tuple(cov.shape) == sizes:
            z = z * cov.sqrt()
        else:
            size = torch.Size(sizes).numel()
            values, vectors = torch.linalg.eigh(cov.reshape(size, size))
            root = vectors * values.clamp_min(_FLOOR * float(values[-1].abs())).sqrt()
            z = (z.reshape(n, size) @ root.T).reshape(n, *sizes)
    return z if law.mean is None else z + law.mean.detach()


def _drawn(law: Tokens | MarkovChain, n_ctx: int, n: int, generator: torch.Generator) -> Tensor:
    cpu = torch.empty(0, dtype=torch.float64, device="cpu")
    if isinstance(law, Tokens):
        p = as_like(law.p, cpu)
        p = p.expand(n_ctx, -1) if p.dim() == 1 else p
        return torch.stack([torch.multinomial(row, n, replacement=True, generator=generator) for row in p], 1)
    ids = [torch.multinomial(as_like(law.p0, cpu), n, replacement=True, generator=generator)]
    steps = as_like(law.P, cpu)
    for _ in range(n_ctx - 1):
        ids.append(torch.multinomial(steps[ids[-1]], 1, generator=generator)[:, 0])
    return torch.stack(ids, 1)
