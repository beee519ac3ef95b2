"""From training to picture, stopping early where a cache has what is asked for."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib.pyplot as plt

from paper_figures.common.cache import Cache
from paper_figures.common.claims import into_readme, rows, table
from paper_figures.common.job import SIZES, Job

__all__ = ["Figure", "FigureError", "make", "names", "report", "update_readme"]

HERE = Path(__file__).parents[1]
ORDER = (
    "svhn_backdoor",
    "svhn_forgetting",
    "grokking",
    "language",
    "robustness",
    "exact_or_layerwise",
    "seeds_and_subsets",
)


class FigureError(ValueError):
    """A figure cannot be made as asked."""


def names() -> tuple[str, ...]:
    """The figures that there are, in order."""
    return tuple(name for name in ORDER if (HERE / name / "plot.py").is_file())


class Figure:
    """The parts of one figure's folder.

    Args:
        name: the folder's name; hyphens count as underscores.

    Raises:
        FigureError: if there is no such figure.
    """

    def __init__(self, name: str):
        self.name = name.replace("-", "_")
        if self.name not in names():
            raise FigureError(f"there is no figure {name!r}; these are there: {', '.join(names())}, and all.")
        self.folder = HERE / self.name

    def part(self, which: str) -> ModuleType:
        """setting, train, compute or plot."""
        return import_module(f"paper_figures.{self.name}.{which}")

    def kept(self, size: str) -> Path:
        """The cache that comes with the project."""
        return self.folder / "cache" / f"{size}.npz"

    def job(self, size: str, work: Path, data: Sequence[Path] = (), progress: bool = True) -> Job:
        """What is to be made.

        Raises:
            FigureError: if the size is unknown, or a file is missing.
        """
        if size not in SIZES:
            raise FigureError(f"size is {size!r}; write one of {', '.join(SIZES)}.")
        for path in data:
            if not path.is_file():
                raise FigureError(f"there is no data file {path}.")
        setting = self.part("setting")
        takes = getattr(setting, "TAKES", None)
        fitting = [path for path in data if takes == ("images" if path.suffix == ".npz" else "text")]
        if len(fitting) > 1:
            raise FigureError(f"{self.name} takes one data file, and got {', '.join(map(str, fitting))}.")
        used = fitting[0] if fitting and size != "tiny" else None
        job = Job(self.name, size, setting.SIZES[size], work, used, progress)
        mark = sha256(f"{key(job)} {job.origin()}".encode()).hexdigest()[:8]  # other settings, another folder
        return replace(job, folder=work / self.name / f"{size}-{mark}")


def make(
    name: str,
    size: str,
    out: Path,
    *,
    data: Sequence[Path] = (),
    fresh: bool = False,
    keep: bool = False,
    progress: bool = True,
) -> tuple[Cache, list[Path]]:
    """Make one figure and write its pictures.

    Args:
        name: the figure.
        size: tiny, fast or full.
        out: where pictures and unfinished work go.
        data: files of real data; a figure takes the one that fits.
        fresh: start from nothing, whatever is kept.
        keep: store the cache and the pictures in the figure's folder, for contributors.
        progress: show progress bars.

    Returns:
        What was drawn, and the pictures.

    Raises:
        FigureError: if the figure, the size or the data is not there.
    """
    figure = Figure(name)
    job = figure.job(size, out, data, progress)
    if fresh and job.folder.exists():
        shutil.rmtree(job.folder)
    cache = None if fresh else _found(figure, job)
    if cache is None:
        if size == "full" and getattr(figure.part("setting"), "TAKES", None) == "images" and not job.data:
            raise FigureError(
                f"{figure.name} at full size needs real images: write --data PATH.npz with arrays x_train, y_train, "
                "x_test and y_test, or --fast for the embedded digits."
            )
        figure.part("train").train(job)
        computed = figure.part("compute").compute(job)
        cache = Cache(computed.arrays, computed.facts | {"key": key(job), "data": job.origin()})
        cache.save(job.folder / "cache.npz")
    drawn = figure.part("plot").plot(cache, **_samples(figure, job, cache))
    pictures = []
    for suffix, fig in drawn.items():
        path = out / f"{figure.name}{suffix}-{size}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        fig.savefig(path, dpi=150, bbox_inches="tight")
        fig.savefig(path.with_suffix(".pdf"), bbox_inches="tight")
        plt.close(fig)
        pictures.append(path)
    if keep:
        cache.save(figure.kept(size))
        for path in pictures if job.data is None else ():
            shutil.copy(path, figure.folder / path.name)
        update_readme(figure)
    return cache, pictures


def report(name: str, cache: Cache, size: str) -> list[list[str]]:
    """What is claimed: in words, published, expected, measured."""
    return rows(Figure(name).part("setting").CLAIMS, {size: cache.facts})


def update_readme(figure: Figure) -> None:
    """Write what the kept caches measured beside what was published."""
    sizes = [size for size in SIZES if size != "tiny" and figure.kept(size).is_file()]
    measured = {size: Cache.load(figure.kept(size)).facts for size in sizes}
    into_readme(figure.folder / "README.md", table(figure.part("setting").CLAIMS, measured))


def key(job: Job) -> str:
    """What the numbers of a job depend on, apart from the data."""
    return sha256(json.dumps([job.figure, asdict(job.settings)], sort_keys=True).encode()).hexdigest()[:16]


def _found(figure: Figure, job: Job) -> Cache | None:
    """A cache with these settings, and of this data if data was given."""
    for path in (job.folder / "cache.npz", figure.kept(job.size)):
        if path.is_file():
            cache = Cache.load(path)
            if cache.facts.get("key") == key(job) and (
                job.data is None or cache.facts["data"].split()[-1] == job.origin().split()[-1]
            ):
                return cache
    return None


def _samples(figure: Figure, job: Job, cache: Cache) -> dict[str, Any]:
    """Images to show, where the data may be shown."""
    samples = getattr(figure.part("setting"), "samples", None)
    if samples is None or (job.data is None and cache.facts["data"] != "embedded"):
        return {}
    return samples(job, cache)
