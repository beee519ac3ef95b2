"""Cosines of the first model's checkpoints with the difference that learning 9 made to the second."""

import math

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import tnsim
from paper_figures.common.cache import Cache
from paper_figures.common.job import Job
from paper_figures.seeds_and_subsets.setting import model
from paper_figures.svhn_forgetting.setting import NAMES
from tnsim.lab import Run

__all__ = ["compute"]


def compute(job: Job) -> Cache:
    """Everything the picture shows."""
    runs = [Run.load(job.folder / f"run{which}") for which in range(2)]
    steps = np.array(runs[0].steps)
    nets = [tnsim.convert(m.double()) for m in runs[0].models(lambda: model(job, 0))]
    _, base, tuned = (tnsim.convert(m.double()) for m in runs[1].models(lambda: model(job, 1)))

    def products(a: tnsim.Network, b: tnsim.Network) -> Tensor:
        """Inner products output by output."""
        return tnsim.moments(a, b, budget=math.inf).diagonal()

    norm = products(tuned, tuned) - 2 * products(tuned, base) + products(base, base)
    with_change, own = [], []
    for net in tqdm(nets, "checkpoints", disable=not job.progress):
        with_change.append(products(net, tuned) - products(net, base))
        own.append(products(net, net))
    top, mine = torch.stack(with_change), torch.stack(own)
    slices = (top / (mine * norm).sqrt()).T
    whole = top.sum(1) / (mine.sum(1) * norm.sum()).sqrt()
    lengths = [stage["steps"] for stage in runs[0].metadata["stages"]]
    ends = np.cumsum(lengths)
    facts = _facts(slices, whole, steps, ends)
    facts["models"] = float(tnsim.similarity(nets[-1], tuned))
    return Cache({"slices": slices.numpy(), "all": whole.numpy(), "steps": steps, "ends": ends}, facts)


def _facts(slices: Tensor, whole: Tensor, steps: np.ndarray, ends: np.ndarray) -> dict[str, float]:
    at = [int(np.where(steps == end)[0][0]) for end in ends]
    facts = {f"all {name}": float(whole[i]) for name, i in zip(NAMES, at, strict=True)}
    facts |= {f"nine {name}": float(slices[9, i]) for name, i in zip(NAMES, at, strict=True)}
    facts["nine peak"] = float(slices[9, at[4] + 1 : at[5] + 1].max())
    known = [at[NAMES.index(name)] for name in ("+9", "control", "+9 again")]
    unknown = [i for i in at if i not in known]
    gaps = slices[:, known].min(1).values - slices[:, unknown].max(1).values
    facts["gap"], facts["other gap"] = float(gaps[9]), float(gaps[:9].max())
    return facts
