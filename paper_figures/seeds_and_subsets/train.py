"""Both models, stage by stage."""

from paper_figures.common.job import Job
from paper_figures.seeds_and_subsets.setting import halves, model, plan
from tnsim.lab import Stage, cosine, epochs, fit, threads

__all__ = ["train"]


def train(job: Job) -> None:
    """Train, or go on with what was interrupted."""
    s = job.settings
    for which, half in enumerate(halves(job)):
        stages = []
        for name, digits in plan(which):
            part = half.only(digits).to(job.device)
            batches = epochs(part.x_train, part.y_train, s.batch, s.seeds[which])
            steps = s.epochs * (len(part.x_train) // s.batch)
            stages.append(Stage(steps, batches, s.lr, s.weight_decay, cosine, name=f"model {which}, {name}"))
        total = sum(stage.steps for stage in stages)
        with threads(1):
            fit(
                model(job, which).to(job.device),
                stages,
                keep=range(0, total, s.every) if which == 0 else (),
                folder=job.folder / f"run{which}",
                resume=True,
                progress=job.progress,
                metadata={"data": job.origin(), "batch": s.batch, "half": which},
            )
