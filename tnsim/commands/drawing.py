"""``tnsim draw``: a model as a picture."""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tnsim.commands.answers import (
    Arguments,
    Example,
    Json,
    Key,
    Model,
    Names,
    TokenCount,
    answering,
    picture,
    say,
)
from tnsim.commands.sources import ModelSource
from tnsim.common.extras import needing
from tnsim.common.files import replace_file

__all__ = ["draw"]


@answering
def draw(
    file: Annotated[str, typer.Argument(help="A checkpoint, or a network file.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Picture: .svg, .pdf, .png; .dot for graphviz.")
    ] = Path("model.svg"),
    level: Annotated[
        Literal["model", "layer", "network"] | None,
        typer.Option(help="A box for every layer, every layer as a sum of terms, or all as one network."),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Only this layer, by its name.")] = None,
    model: Model = None,
    args: Arguments = None,
    shape: Example = None,
    tokens: TokenCount = None,
    key: Key = None,
    names: Names = None,
    json: Json = False,
) -> None:
    """Draw a model: its layers, what a layer is made of, or the whole network.

    Example: tnsim draw ckpts/step_1000.pt --model my_module:MyModel -o model.svg
    """
    net: Any = ModelSource(model, args, shape, tokens, key, names).network(file)
    thing = net if layer is None else net[layer]
    if out.suffix == ".dot":
        replace_file(out, thing.to_dot().encode())
    else:
        with needing("view"):
            view = import_module("tnsim.view")
        picture(view.draw(thing, level=level)[0], out)
    say(json, {"model": file, "files": [str(out)]}, str(out))
