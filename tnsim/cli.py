"""The command line."""

from pathlib import Path
from typing import Annotated

import typer

from tnsim.demo import demo as run_demo

__all__ = ["app"]

app = typer.Typer(
    help="Neural networks as tensor networks: convert, draw, compare and attribute, from the weights alone.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def _root() -> None:
    """Keeps `demo` a sub-command while it is the only one."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and pictures.")] = Path("tnsim-demo"),
    seed: Annotated[int, typer.Option(help="Seed of weights, data order and poison.")] = 0,
    target: Annotated[int, typer.Option(min=0, max=9, help="Class that the backdoor stands for.")] = 9,
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
) -> None:
    """Train, plant a backdoor, and find it from the weights alone; about half a minute."""
    run_demo(out, seed, target, progress)
