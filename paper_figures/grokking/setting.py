"""The experiment: data, model, checkpoints, and what is claimed."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paper_figures.common.claims import Claim
from paper_figures.common.job import Job
from tnsim.nn import BilinearClassifier

__all__ = ["CLAIMS", "NAMES", "SIZES", "Settings", "checkpoints", "grid", "model", "split"]

NAMES = ("start", "memorise", "plateau", "grok", "consolidate")


@dataclass(frozen=True)
class Settings:
    """Sizes of one run: addition modulo p."""

    p: int
    d_hidden: int
    steps: int
    batch: int
    share: float  # of the pairs that are trained on
    lr: float
    weight_decay: float
    checkpoints: int
    modes: int = 4  # of every output, for its frequencies
    seed: int = 1337


SIZES = {
    "tiny": Settings(11, 16, 300, 48, 0.5, 5e-3, 0.3, 12),
    "fast": Settings(31, 32, 8000, 384, 0.5, 5e-3, 1.0, 60),
    "full": Settings(113, 64, 100_000, 512, 0.3, 1e-3, 0.3, 100),
}


def grid(p: int) -> tuple[Tensor, Tensor]:
    """All pairs (a, b) as two one-hot vectors side by side, shape (p², 2p), and their sums modulo p."""
    a, b = torch.arange(p).repeat_interleave(p), torch.arange(p).repeat(p)
    one_hot = nn.functional.one_hot
    return torch.cat([one_hot(a, p), one_hot(b, p)], dim=1).float(), (a + b) % p


def split(job: Job) -> tuple[Tensor, Tensor]:
    """Positions of the training pairs and of the others."""
    n = job.settings.p**2
    order = torch.randperm(n, generator=torch.Generator().manual_seed(job.settings.seed))
    trained = int(job.settings.share * n)
    return order[:trained], order[trained:]


def model(job: Job) -> nn.Module:
    """One bilinear layer."""
    torch.manual_seed(job.settings.seed)
    return BilinearClassifier(2 * job.settings.p, job.settings.d_hidden, job.settings.p)


def checkpoints(job: Job) -> list[int]:
    """Steps that lie close together at first: total · (i/n)⁵, rounded down."""
    s = job.settings
    n = s.checkpoints - 1
    return sorted({int(s.steps * (i / n) ** 5) for i in range(n + 1)})


CLAIMS = [
    Claim("training accuracy 1 from step", "memorised", "1374", form="{:.0f}"),
    Claim("validation accuracy ≥ .95 from step", "grokked", "11 290", form="{:.0f}"),
    Claim("validation accuracy at the end", "accuracy", "1", lambda v: v >= 0.99, "≥ .99"),
    Claim("largest validation loss", "loss_peak", "7.81", form="{:.2f}"),
    Claim(
        "memorised before understood: ratio of the two steps",
        "delay",
        "8.2",
        lambda v: v > 2,
        "> 2",
        "{:.1f}",
    ),
    Claim("five phases begin at the checkpoints", "phases", "0, 124, 1545, 7517, 24953"),
    Claim("similarity inside the phases, mean", "inside", ".886"),
    Claim("… between neighbouring phases, mean", "neighbours", ".532"),
    Claim("… between phases further apart, mean", "apart", ".108"),
    Claim(
        "blocks: every phase is more alike inside than to any other",
        "blocks",
        "yes",
        lambda v: v == "yes",
        "yes",
    ),
    Claim("similarity of the first checkpoint to the last", "first_last", ".001"),
    Claim(
        "correlation of tensor and behavioural similarity", "r_behaviour", ".998", lambda v: v > 0.95, "> .95"
    ),
    Claim("correlation of tensor similarity and the cosine of marginals", "r_marginals", "–"),
    Claim("most used frequencies at the end (share)", "top", "43 (.141), 3 (.085), 5 (.061), 28 (.044)"),
]
