"""``tnsim compare``: how alike two models are."""

from typing import Annotated, Any, Literal

import typer

from tnsim.analysis import cka, gram, procrustes
from tnsim.analysis.asking.problem import Method
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
    table,
)
from tnsim.commands.laws import law_of
from tnsim.commands.sources import ModelSource

__all__ = ["compare"]

_INDICES: dict[str, Any] = {"cka": cka, "procrustes": procrustes}


@answering
def compare(
    a: Annotated[str, typer.Argument(help="A checkpoint, or a network file.")],
    b: Annotated[str, typer.Argument(help="Another, with the same inputs and outputs.")],
    measure: Annotated[
        Literal["similarity", "cka", "procrustes"],
        typer.Option(
            help="Similarity also says it output by output; the others are blind to rotations of outputs."
        ),
    ] = "similarity",
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
    json: Json = False,
    progress: Progress = True,
) -> None:
    """How alike two models are, as functions of all inputs.

    Example: tnsim compare ckpts/step_100.pt ckpts/step_1000.pt --model my_module:MyModel
    """
    source, law = ModelSource(model, args, shape, tokens, key, names), law_of(under)
    nets = [source.network(path) for path in (a, b)]
    method: Method = "layerwise" if layerwise else "exact"
    how: dict[str, Any] = {
        "under": law,
        "method": method,
        "budget": budget,
        "error": error,
        "progress": progress,
    }
    answer: dict[str, Any] = {"a": a, "b": b, "measure": measure, "under": repr(law)}
    if measure != "similarity":
        found = _INDICES[measure](*nets, **how)
        if error is None:
            answer |= {measure: float(found), "error": None if layerwise else 0.0, "method": method}
        else:
            answer |= {measure: float(found), "error": float(found.error), "method": found.method}
        say(
            json,
            answer,
            f"{measure}  {float(found):+.6f}  ({method})" if error is None else f"{measure}  {found!r}",
            f"under {law!r}",
        )
        return
    pair = gram(nets, labels=[a, b], **how)
    value, outputs = float(pair.similarity()[0, 1]), pair.slices()[:, 0, 1].tolist()
    doubt = None if pair.method == "layerwise" else float(pair.estimate().error[0, 1])
    answer |= {"similarity": value, "error": doubt, "method": pair.method}
    answer |= {"distance": float(pair.distance()[0, 1]), "norms": pair.squares().root().value("a norm")}
    answer |= {"outputs": outputs, "notes": pair.notes}
    ranked = sorted(enumerate(outputs), key=lambda x: x[1])
    shown = ranked if len(ranked) <= 12 else ranked[:8]
    rows = [(k, float(x)) for k, x in shown]
    rest = [f"and {len(ranked) - len(shown)} outputs that are more alike"] if len(shown) < len(ranked) else []
    say(
        json,
        answer,
        f"similarity {value:+.6f}{f' ± {doubt:.2g}' if doubt else ''}  ({pair.method})",
        f"distance   {answer['distance']:.4g}",
        f"under      {law!r}",
        *(f"approximation: {note}" for note in pair.notes),
        "",
        table(["output", "similarity"], rows),
        *rest,
    )
