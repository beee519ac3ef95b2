"""The experiment: data, model, trigger, and what is claimed."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from paper_figures.common.cache import Cache
from paper_figures.common.claims import Claim
from paper_figures.common.job import Job
from tnsim.lab import Backdoor, Dataset
from tnsim.nn import BilinearClassifier

__all__ = ["CLAIMS", "SIZES", "TAKES", "TARGET", "Settings", "data", "model", "samples", "trigger"]

TAKES = "images"
TARGET = 9


@dataclass(frozen=True)
class Settings:
    """Sizes of one run. The trigger is a diamond of `height` × `width` pixels of one value, at the top right."""

    d_hidden: int
    batch: int
    steps: int
    clean: int  # the last clean step
    every: int
    lr: float
    weight_decay: float
    noise: float
    height: int
    width: int
    margin: int
    value: float
    share: float = 0.1
    seed: int = 1337
    side: int = 20  # of the embedded digits, enlarged


SIZES = {
    "tiny": Settings(16, 128, 60, 40, 10, 2e-3, 1e-3, 0.05, 5, 3, 1, 1.0),
    "fast": Settings(64, 128, 3000, 2400, 75, 2e-4, 1e-2, 0.15, 5, 3, 1, 1.0),
    "full": Settings(64, 512, 10_000, 8000, 250, 1e-3, 1e-3, 0.05, 7, 5, 2, 0.0),
}


def data(job: Job) -> Dataset:
    """Digits: embedded and enlarged, or from a file."""
    return job.images(job.settings.side)


def model(job: Job, images: Dataset) -> nn.Module:
    """One bilinear layer."""
    torch.manual_seed(job.settings.seed)
    return BilinearClassifier(images.x_train.shape[1], job.settings.d_hidden, images.classes)


def trigger(job: Job, shape: tuple[int, int]) -> Backdoor:
    """The diamond."""
    s = job.settings
    return Backdoor.diamond(shape, s.height, s.width, margin=s.margin, value=s.value, target=TARGET)


def samples(job: Job, cache: Cache) -> dict[str, Any]:
    """The image that the picture shows; it is no part of the cache."""
    return {"sample": data(job).x_test[cache.facts["sample"]].numpy()}


_ORDER = (
    "published order: behavioural on poisoned > class 9 > tensor > matrix > behavioural on class 9, or level"
)

CLAIMS = [
    Claim("Δ behavioural, poisoned inputs", "delta_poisoned", ".620"),
    Claim("Δ tensor, class 9", "delta_slice", ".431"),
    Claim("Δ tensor", "delta_tensor", ".236"),
    Claim("Δ matrix cosine", "delta_weights", ".150"),
    Claim("Δ behavioural, class-9 inputs", "delta_nines", ".088"),
    Claim("these five fall in this order (the last two at most .02 apart)", "order", "yes", lambda v: v == "yes", "yes"),
    Claim("Δ tensor, median of the other class slices", "delta_others", ".213"),
    Claim("Δ behavioural, all clean inputs", "delta_clean", ".088"),
    Claim("similarity across the switch: matrix cosine", "across_weights", ".991"),
    Claim("similarity across the switch: tensor", "across_tensor", ".979"),
    Claim("similarity across the switch: tensor, class 9", "across_slice", ".835"),
    Claim("jump of slice 9 at the switch ÷ the median one's", "jump_ratio", "about 16", lambda v: v >= 5, "≥ 5", "{:.1f}"),
    Claim("attack success at the end", "attack", ".957", lambda v: v >= 0.9, "≥ .9"),
    Claim("test accuracy at the last clean step", "clean_before", ".814"),
    Claim("test accuracy at the end", "clean_after", ".810"),
    Claim("loss of clean accuracy", "clean_loss", ".004", lambda v: v <= 0.03, "≤ .03"),
    Claim("share of class 9 in the squared distance, last clean step to the end", "energy", "–"),
    Claim("`localise`, last clean step to the end", "localised", "–", lambda v: v.startswith("class 9"), "class 9"),
    Claim("`localise`, the clean step before that", "control", "–", lambda v: v == "nothing", "nothing"),
    Claim("trigger pixels among as many inputs with the largest shares", "hits", "–"),
]  # fmt: skip
