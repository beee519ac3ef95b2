"""``tnsim diff``: what changed between two checkpoints, and where."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tnsim.analysis import attribute, gram, localise
from tnsim.analysis.explain.named_shares import Shares
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
    table,
)
from tnsim.commands.laws import law_of
from tnsim.commands.sources import ModelSource
from tnsim.sampling import Estimate

__all__ = ["diff"]

_FEWEST = 3  # outputs that can be compared with each other
_TOP = 8


@answering
def diff(
    before: Annotated[str, typer.Argument(help="A checkpoint, or a network file.")],
    after: Annotated[str, typer.Argument(help="A later one.")],
    history: Annotated[
        list[str] | None,
        typer.Option(
            help="Earlier checkpoints, as 'ckpts/*.pt': what they explain is ordinary. May be given again."
        ),
    ] = None,
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
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for pictures.")] = None,
    json: Json = False,
    progress: Progress = True,
) -> None:
    """What changed from one checkpoint to a later one: which outputs, through which inputs, and whether it is localised.

    Example: tnsim diff ckpts/step_500.pt ckpts/step_600.pt --model my_module:MyModel -o changes
    """
    source, law = ModelSource(model, args, shape, tokens, key, names), law_of(under)
    a, b = source.network(before), source.network(after)
    method = "layerwise" if layerwise else "exact"
    how: dict[str, Any] = {
        "under": law,
        "method": method,
        "budget": budget,
        "error": error,
    }
    pair = gram([a, b], labels=[before, after], progress=progress, **how)
    outputs = _shares(attribute(a, b, to="outputs", **how), "outputs")
    most = outputs.top(1)[0][0]
    chosen = {"output": most} if b.codomain else {}
    inputs = _shares(attribute(a, b, to="inputs", **chosen, **how), "inputs")
    found = None
    if len(outputs.flatten()) >= _FEWEST:
        past = source.run(history, progress)[0] if history else []
        found = localise(a, b, history=past, progress=progress, **how)
    drawn = {"outputs": outputs, "inputs": inputs, **({} if found is None else {"localised": found})}
    written = (
        []
        if out is None
        else [picture(x.plot(title=name)[0], out / f"{name}.png") for name, x in drawn.items()]
    )
    answer = {
        "before": before,
        "after": after,
        "similarity": float(pair.similarity()[0, 1]),
        "distance": float(pair.distance()[0, 1]),
        "outputs": outputs,
        "output": most,
        "inputs": inputs,
        "localised": None if found is None else found.localised,
        "localisation": None if found is None else repr(found),
        "method": pair.method,
        "under": repr(law),
        "notes": pair.notes,
        "files": written,
    }
    say(
        json,
        answer,
        f"similarity {answer['similarity']:+.6f}, distance {answer['distance']:.4g}  ({pair.method}, under {law!r})",
        *(f"approximation: {note}" for note in pair.notes),
        "" if found is None else f"{found!r}",
        "",
        table(["output", "share of the change"], _rows(outputs)),
        "",
        table([f"input of output {most}", "share of its change"], _rows(inputs)),
        *written,
    )


def _shares(found: Any, over: str) -> Shares:
    """Shares, without the errors of an estimate."""
    values = found.value if isinstance(found, Estimate) else found
    if isinstance(values, Shares):
        return values
    shares: Shares = Shares.of(values, over, "the squared distance")
    return shares


def _rows(shares: Shares) -> list[tuple[str, str]]:
    """The largest, with their part of the whole."""
    total = float(shares.sum())
    return [(str(part), f"{x / total:.1%}" if total else "0") for part, x in shares.top(_TOP)]
