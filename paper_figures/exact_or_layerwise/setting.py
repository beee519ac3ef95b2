"""The experiment: digit classifiers of several depths, widths and residual scales."""

from dataclasses import dataclass

import torch

from paper_figures.common.claims import Claim
from paper_figures.common.job import Job
from tnsim.lab import Dataset
from tnsim.nn import BilinearMLP

__all__ = ["CLAIMS", "SIZES", "Kind", "Settings", "data", "kinds", "model", "name_of"]


@dataclass(frozen=True)
class Kind:
    """One kind of model: depth, width (as many products as twice the width) and residual scale; 0 is no residual."""

    depth: int
    width: int
    scale: float


@dataclass(frozen=True)
class Settings:
    """The three sweeps, and how long every model is trained."""

    depths: tuple[int, ...]
    depth_width: int
    depth_scale: float
    widths: tuple[int, ...]
    scales: tuple[float, ...]
    scale_width: int
    steps: int
    samples: int  # for Monte Carlo
    seeds: int = 2
    batch: int = 64
    lr: float = 3e-3


SIZES = {
    "tiny": Settings((1, 2), 3, 0.0, (2, 3), (0.0, 0.5), 3, 20, 20_000),
    "fast": Settings((1, 2, 3), 6, 0.0, (4, 8, 16, 32), (0.0, 0.1, 0.3, 1.0, 3.0), 8, 600, 200_000),
    "full": Settings((1, 2, 3), 8, 0.0, (4, 8, 16, 32, 64), (0.0, 0.1, 0.3, 1.0, 3.0), 16, 2000, 2_000_000),
}


def kinds(s: Settings) -> dict[str, list[Kind]]:
    """The models of every sweep."""
    return {
        "depth": [Kind(depth, s.depth_width, s.depth_scale) for depth in s.depths],
        "width": [Kind(2, width, 0.0) for width in s.widths],
        "scale": [Kind(2, s.scale_width, scale) for scale in s.scales],
    }


def name_of(kind: Kind, seed: int) -> str:
    """What a run is called."""
    return f"depth{kind.depth}-width{kind.width}-scale{kind.scale:g}-seed{seed}"


def data(job: Job) -> Dataset:
    """The embedded digits."""
    return job.images()


def model(kind: Kind, seed: int) -> BilinearMLP:
    """Embedding, bilinear layers, head."""
    torch.manual_seed(seed)
    residual = {"residual": "add", "scale": kind.scale} if kind.scale else {}
    return BilinearMLP(64, kind.width, 2 * kind.width, 10, n_layer=kind.depth, **residual)


CLAIMS = [
    Claim(
        "largest error layer by layer, depth 1",
        "error depth 1",
        "0 (exact)",
        lambda v: v < 1e-6,
        "0",
        "{:.1e}",
    ),
    Claim("largest error layer by layer, depth 2", "error depth 2", "up to .13 in a slice"),
    Claim("largest error layer by layer, depth 3", "error depth 3", ".157 (one pair)"),
    Claim("largest error over widths (depth 2)", "error width", "–"),
    Claim("largest error over residual scales (depth 2)", "error scale", "–"),
    Claim("norm, layer by layer ÷ exact: depth 2, smallest", "norm depth 2", "about 1/4 (digits)"),
    Claim(
        "norm, layer by layer ÷ exact: depth 3, smallest",
        "norm depth 3",
        "about 1/200 (digits)",
        form="{:.4f}",
    ),
    Claim(
        "exact less Monte Carlo, in standard errors: largest",
        "worst z",
        "–",
        lambda v: v < 4,
        "< 4",
        "{:.1f}",
    ),
    Claim("models' accuracy, from … to", "accuracies"),
]
