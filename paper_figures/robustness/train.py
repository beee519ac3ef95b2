"""All models of all laws at once: one optimiser step for everyone, on batches of their own."""

from torch import Tensor, nn

from paper_figures.common.job import Job
from paper_figures.robustness.setting import checkpoints, draw, model
from tnsim.lab import Run, Stage, fit, fresh, threads

__all__ = ["train"]


def _loss(answer: Tensor, y: Tensor) -> Tensor:
    """The sum of the models' mean losses: as many separate trainings."""
    loss = nn.functional.cross_entropy(answer.flatten(0, 1), y.flatten(), reduction="sum")
    return loss / y.shape[1]


def train(job: Job) -> Run:
    """Train, or go on with what was interrupted."""
    s = job.settings
    with threads(job.threads):
        return fit(
            model(job),
            [Stage(s.steps, fresh(lambda dice: draw(job, dice)), s.lr)],
            keep=checkpoints(job),
            loss=_loss,
            folder=job.folder / "run",
            resume=True,
            progress=job.progress,
            metadata={"batch": s.batch, "seeds": s.seeds},
        )
