"""Clean steps, then poisoned ones, with one optimiser."""

from torch import nn

from paper_figures.common.job import Job
from paper_figures.svhn_backdoor.setting import data, model, trigger
from tnsim.lab import Run, Stage, accuracy, attack_success, epochs, fit, noisy, poisoned, threads

__all__ = ["train"]


def train(job: Job) -> Run:
    """Train, or go on with what was interrupted."""
    s, images = job.settings, data(job)
    mark = trigger(job, images.shape)
    here = images.to(job.device)
    batches = epochs(here.x_train, here.y_train, s.batch, s.seed)
    batches = noisy(poisoned(batches, mark, s.share, s.clean, s.seed), s.noise, s.seed)

    def metrics(m: nn.Module) -> dict[str, float]:
        return {
            "train_accuracy": accuracy(m, here.x_train, here.y_train),
            "test_accuracy": accuracy(m, here.x_test, here.y_test),
            "attack_success": attack_success(m, mark, here.x_test, here.y_test),
        }

    with threads(job.threads):
        return fit(
            model(job, images).to(job.device),
            [Stage(s.steps, batches, s.lr, s.weight_decay)],
            keep=range(0, s.steps, s.every),
            metrics=metrics,
            folder=job.folder / "run",
            resume=True,
            progress=job.progress,
            metadata={"data": job.origin(), "batch": s.batch, "noise": s.noise, "clean": s.clean},
        )
