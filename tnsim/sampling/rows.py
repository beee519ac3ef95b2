"""Rows: the directions of the input that the first layers of models read at all."""

from collections.abc import Callable, Sequence

import torch

from tnsim.algebra.networks.network import Network
from tnsim.engine.constants import as_like
from tnsim.sampling.points import generator

__all__ = ["directions"]

_MORE = 8  # probes beyond the number of coordinates
_AT_ONCE = 512


def directions(
    nets: Sequence[Network], placed: Callable[[torch.Tensor], torch.Tensor], size: int, key: tuple[int, ...]
) -> torch.Tensor | None:
    """An orthonormal basis of the coordinates that the first layers read, or ``None`` if they read all.

    Gradients of random outputs at random points lie in the space that a layer reads, and as many as it has dimensions
    span it. Draws are right whatever this finds: it says where a proposal may differ from the law.

    Args:
        nets: networks that read the same input.
        placed: standard normal coordinates ``(N, size)`` to inputs.
        size: number of coordinates.
        key: of the random numbers.

    Returns:
        Shape ``(size, n)``, float64 on the CPU.
    """
    random = generator(*key, 2)
    found = torch.zeros(0, size, dtype=torch.float64, device="cpu")
    for f in {id(net): net.polys[0] for net in nets}.values():
        for start in range(0, size + _MORE, _AT_ONCE):
            many = min(_AT_ONCE, size + _MORE - start)
            y = torch.randn(many, size, dtype=torch.float64, generator=random, device="cpu")
            with torch.enable_grad():
                y.requires_grad_()
                out = f.evaluate(placed(y))
                probe = torch.randn(out.shape, dtype=torch.float64, generator=random, device="cpu")
                value = (out * as_like(probe, out)).sum()
                if not value.requires_grad:
                    break  # a constant
                (slope,) = torch.autograd.grad(value, y, allow_unused=True)
            if slope is None:
                break
            lengths = slope.norm(dim=1, keepdim=True)
            rows = torch.cat([found, slope / torch.where(lengths > 0, lengths, 1.0)])
            _, values, vectors = torch.linalg.svd(rows, full_matrices=False)
            kept = values > 1e3 * torch.finfo(f.like.dtype).eps * values.max().clamp_min(1e-300)
            found = vectors[kept]
            if len(found) == size:
                return None
            if int(kept.sum()) < start + many - _MORE:
                break  # further probes say nothing new
    return found.T if len(found) else torch.eye(size, dtype=torch.float64, device="cpu")[:, :1]
