"""All pairs of a list of models: as tensors, and by the measures in use today."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import tnsim
from paper_figures.common.job import Job

__all__ = ["block_mean", "cka", "gram", "output_cosines", "weight_cosines"]


def gram(
    job: Job, models: Sequence[tnsim.Network], labels: Sequence[Any], name: str = "gram", **options: Any
) -> tnsim.Gram:
    """Inner products of all pairs, which go on where they were interrupted.

    Args:
        job: what they are for.
        models: to be compared.
        labels: one for every model.
        name: of the file with what is done, in the job's folder.
        **options: of `tnsim.gram`, such as `under` and `method`.
    """
    return tnsim.gram(
        models,
        labels=labels,
        progress=job.progress,
        budget=math.inf,
        checkpoint=job.folder / f"{name}.safetensors",
        **options,
    )


def weight_cosines(models: Sequence[nn.Module]) -> Tensor:
    """Cosines of all weights flattened and concatenated, shape (N, N)."""
    flat = torch.stack([torch.cat([p.detach().flatten() for p in m.parameters()]) for m in models]).double()
    flat = flat / flat.norm(dim=1, keepdim=True)
    return flat @ flat.T


def output_cosines(outputs: Sequence[Tensor]) -> Tensor:
    """Mean over samples of the cosine of two models' outputs, shape (N, N).

    Args:
        outputs: one tensor of shape (n, o) for every model, on the same samples.
    """
    unit = torch.stack([nn.functional.normalize(f, dim=1).flatten() for f in outputs])
    return (unit @ unit.T).double() / len(outputs[0])


def cka(outputs: Sequence[Tensor]) -> Tensor:
    """Linear CKA of outputs on data, columns centred, shape (N, N).

    Args:
        outputs: one tensor of shape (n, o) for every model, on the same samples.
    """
    n, o = len(outputs), outputs[0].shape[1]
    centred = torch.cat([f.double() - f.double().mean(0) for f in outputs], dim=1)
    blocks = (centred.T @ centred).view(n, o, n, o).pow(2).sum((1, 3))
    norm = blocks.diagonal().sqrt()
    return blocks / norm[:, None] / norm[None, :]


def block_mean(matrix: Tensor, rows: slice, columns: slice) -> float:
    """Mean of a block; where rows and columns are the same, without the diagonal."""
    block = matrix[rows, columns]
    if rows != columns:
        return float(block.mean())
    n = len(block)
    return float((block.sum() - block.diagonal().sum()) / (n * (n - 1)))
