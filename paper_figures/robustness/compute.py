"""Functional similarity on samples of a law, beside similarities from weights under several measures."""

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import tnsim
from paper_figures.common.cache import Cache
from paper_figures.common.job import Job
from paper_figures.robustness.setting import LAWS, N, checkpoints
from tnsim.lab import Run
from tnsim.nn import BilinearLayer

__all__ = ["compute"]

_GAUSSIAN = ("gaussian", "correlated", "last at −10")  # laws that a mean and a covariance describe fully


def compute(job: Job) -> Cache:
    """Everything the pictures show."""
    s = job.settings
    run = Run.load(job.folder / "run")
    states = [run.state(step) for step in checkpoints(job)]
    models = {
        name: [
            {key: state[key][k * s.seeds + seed].double() for key in ("l", "r", "d")}
            for seed in range(s.seeds)
            for state in states
        ]
        for k, name in enumerate(LAWS)
    }
    test = {name: _samples(law, s.samples, 1) for name, law in LAWS.items()}
    other = {name: _samples(law, s.law_samples, 2) for name, law in LAWS.items()}
    steps = np.array(run.steps * s.seeds)
    i, j = np.triu_indices(len(steps), 1)

    pairs: dict[str, list[np.ndarray]] = {"functional": []}
    cross = np.zeros((len(LAWS), len(LAWS)))
    facts: dict[str, object] = {}
    for column, name in enumerate(tqdm(LAWS, "laws", disable=not job.progress)):
        functional = {law: _functional(models[name], x)[i, j] for law, x in test.items()}
        pairs["functional"].append(functional[name])
        for row, law in enumerate(LAWS):
            cross[row, column] = np.corrcoef(functional[law], functional[name])[0, 1]
        x = other[name]
        mean, cov = x.mean(0), torch.cov(x.T, correction=0)
        root = _root(cov)
        nets = [tnsim.convert(_layer(m)) for m in models[name]]
        rooted = [tnsim.convert(_layer(m | {"l": m["l"] @ root, "r": m["r"] @ root})) for m in models[name]]
        measured = {
            "standard": _gram(nets, tnsim.Symmetric()),
            "covariance": _gram(rooted, tnsim.Symmetric()),
            "gaussian": _gram(nets, tnsim.Gaussian(mean, cov)),
            "samples": _gram(nets, tnsim.Empirical(x[:20_000])),
        }
        for measure, matrix in measured.items():
            pairs.setdefault(measure, []).append(matrix[i, j])
            facts[f"{measure} {name}"] = float(np.corrcoef(matrix[i, j], functional[name])[0, 1])
        last = models[name][len(states) - 1 :: len(states)]
        y = test[name].argsort(-1)[:, -2]
        right = [(_forward(m, test[name]).argmax(-1) == y).double().mean() for m in last]
        facts[f"accuracy {name}"] = float(torch.stack(right).mean())
    best = {n: "gaussian" if n in _GAUSSIAN else "samples" for n in LAWS}
    facts["least"] = min(float(facts[f"{best[n]} {n}"]) for n in LAWS)
    arrays = {name: np.array(values) for name, values in pairs.items()}
    return Cache(arrays | {"cross": cross, "same": steps[i] == steps[j]}, facts | {"best": best})


def _samples(law, n: int, seed: int) -> Tensor:
    return law((n, N), torch.Generator().manual_seed(seed)).double()


def _forward(m: dict[str, Tensor], x: Tensor) -> Tensor:
    return ((x @ m["l"].T) * (x @ m["r"].T)) @ m["d"].T


def _functional(models: list[dict[str, Tensor]], x: Tensor) -> np.ndarray:
    """Cosines of all outputs on all samples, from plain forward passes."""
    outputs = torch.stack([_forward(m, x).flatten() for m in models])
    outputs = outputs / outputs.norm(dim=1, keepdim=True)
    return (outputs @ outputs.T).numpy()


def _gram(nets: list[tnsim.Network], law: tnsim.Measure) -> np.ndarray:
    return tnsim.gram(nets, under=law, progress=False).similarity().numpy()


def _layer(m: dict[str, Tensor]) -> BilinearLayer:
    layer = BilinearLayer(N, len(m["l"]), N).double().requires_grad_(False)
    for name in ("l", "r", "d"):
        getattr(layer, name).weight.copy_(m[name])
    return layer


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp_min(0).sqrt() @ vectors.T
