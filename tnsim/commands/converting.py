"""``tnsim convert``: a checkpoint as a network file, which needs no class any more."""

from pathlib import Path
from typing import Annotated

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
    say,
)
from tnsim.commands.sources import ModelSource
from tnsim.disk import save

__all__ = ["convert"]


@answering
def convert(
    file: Annotated[str, typer.Argument(help="A checkpoint.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the network goes: .safetensors.")] = Path(
        "net.safetensors"
    ),
    model: Model = None,
    args: Arguments = None,
    shape: Example = None,
    tokens: TokenCount = None,
    key: Key = None,
    names: Names = None,
    json: Json = False,
) -> None:
    """Convert a checkpoint to a network and keep it in one file, which every command and tnsim.load_network reads.

    Example: tnsim convert ckpts/step_1000.pt --model my_module:MyModel -o net.safetensors
    """
    net = ModelSource(model, args, shape, tokens, key, names).network(file)
    save(net, out)
    say(
        json,
        {"model": file, "layers": net.names, "degree": net.degree, "files": [str(out)]},
        repr(net),
        str(out),
    )
