"""``tnsim report``: a run on one page."""

from pathlib import Path
from typing import Annotated

import typer

import tnsim
from tnsim.commands.answers import (
    Arguments,
    Budget,
    Error,
    Example,
    Json,
    Key,
    Layerwise,
    Model,
    Names,
    Progress,
    TokenCount,
    Under,
    answering,
    say,
)
from tnsim.commands.laws import law_of
from tnsim.commands.sources import ModelSource

__all__ = ["report"]


@answering
def report(
    runs: Annotated[list[str], typer.Argument(help="Patterns, folders or files, as 'ckpts/*.pt'.")],
    model: Model = None,
    args: Arguments = None,
    shape: Example = None,
    tokens: TokenCount = None,
    key: Key = None,
    names: Names = None,
    under: Under = "gaussian",
    error: Error = None,
    layerwise: Layerwise = False,
    budget: Budget = 1e12,
    phases: Annotated[
        int | None, typer.Option(min=1, help="How many phases are shown first; found by default.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("report.html"),
    checkpoint: Annotated[
        Path | None, typer.Option(help="File that keeps finished blocks: called again, it goes on.")
    ] = None,
    json: Json = False,
    progress: Progress = True,
) -> None:
    """A run on one HTML page without server or network: similarities, phases, path, what changed and where.

    Example: tnsim report 'ckpts/*.pt' --model my_module:MyModel -o report.html
    """
    law = law_of(under)
    nets, labels = ModelSource(model, args, shape, tokens, key, names).run(runs, progress)
    page = tnsim.report(
        nets,
        out,
        under=law,
        method="layerwise" if layerwise else "exact",
        labels=labels,
        phases=phases,
        title=title,
        budget=budget,
        error=error,
        progress=progress,
        checkpoint=checkpoint,
    )
    size = len(page.text.encode())
    answer = {"file": str(out), "bytes": size, "labels": labels, "under": repr(law)}
    say(json, answer, f"{len(nets)} models on one page, {size / 1e6:.1f} MB: {out}")
