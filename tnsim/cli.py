"""The command line."""

from pathlib import Path
from typing import Annotated

import typer

from tnsim.demo import demo as run_demo
from tnsim.figures import figures as run_figures

__all__ = ["app"]

app = typer.Typer(
    help="Neural networks as tensor networks: convert, draw, compare and attribute, from the weights alone.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and pictures.")] = Path("tnsim-demo"),
    seed: Annotated[int, typer.Option(help="Seed of weights, data order and poison.")] = 0,
    target: Annotated[int, typer.Option(min=0, max=9, help="Class that the backdoor stands for.")] = 9,
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
) -> None:
    """Train, plant a backdoor, and find it from the weights alone; about half a minute."""
    run_demo(out, seed, target, progress)


@app.command()
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
    """Make the figures of the paper: train, compute and plot, as far as no cache has it already."""
    try:
        run_figures(
            name,
            out,
            "fast" if fast else "full",
            data or [],
            folder,
            fresh=fresh,
            keep=keep,
            progress=progress,
        )
    except (ValueError, FileNotFoundError) as error:
        typer.secho(f"{type(error).__name__}: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None
