"""Similarity of pairs: exact, layer by layer, and sampled with error bars."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

import tnsim
from paper_figures.common.cache import Cache
from paper_figures.common.job import Job
from paper_figures.exact_or_layerwise.setting import Kind, data, kinds, model, name_of
from tnsim.lab import Run, accuracy

__all__ = ["compute", "sampled"]

PAIRS = ("two seeds", "two checkpoints")
_BATCHES = 50


def sampled(a: nn.Module, b: nn.Module, n: int, seed: int = 0) -> tuple[float, float]:
    """Monte Carlo: the cosine over n standard normal inputs, and its standard error (jackknife over batches)."""
    dice = torch.Generator().manual_seed(seed)
    sums = []
    with torch.no_grad():
        for _ in range(_BATCHES):
            x = torch.randn(n // _BATCHES, 64, generator=dice, dtype=torch.float64)
            f, g = a(x), b(x)
            sums.append(torch.stack([(f * g).sum(), (f * f).sum(), (g * g).sum()]))
    parts = torch.stack(sums)

    def cosine(total: Tensor) -> Tensor:
        return total[..., 0] / (total[..., 1] * total[..., 2]).sqrt()

    whole = cosine(parts.sum(0))
    without = cosine(parts.sum(0) - parts)
    return float(whole), float(((without - without.mean()) ** 2).sum().mul((_BATCHES - 1) / _BATCHES).sqrt())


def compute(job: Job) -> Cache:
    """Everything the picture shows."""
    s, images = job.settings, data(job)
    sweeps = kinds(s)
    rows: dict[Kind, np.ndarray] = {}
    norms: dict[Kind, float] = {}
    accuracies = []
    for kind in tqdm(
        sorted({k for ks in sweeps.values() for k in ks}, key=str), "pairs", disable=not job.progress
    ):
        runs = [Run.load(job.folder / name_of(kind, seed)) for seed in range(2)]

        def make(kind: Kind = kind) -> nn.Module:
            return model(kind, 0)

        ends = [run.model(s.steps, make).double() for run in runs]
        early = runs[0].model(s.steps // 4, make).double()
        accuracies += [accuracy(m, images.x_test.double(), images.y_test) for m in ends]
        pairs = ((ends[0], ends[1]), (early, ends[0]))
        row = []
        for a, b in pairs:
            exact = float(tnsim.similarity(a, b, budget=math.inf))
            layerwise = float(tnsim.similarity(a, b, method="layerwise"))
            row.append((exact, layerwise, *sampled(a, b, s.samples)))
        rows[kind] = np.array(row)
        norm = {
            how: float(tnsim.inner(ends[0], method=how, budget=math.inf)) for how in ("exact", "layerwise")
        }
        norms[kind] = norm["layerwise"] / norm["exact"]

    facts: dict[str, object] = {}
    for depth in {k.depth for k in rows}:
        of_depth = [k for k in rows if k.depth == depth]
        facts[f"error depth {depth}"] = max(_error(rows[k]) for k in of_depth)
        facts[f"norm depth {depth}"] = min(norms[k] for k in of_depth)
    for sweep in ("width", "scale"):
        facts[f"error {sweep}"] = max(_error(rows[k]) for k in sweeps[sweep])
    everything = np.stack(list(rows.values()))
    facts["worst z"] = float((np.abs(everything[..., 0] - everything[..., 2]) / everything[..., 3]).max())
    facts["accuracies"] = f"{min(accuracies):.2f} … {max(accuracies):.2f}"
    arrays = {sweep: np.stack([rows[k] for k in ks]) for sweep, ks in sweeps.items()}
    at = {"depth_at": s.depths, "width_at": s.widths, "scale_at": s.scales}
    return Cache(arrays | {k: np.array(v, dtype=float) for k, v in at.items()}, facts)


def _error(row: np.ndarray) -> float:
    return float(np.abs(row[:, 0] - row[:, 1]).max())
