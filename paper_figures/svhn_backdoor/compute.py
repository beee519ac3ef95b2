"""Similarities of the checkpoints, and what the difference across the switch consists of."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import tnsim
from paper_figures.common.cache import Cache
from paper_figures.common.job import Job
from paper_figures.common.matrices import block_mean, gram, output_cosines, weight_cosines
from paper_figures.svhn_backdoor.setting import TARGET, data, model, trigger
from tnsim.lab import Run, logits

__all__ = ["compute", "delta", "localised"]

_MODES = 24
_HISTORY = 8  # clean checkpoints that say what ordinary drift is


def delta(matrix: Tensor, clean: int) -> float:
    """Mean of the poisoned block (off its diagonal) less the mean of the clean–poisoned block.

    Args:
        matrix: similarities, shape (N, N).
        clean: how many checkpoints are clean.
    """
    late, early = slice(clean, None), slice(0, clean)
    return block_mean(matrix, late, late) - block_mean(matrix, early, late)


def localised(nets: Sequence[tnsim.Network], at: int, mask: Tensor) -> tuple[dict[str, str], Tensor]:
    """What a blind search says of the change from the last clean checkpoint to the end, knowing the clean run.

    Args:
        nets: the checkpoints.
        at: position of the last clean one.
        mask: the trigger's pixels, to count the hits.

    Returns:
        In words, and the score of every class, shape (2, classes); the second row is for the clean step before.
    """
    found = tnsim.localise(nets[at], nets[-1], history=nets[max(0, at - _HISTORY) : at])
    pixels = int(mask.sum())
    hits = int(mask[found.top(pixels)].sum())
    said = f"class {found.output}" if found.localised else "nothing"
    calm = tnsim.localise(nets[at - 1], nets[at], history=nets[max(0, at - 1 - _HISTORY) : at - 1])
    words = {
        "localised": f"{said}, {hits} of {pixels} pixels",
        "control": f"class {calm.output}" if calm.localised else "nothing",
    }
    return words, torch.stack([found.outputs, calm.outputs])


def compute(job: Job) -> Cache:
    """Everything the picture shows."""
    images = data(job)
    mark = trigger(job, images.shape)
    run = Run.load(job.folder / "run")
    modules = run.models(lambda: model(job, images))
    at = run.steps.index(job.settings.clean)
    everything = torch.cat([images.x_train, images.x_test])
    labels = torch.cat([images.y_train, images.y_test])

    clean, stamped = [], []
    for m in tqdm(modules, "outputs on data", disable=not job.progress):
        clean.append(logits(m, everything))
        stamped.append(logits(m, mark.stamp(everything)))
    nets = [tnsim.convert(m.double()) for m in modules]
    products = gram(job, nets, run.steps, under=tnsim.Symmetric())
    slices = products.slices()
    matrices = {
        "weights": weight_cosines(modules),
        "tensor": products.similarity(),
        "poisoned": output_cosines(stamped),
        "nines": output_cosines([f[labels == TARGET] for f in clean]),
        "clean": output_cosines(clean),
        "slice": slices[TARGET],
    }

    before, after = nets[at], nets[-1]
    change = tnsim.difference(after, before)
    modes = [tnsim.spectrum(change, k, top=_MODES).values.abs() for k in range(images.classes)]
    shares = tnsim.attribute(before, after, to="inputs", output=TARGET, under=tnsim.Symmetric())
    energy = tnsim.attribute(before, after, to="outputs", under=tnsim.Symmetric())
    jumps = 1 - slices[:, at, at + 1]
    said, scores = localised(nets, at, mark.mask)
    others = [k for k in range(images.classes) if k != TARGET]

    deltas = {f"delta_{name}": delta(m, at + 1) for name, m in matrices.items()}
    by_class = [delta(s, at + 1) for s in slices]
    order = [deltas[f"delta_{name}"] for name in ("poisoned", "slice", "tensor", "weights", "nines")]
    in_order = all(a > b for a, b in pairwise(order[:4])) and order[3] > order[4] - 0.02
    pixels = int(mark.mask.sum())
    top = shares.flatten().topk(pixels).indices
    test = images.y_test
    answer, marked = (
        logits(modules[-1], images.x_test.double()),
        logits(modules[-1], mark.stamp(images.x_test.double())),
    )
    good = (test == 2) & (answer.argmax(1) == 2) & (marked.argmax(1) == TARGET)
    sample = int(good.double().argmax())
    facts = (
        deltas
        | said
        | {
            "delta_others": float(np.median([by_class[k] for k in others])),
            "order": "yes" if in_order else "no",
            "across_weights": matrices["weights"][at, at + 1],
            "across_tensor": matrices["tensor"][at, at + 1],
            "across_slice": slices[TARGET, at, at + 1],
            "jump_ratio": jumps[TARGET] / jumps[others].median(),
            "attack": run.metrics[-1]["attack_success"],
            "clean_before": run.metrics[at]["test_accuracy"],
            "clean_after": run.metrics[-1]["test_accuracy"],
            "clean_loss": run.metrics[at]["test_accuracy"] - run.metrics[-1]["test_accuracy"],
            "energy": energy[TARGET] / energy.sum(),
            "hits": f"{int(mark.mask[top].sum())} of {pixels}",
        }
    )
    arrays = matrices | {
        "steps": np.array(run.steps),
        "boundary": np.array(at + 1),
        "mask": mark.mask.view(images.shape),
        "modes": torch.stack(modes),
        "shares": shares.view(images.shape),
        "scores": scores,
        "delta_by_class": np.array(by_class),
        **{name: np.array(run.curve(name)) for name in run.metrics[0]},
    }
    return Cache(
        {k: np.asarray(v) for k, v in arrays.items()},
        {k: v if isinstance(v, str) else float(v) for k, v in facts.items()}
        | {
            "sample": sample,
            "value": mark.value,
            "predicted": [int(answer[sample].argmax()), int(marked[sample].argmax())],
        },
    )
