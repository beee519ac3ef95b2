"""One run on windows of text."""

from torch import Generator, Tensor, nn

from paper_figures.common.job import Job
from paper_figures.language.setting import checkpoints, model, schedule, text
from tnsim.lab import Run, Stage, fit, fresh, threads

__all__ = ["train"]

_WINDOWS = 2000  # for the losses


def _loss(logits: Tensor, following: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.flatten(0, -2), following.flatten())


def train(job: Job) -> Run:
    """Train, or go on with what was interrupted."""
    s, words = job.settings, text(job)
    parts = {
        part: words.windows(part, _WINDOWS, s.window + 1, Generator().manual_seed(s.seed)).to(job.device)
        for part in ("train", "validation")
    }

    def draw(dice: Generator) -> tuple[Tensor, Tensor]:
        ids = words.windows("train", s.batch, s.window + 1, dice).to(job.device)
        return ids[:, :-1], ids[:, 1:]

    def metrics(m: nn.Module) -> dict[str, float]:
        return {f"{part}_loss": float(_loss(m(ids[:, :-1]), ids[:, 1:])) for part, ids in parts.items()}

    with threads(job.threads):
        return fit(
            model(job).to(job.device),
            [Stage(s.steps, fresh(draw, s.seed), s.lr, s.weight_decay, schedule, (0.9, 0.95), 1.0)],
            keep=checkpoints(job),
            loss=_loss,
            metrics=metrics,
            folder=job.folder / "run",
            resume=True,
            progress=job.progress,
            metadata={"data": job.origin(), "batch": s.batch, "window": s.window},
        )
