"""Similarities of the checkpoints, and the frequencies that the weights use."""

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

import tnsim
from paper_figures.common.cache import Cache
from paper_figures.common.job import Job
from paper_figures.common.matrices import block_mean, gram, output_cosines
from paper_figures.grokking.setting import NAMES, grid, model
from tnsim.lab import Run, logits

__all__ = ["compute", "frequencies"]


def frequencies(module: nn.Module, p: int, modes: int) -> Tensor:
    """Which frequencies of the first operand every output uses, read off the weights.

    The output's interaction matrix is diagonalised; the part of the strongest eigenvectors that reads the first
    operand is Fourier transformed. Magnitudes are weighted by |eigenvalue| and normalised for every output.

    Args:
        module: a bilinear classifier.
        p: the modulus.
        modes: how many eigenvectors of every output.

    Returns:
        Shape (p outputs, p // 2 + 1).
    """
    w, head = module.w.weight.double(), module.head.weight.double()
    q, r = torch.linalg.qr(w.T)  # all eigenvectors lie in the span of the rows of w
    left, right = r[:, : head.shape[1]], r[:, head.shape[1] :]
    half = torch.einsum("ah,oh,bh->oab", left, head, right)
    values, vectors = torch.linalg.eigh((half + half.transpose(1, 2)) / 2)
    top = values.abs().topk(modes, dim=1).indices  # (o, modes)
    chosen = torch.take_along_dim(vectors, top[:, None, :], dim=2)
    first = torch.einsum("xa,oam->oxm", q, chosen)[:, :p]
    spectrum = torch.fft.rfft(first, dim=1).abs() * values.gather(1, top).abs()[:, None, :]
    used = spectrum.sum(2)
    return used / used.sum(1, keepdim=True)


def compute(job: Job) -> Cache:
    """Everything the picture shows."""
    s = job.settings
    run = Run.load(job.folder / "run")
    modules = run.models(lambda: model(job))
    x, _ = grid(s.p)
    answers = [logits(m, x) for m in tqdm(modules, "outputs", disable=not job.progress)]
    behaviour = output_cosines(answers)
    del answers
    used = torch.stack(
        [frequencies(m, s.p, s.modes) for m in tqdm(modules, "frequencies", disable=not job.progress)]
    )
    marginals = used.mean(1)  # over outputs; every row adds up to 1
    unit = nn.functional.normalize(marginals, dim=1)
    nets = [tnsim.convert(m.double()) for m in modules]
    tensor = gram(job, nets, run.steps, under=tnsim.Symmetric()).similarity()
    starts = [0, *tnsim.segment(tensor, len(NAMES)).boundaries]
    curves = {name: np.array(run.curve(name)) for name in run.metrics[0]}
    arrays = curves | {
        "tensor": tensor,
        "behaviour": behaviour,
        "marginal_cosine": unit @ unit.T,
        "marginals": marginals,
        "steps": np.array(run.steps),
        "starts": np.array(starts),
    }
    facts = _facts(arrays, starts)
    return Cache({k: np.asarray(v) for k, v in arrays.items()}, facts)


def _facts(arrays: dict, starts: list[int]) -> dict:
    steps, tensor = arrays["steps"], arrays["tensor"]
    edges = [*starts, len(steps)]
    parts = [slice(a, b) for a, b in pairwise(edges)]
    means = np.array(
        [[block_mean(tensor, a, b) if a != b or a.stop - a.start > 1 else 1.0 for b in parts] for a in parts]
    )
    n = len(parts)
    gap = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    off = ~np.eye(len(steps), dtype=bool)

    def first(name: str, least: float) -> float:
        reached = np.nonzero(arrays[name] >= least)[0]
        return float(steps[reached[0]]) if len(reached) else math.nan

    memorised, grokked = first("train_accuracy", 1.0), first("validation_accuracy", 0.95)
    last = arrays["marginals"][-1]
    top = last.argsort(descending=True)[:4].tolist()
    return {
        "memorised": memorised,
        "grokked": grokked,
        "accuracy": float(arrays["validation_accuracy"][-1]),
        "loss_peak": float(arrays["validation_loss"].max()),
        "delay": grokked / memorised,
        "phases": ", ".join(str(steps[i]) for i in starts),
        "inside": float(means[gap == 0].mean()),
        "neighbours": float(means[gap == 1].mean()),
        "apart": float(means[gap > 1].mean()),
        "blocks": "yes" if all(means[i, i] > means[i][gap[i] > 0].max() for i in range(n)) else "no",
        "block_means": means.round(3).tolist(),
        "first_last": float(tensor[0, -1]),
        "r_behaviour": float(np.corrcoef(tensor[off], arrays["behaviour"][off])[0, 1]),
        "r_marginals": float(np.corrcoef(tensor[off], arrays["marginal_cosine"][off])[0, 1]),
        "top": ", ".join(f"{f} ({last[f]:.3f})" for f in top).replace("0.", "."),
    }
