"""The experiment: data, model, stages, and what is claimed."""

from dataclasses import dataclass

import torch
from torch import nn

from paper_figures.common.claims import Claim
from paper_figures.common.job import Job
from tnsim.lab import Dataset
from tnsim.nn import BilinearMLP

__all__ = ["CLAIMS", "NAMES", "SIZES", "STAGES", "TAKES", "Settings", "data", "ends", "model"]

TAKES = "images"

STAGES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("0–4", (0, 1, 2, 3, 4)),
    *((f"+{n}", tuple(range(n + 1))) for n in range(5, 10)),
    ("control", tuple(range(10))),
    ("−9", tuple(range(9))),
    ("+9 again", tuple(range(10))),
)
NAMES = tuple(name for name, _ in STAGES)
REFERENCE = 5  # the stage at whose end all ten digits are known for the first time


@dataclass(frozen=True)
class Settings:
    """Sizes of one run; `epochs` and `batch` say how long a stage is."""

    d_model: int
    d_hidden: int
    batch: int
    epochs: int
    lr: float
    weight_decay: float
    every: int  # steps between recorded checkpoints
    shown: int  # checkpoints in the heat maps
    seed: int = 123


# Full size: 76 epochs of 19 238 images are as many steps a stage as the paper's 20 epochs of 73 257.
SIZES = {
    "tiny": Settings(8, 8, 128, 2, 5e-3, 0.5, every=10, shown=18),
    "fast": Settings(32, 64, 32, 40, 3e-3, 0.5, every=80, shown=60),
    "full": Settings(128, 256, 248, 76, 1e-3, 0.5, every=150, shown=80),
}


def data(job: Job) -> Dataset:
    """Digits: embedded at 8 × 8 pixels, or from a file."""
    return job.images()


def model(job: Job, images: Dataset) -> nn.Module:
    """Embedding, one bilinear layer without residual, head."""
    s = job.settings
    torch.manual_seed(s.seed)
    return BilinearMLP(images.x_train.shape[1], s.d_model, s.d_hidden, images.classes, n_layer=1)


def ends(job: Job, images: Dataset) -> list[int]:
    """The last step of every stage."""
    s = job.settings
    steps = [s.epochs * (len(images.only(digits).x_train) // s.batch) for _, digits in STAGES]
    return [sum(steps[: k + 1]) for k in range(len(steps))]


CLAIMS = [
    Claim("validation accuracy with ten digits, end of +9", "accuracy", ".822"),
    Claim("accuracy on digit 9: end of +9", "nine_added", ".760"),
    Claim("accuracy on digit 9: end of −9", "nine_removed", "0", lambda v: v < 0.05, "< .05"),
    Claim("tensor similarity to the end of +9: end of 0–4", "tensor_base", ".076"),
    Claim("… end of control", "tensor_control", ".995", lambda v: v > 0.9, "> .9"),
    Claim("… end of −9", "tensor_removed", ".814"),
    Claim("… end of +9 again", "tensor_readded", ".995", lambda v: v > 0.9, "> .9"),
    Claim(
        "CKA on logits, smallest from −9 on", "cka_least", ".890 (block mean)", lambda v: v >= 0.85, "≥ .85"
    ),
    Claim("CKA on logits: end of −9", "cka_removed", ".930", lambda v: v >= 0.85, "≥ .85"),
    Claim("matrix cosine: end of −9", "weight_removed", ".930"),
    Claim("tensor slice of class 9: end of 0–4", "nine_base", "−.072"),
    Claim("tensor slice of class 9: end of −9", "slice_removed", "−.072", lambda v: v < 0.3, "< .3"),
    Claim("tensor slice of class 9: end of +9 again", "slice_readded", ".990", lambda v: v > 0.95, "> .95"),
    Claim("head's row of class 9: end of −9", "row_removed", ".857"),
    Claim("smallest of the other nine slices at the end of −9", "others_removed", "–"),
    Claim("class that `localise` names for each stage (end against end)", "named"),
]
