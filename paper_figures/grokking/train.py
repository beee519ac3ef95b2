"""One run, long after everything is memorised."""

from torch import nn

from paper_figures.common.job import Job
from paper_figures.grokking.setting import checkpoints, grid, model, split
from tnsim.lab import Run, Stage, epochs, fit, logits, threads

__all__ = ["train"]


def train(job: Job) -> Run:
    """Train, or go on with what was interrupted."""
    s = job.settings
    x, y = (part.to(job.device) for part in grid(s.p))
    parts = dict(zip(("train", "validation"), split(job), strict=True))

    def metrics(m: nn.Module) -> dict[str, float]:
        row = {}
        for name, chosen in parts.items():
            answer = logits(m, x[chosen]).double()
            row[f"{name}_accuracy"] = float((answer.argmax(1) == y[chosen]).double().mean())
            row[f"{name}_loss"] = float(nn.functional.cross_entropy(answer, y[chosen]))
        return row

    batches = epochs(x[parts["train"]], y[parts["train"]], min(s.batch, len(parts["train"])), s.seed)
    with threads(job.threads):
        return fit(
            model(job).to(job.device),
            [Stage(s.steps, batches, s.lr, s.weight_decay)],
            keep=checkpoints(job),
            metrics=metrics,
            folder=job.folder / "run",
            resume=True,
            progress=job.progress,
            metadata={"p": s.p, "share": s.share, "batch": s.batch},
        )
