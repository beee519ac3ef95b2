"""Similarities of the checkpoints: as tensors, class by class, on data, and of raw weights."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from tqdm import tqdm

import tnsim
from paper_figures.common.cache import Cache
from paper_figures.common.job import Job
from paper_figures.common.matrices import cka, gram, weight_cosines
from paper_figures.svhn_forgetting.setting import NAMES, REFERENCE, STAGES, data, ends, model
from tnsim.lab import Run, logits

__all__ = ["compute", "named"]

_SAMPLES = 2000  # validation images for CKA, and training images for curves


def compute(job: Job) -> Cache:
    """Everything the pictures show."""
    images = data(job)
    run = Run.load(job.folder / "run")
    modules = run.models(lambda: model(job, images))
    last = ends(job, images)
    steps = np.array(run.steps)
    stage = np.minimum(np.searchsorted(last, steps), len(last) - 1)
    at_end = [int(np.where(steps == end)[0][0]) for end in last]
    reference = at_end[REFERENCE]

    answers = [logits(m, images.x_test) for m in tqdm(modules, "validation", disable=not job.progress)]
    fits = [logits(m, images.x_train[:_SAMPLES]) for m in tqdm(modules, "training", disable=not job.progress)]
    nets = [tnsim.convert(m.double()) for m in modules]
    products = gram(job, nets, run.steps)
    slices = products.slices()
    matrices = {
        "tensor": products.similarity(),
        "cka": cka([a[:_SAMPLES] for a in answers]),
        "weights": weight_cosines(modules),
    }

    curves = {}
    for part, outputs, y in (
        ("train", fits, images.y_train[:_SAMPLES]),
        ("validation", answers, images.y_test),
    ):
        rows = [_scores(f, y, STAGES[k][1]) for f, k in zip(outputs, stage, strict=True)]
        curves[f"{part}_accuracy"], curves[f"{part}_loss"] = map(np.array, zip(*rows, strict=True))
    digits = torch.stack([a.argmax(1) for a in answers]) == images.y_test
    curves["digits"] = np.array([digits[:, images.y_test == k].double().mean(1).numpy() for k in range(10)])
    heads = torch.stack([m.head.weight for m in modules]).transpose(0, 1)  # (class, checkpoint, feature)
    rows_cosine = torch.nn.functional.cosine_similarity(heads, heads[:, reference][:, None], dim=-1)

    shown = np.unique(np.linspace(0, len(steps) - 1, min(job.settings.shown, len(steps))).round().astype(int))
    to_reference = {f"{name}_curve": m[reference] for name, m in matrices.items()}
    arrays = (
        {name: m[shown][:, shown] for name, m in matrices.items()}
        | to_reference
        | curves
        | {
            "slices": slices[:, shown][:, :, shown],
            "slice_curves": slices[:, reference],
            "row_curves": rows_cosine,
            "steps": steps,
            "ends": np.array(last),
            "shown": shown,
            "shown_stage": stage[shown],
        }
    )
    return Cache(
        {k: np.asarray(v) for k, v in arrays.items()},
        _facts(arrays, at_end, steps) | {"named": named(nets, at_end)},
    )


def named(nets: Sequence[tnsim.Network], at_end: Sequence[int]) -> str:
    """The class that `localise` names for the change that every stage made: its end against the end before."""
    found = {
        name: tnsim.localise(nets[a], nets[b])
        for name, (a, b) in zip(NAMES[1:], pairwise(at_end), strict=True)
    }
    return ", ".join(f"{name}: {f.output if f.changed else 'none'}" for name, f in found.items())


def _scores(f: torch.Tensor, y: torch.Tensor, digits: tuple[int, ...]) -> tuple[float, float]:
    """Accuracy and loss on the digits of a stage."""
    of_stage = torch.isin(y, torch.tensor(digits))
    f, y = f[of_stage], y[of_stage]
    return float((f.argmax(1) == y).double().mean()), float(torch.nn.functional.cross_entropy(f, y))


def _facts(arrays: dict, at_end: list[int], steps: np.ndarray) -> dict:
    end = dict(zip(NAMES, at_end, strict=True))
    nine = arrays["slice_curves"][9]
    late = slice(end["control"] + 1, None)
    others = arrays["slice_curves"][:9, end["−9"]]
    values = {
        "accuracy": arrays["validation_accuracy"][end["+9"]],
        "nine_added": arrays["digits"][9, end["+9"]],
        "nine_removed": arrays["digits"][9, end["−9"]],
        "tensor_base": arrays["tensor_curve"][end["0–4"]],
        "tensor_control": arrays["tensor_curve"][end["control"]],
        "tensor_removed": arrays["tensor_curve"][end["−9"]],
        "tensor_readded": arrays["tensor_curve"][end["+9 again"]],
        "cka_least": arrays["cka_curve"][late].min(),
        "cka_removed": arrays["cka_curve"][end["−9"]],
        "weight_removed": arrays["weights_curve"][end["−9"]],
        "nine_base": nine[end["0–4"]],
        "slice_removed": nine[end["−9"]],
        "slice_readded": nine[end["+9 again"]],
        "row_removed": arrays["row_curves"][9, end["−9"]],
        "others_removed": others.min(),
    }
    return {name: float(value) for name, value in values.items()} | {"steps": int(steps[-1])}
