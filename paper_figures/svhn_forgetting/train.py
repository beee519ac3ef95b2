"""Nine stages of training, each with an optimiser and a schedule of its own."""

from paper_figures.common.job import Job
from paper_figures.svhn_forgetting.setting import STAGES, data, ends, model
from tnsim.lab import Run, Stage, cosine, epochs, fit, threads

__all__ = ["train"]


def train(job: Job) -> Run:
    """Train, or go on with what was interrupted."""
    s, images = job.settings, data(job)
    stages = []
    for name, digits in STAGES:
        part = images.only(digits).to(job.device)
        batches = epochs(part.x_train, part.y_train, s.batch, s.seed)
        steps = s.epochs * (len(part.x_train) // s.batch)
        stages.append(Stage(steps, batches, s.lr, s.weight_decay, cosine, name=f"digits {name}"))
    with threads(1):
        return fit(
            model(job, images).to(job.device),
            stages,
            keep=range(0, ends(job, images)[-1], s.every),
            folder=job.folder / "run",
            resume=True,
            progress=job.progress,
            metadata={"data": job.origin(), "batch": s.batch},
        )
