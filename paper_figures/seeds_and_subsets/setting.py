"""The experiment: one model learns classes one by one; another, on other images and from another seed, learns 9 last."""

from dataclasses import dataclass

import torch

from paper_figures.common.claims import Claim
from paper_figures.common.job import Job
from paper_figures.svhn_forgetting.setting import NAMES, STAGES
from tnsim.lab import Dataset
from tnsim.nn import BilinearMLP

__all__ = ["CLAIMS", "SIZES", "TAKES", "Settings", "halves", "model", "plan"]

TAKES = "images"


@dataclass(frozen=True)
class Settings:
    """Sizes of both models, trained alike on halves of the images that share none."""

    d_model: int
    d_hidden: int
    batch: int
    epochs: int
    lr: float
    weight_decay: float
    every: int
    seeds: tuple[int, int] = (123, 456)


SIZES = {
    "tiny": Settings(8, 8, 64, 2, 5e-3, 0.5, every=20),
    "fast": Settings(32, 64, 32, 40, 3e-3, 0.5, every=60),
    "full": Settings(128, 256, 248, 20, 1e-3, 0.5, every=100),
}


def halves(job: Job) -> list[Dataset]:
    """Two data sets with the same test images and no training image in common."""
    images = job.images()
    return [images.part(k, 2) for k in range(2)]


def plan(which: int) -> list[tuple[str, tuple[int, ...]]]:
    """The stages of the first model, and of the second."""
    return list(STAGES) if which == 0 else [("0–8", tuple(range(9))), ("+9", tuple(range(10)))]


def model(job: Job, which: int) -> BilinearMLP:
    """One of the two models at its start."""
    s = job.settings
    torch.manual_seed(s.seeds[which])
    pixels = job.images().x_train.shape[1]
    return BilinearMLP(pixels, s.d_model, s.d_hidden, 10, n_layer=1)


_GLOBAL = ("−.285", "−.307", "−.296", "−.369", "−.392", ".216", ".212", "−.300", ".221")
_NINE = ("−.833", "−.869", "−.860", "−.884", "−.890", ".382", ".350", "−.863", ".387")

CLAIMS = [
    *(Claim(f"all classes, end of {n}", f"all {n}", p) for n, p in zip(NAMES, _GLOBAL, strict=True)),
    *(Claim(f"class 9, end of {n}", f"nine {n}", p) for n, p in zip(NAMES, _NINE, strict=True)),
    Claim("class 9, largest inside +9", "nine peak", ".606"),
    Claim("class 9: least with 9 known, less most without", "gap", "1.18", lambda v: v > 0.3, "> .3"),
    Claim("the same for the other classes, largest", "other gap"),
    Claim("similarity of both models at the end, all classes", "models", "–"),
]
