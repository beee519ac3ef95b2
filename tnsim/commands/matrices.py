"""``tnsim gram``: all pairs of a run."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from tnsim.analysis import gram as inner_products
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
    picture,
    say,
    shown,
    table,
)
from tnsim.commands.laws import law_of
from tnsim.commands.sources import ModelSource

__all__ = ["gram"]

_MOST = 12  # models whose similarities are written out


@answering
def gram(
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
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Keep the matrix: .safetensors.")] = None,
    heatmap: Annotated[
        Path | None, typer.Option("--picture", help="Draw the matrix: .png, .svg, .pdf.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File that keeps finished blocks: called again, it goes on.")
    ] = None,
    json: Json = False,
    progress: Progress = True,
) -> None:
    """Similarities of all pairs of checkpoints of a run, in the order of training.

    Example: tnsim gram 'ckpts/*.pt' --model my_module:MyModel --picture run.png -o run.safetensors
    """
    law = law_of(under)
    nets, labels = ModelSource(model, args, shape, tokens, key, names).run(runs, progress)
    found = inner_products(
        nets,
        under=law,
        method="layerwise" if layerwise else "exact",
        labels=labels,
        error=error,
        budget=budget,
        checkpoint=checkpoint,
        progress=progress,
    )
    matrix = found.similarity()
    written = []
    if out is not None:
        found.save(out)
        written.append(str(out))
    if heatmap is not None:
        written.append(picture(found.plot()[0], heatmap))
    answer = {"labels": labels, "similarity": matrix, "method": found.method, "under": repr(law)}
    answer |= {
        "error": None if error is None else found.estimate().error,
        "files": written,
        "notes": found.notes,
    }
    rows = [(shown(a), *map(float, row)) for a, row in zip(labels, matrix.tolist(), strict=True)]
    steps = [(shown(a), shown(b), float(matrix[k, k + 1])) for k, (a, b) in enumerate(pairwise(labels))]
    small = len(nets) <= _MOST
    say(
        json,
        answer,
        f"{len(nets)} models, {found.method}, under {law!r}",
        table(["", *map(shown, labels)], rows) if small else table(["from", "to", "similarity"], steps),
        *written,
    )
