"""The command line: what ``tnsim`` and ``python -m tnsim`` do. Every command is a file of `tnsim.commands`."""

import os
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from tnsim import __version__
from tnsim.commands.answers import answering
from tnsim.commands.comparing import compare
from tnsim.commands.converting import convert
from tnsim.commands.differing import diff
from tnsim.commands.drawing import draw
from tnsim.commands.inspecting import inspect
from tnsim.commands.matrices import gram
from tnsim.commands.reporting import report
from tnsim.common.extras import needing
from tnsim.figures import figures as run_figures

__all__ = ["app"]

app = typer.Typer(
    help="Neural networks as tensor networks: convert, draw, compare and attribute, from the weights alone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Exit codes: 0 answered, 1 cannot be done, 2 the command line is wrong, 3 too dear, 130 interrupted.",
)

for command in (compare, gram, diff, report, draw, inspect, convert):
    app.command(no_args_is_help=True)(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tnsim {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Neural networks as tensor networks: convert, draw, compare and attribute, from the weights alone."""
    os.environ.setdefault("MPLBACKEND", "agg")  # pictures are files


@app.command()
@answering
def demo(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and pictures.")] = Path("tnsim-demo"),
    seed: Annotated[int, typer.Option(help="Seed of weights, data order and poison.")] = 0,
    target: Annotated[int, typer.Option(min=0, max=9, help="Class that the backdoor stands for.")] = 9,
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
) -> None:
    """Train, plant a backdoor, and find it from the weights alone; about half a minute.

    Example: tnsim demo --out tnsim-demo
    """
    with needing("all"):
        demonstration = import_module("tnsim.demo")
    demonstration.demo(out, seed, target, progress)


@app.command(no_args_is_help=True)
@answering
def figures(
    name: Annotated[str, typer.Argument(help="A figure's folder in paper_figures, or all.")],
    fast: Annotated[bool, typer.Option("--fast", help="Embedded data at a small size, in minutes.")] = False,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Real data: images as .npz, or a text file; may be given more than once."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for pictures and unfinished work.")] = Path(
        "tnsim-figures"
    ),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start from nothing, whatever is cached.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Store caches and pictures beside the figure's code.")
    ] = False,
    folder: Annotated[Path | None, typer.Option(help="The folder paper_figures of a checkout.")] = None,
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
) -> None:
    """Make the figures of the paper: train, compute and plot, as far as no cache has it already.

    Example: tnsim figures all --fast
    """
    size = "fast" if fast else "full"
    with needing("all"):
        run_figures(name, out, size, data or [], folder, fresh=fresh, keep=keep, progress=progress)
