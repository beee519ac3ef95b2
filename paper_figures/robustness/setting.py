"""The experiment: the position of the second largest of four numbers, under nine laws."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from paper_figures.common.claims import Claim
from paper_figures.common.job import Job

__all__ = ["CLAIMS", "LAWS", "SIZES", "N", "Settings", "Stack", "checkpoints", "draw", "model"]

N = 4  # numbers in a row

_A = torch.tensor([[1, 0.8, 0.3, 0.1], [0.8, 1, 0.5, 0.2], [0.3, 0.5, 1, 0.7], [0.1, 0.2, 0.7, 1]])


def _normal(shape: tuple[int, ...], dice: Generator) -> Tensor:
    return torch.randn(shape, generator=dice)


def _uniform(shape: tuple[int, ...], dice: Generator) -> Tensor:
    return torch.rand(shape, generator=dice)


def _laplace(shape: tuple[int, ...], dice: Generator) -> Tensor:
    u = _uniform(shape, dice) - 0.5
    return -(0.5**0.5) * u.sign() * torch.log1p(-(2 * u.abs()).clamp_max(1 - 1e-7))


def _bimodal(shape: tuple[int, ...], dice: Generator) -> Tensor:
    return (_uniform(shape, dice) < 0.5).float() * 2 - 1 + 0.3 * _normal(shape, dice)


def _sparse(shape: tuple[int, ...], dice: Generator) -> Tensor:
    return (_uniform(shape, dice) < 0.25) * _normal(shape, dice) / 0.25**0.5


def _last_fixed(shape: tuple[int, ...], dice: Generator) -> Tensor:
    x = _normal(shape, dice)
    x[..., -1] = -10.0
    return x


LAWS: dict[str, Callable[[tuple[int, ...], Generator], Tensor]] = {
    "gaussian": _normal,
    "half-gaussian": lambda shape, dice: _normal(shape, dice).abs(),
    "bimodal": _bimodal,
    "uniform": lambda shape, dice: 2 * _uniform(shape, dice) - 1,
    "laplace": _laplace,
    "sparse spikes": _sparse,
    "permutation": lambda shape, dice: _uniform(shape, dice).argsort(-1).float() + 1,
    "correlated": lambda shape, dice: _normal(shape, dice) @ torch.linalg.cholesky(_A).T,
    "last at −10": _last_fixed,
}


@dataclass(frozen=True)
class Settings:
    """Sizes of the runs, and of the samples on which they are compared."""

    seeds: int
    steps: int
    batch: int
    samples: int  # for functional similarity
    law_samples: int  # from which means, covariances and data averages are taken
    rank: int = 32
    lr: float = 0.01


SIZES = {
    "tiny": Settings(2, 16, 64, 2000, 2000, rank=8),
    "fast": Settings(3, 1024, 256, 20_000, 20_000),
    "full": Settings(5, 4096, 512, 50_000, 100_000),
}


class Stack(nn.Module):
    """Bilinear models of every law and every seed, side by side; they share nothing.

    Args:
        models: how many.
        rank: products in each.
    """

    def __init__(self, models: int, rank: int):
        super().__init__()
        self.l = nn.Parameter(0.1 * torch.randn(models, rank, N))
        self.r = nn.Parameter(0.1 * torch.randn(models, rank, N))
        self.d = nn.Parameter(0.1 * torch.randn(models, N, rank))

    def forward(self, x: Tensor) -> Tensor:
        """From (models, batch, 4) to logits of the same shape."""
        return (x @ self.l.mT * (x @ self.r.mT)) @ self.d.mT


def model(job: Job) -> Stack:
    """All models at their start; those of one seed start alike under every law."""
    s = job.settings
    stack = Stack(len(LAWS) * s.seeds, s.rank)
    for seed in range(s.seeds):
        torch.manual_seed(seed)
        one = Stack(1, s.rank)
        for name, value in stack.named_parameters():
            value.data[seed :: s.seeds] = one.get_parameter(name).data
    return stack


def draw(job: Job, dice: Generator) -> tuple[Tensor, Tensor]:
    """A batch for every model, and where the second largest number is."""
    s = job.settings
    x = torch.cat([law((s.seeds, s.batch, N), dice) for law in LAWS.values()])
    return x, x.argsort(-1)[..., -2]


def checkpoints(job: Job) -> list[int]:
    """0 and the powers of two."""
    return [0, *(2**k for k in range(job.settings.steps.bit_length()) if 2**k <= job.settings.steps)]


_STANDARD = (".997", ".920", ".987", ".994", ".992", ".977", ".964", ".954", ".606")
_GENERALISED = (".997", ".920", ".987", ".994", ".992", ".978", ".933", ".991", ".498")

CLAIMS = [
    *(Claim(f"standard (symmetric): {n}", f"standard {n}", p) for n, p in zip(LAWS, _STANDARD, strict=True)),
    *(
        Claim(f"with the covariance (symmetric): {n}", f"covariance {n}", p)
        for n, p in zip(LAWS, _GENERALISED, strict=True)
    ),
    *(Claim(f"`Gaussian(mean, cov)`: {n}", f"gaussian {n}") for n in LAWS),
    *(
        Claim(f"`Empirical(other samples)`: {n}", f"samples {n}", "–", lambda v: v >= 0.99, "≥ .99", "{:.4f}")
        for n in LAWS
    ),
    Claim("smallest r with the right law", "least", "–", lambda v: v >= 0.99, "≥ .99", "{:.4f}"),
    Claim("final accuracy: gaussian", "accuracy gaussian", ".501"),
    Claim("final accuracy: permutation", "accuracy permutation", "1"),
    Claim("final accuracy: last at −10", "accuracy last at −10", ".990"),
]
