"""Every kind of model, from several seeds."""

from tqdm import tqdm

from paper_figures.common.job import Job
from paper_figures.exact_or_layerwise.setting import data, kinds, model, name_of
from tnsim.lab import Stage, cosine, epochs, fit, threads

__all__ = ["train"]


def train(job: Job) -> None:
    """Train, or go on with what was interrupted."""
    s, images = job.settings, data(job)
    wanted = {name_of(k, seed): (k, seed) for ks in kinds(s).values() for k in ks for seed in range(s.seeds)}
    with threads(1):
        for name, (kind, seed) in tqdm(wanted.items(), "models", disable=not job.progress):
            batches = epochs(images.x_train, images.y_train, s.batch, seed)
            fit(
                model(kind, seed),
                [Stage(s.steps, batches, s.lr, 0.01, cosine, clip=1.0)],
                keep=[s.steps // 4],
                folder=job.folder / name,
                resume=True,
                progress=False,
                metadata={"batch": s.batch},
            )
