"""Where the paper's figures are, and how one is made."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["FiguresNotFound", "figures", "find"]


class FiguresNotFound(FileNotFoundError):
    """The folder with the figures is not there."""


def find(folder: Path | None = None) -> ModuleType:
    """The package `paper_figures`: it comes with the repository, not with an installed wheel.

    Args:
        folder: the folder `paper_figures` itself; by default the one beside tnsim's code, or in the present folder.

    Raises:
        FiguresNotFound: if there is none.
    """
    places = [folder] if folder else [Path(__file__).parents[1] / "paper_figures", Path("paper_figures")]
    for place in places:
        if (place / "common" / "pipeline.py").is_file():
            parent = str(place.resolve().parent)
            if parent not in sys.path:
                sys.path.insert(0, parent)
            return import_module("paper_figures")
    raise FiguresNotFound(
        f"there are no figures in {' or '.join(str(place) for place in places)}. They come with the repository and "
        "not with the installed package: run this in a checkout, or write --folder PATH/TO/paper_figures."
    )


def figures(
    name: str,
    out: Path,
    size: str = "full",
    data: Sequence[Path] = (),
    folder: Path | None = None,
    **options: Any,
) -> list[Path]:
    """Make one figure, or all, print what was measured beside what was published, and say where the pictures are.

    Args:
        name: a figure, or all.
        out: where pictures and unfinished work go.
        size: fast or full.
        data: files of real data.
        folder: where the figures' code is.
        **options: passed on to `paper_figures.make`.

    Raises:
        FiguresNotFound: if the figures' code is not there.
        ValueError: if a figure cannot be made as asked.
    """
    console = Console(width=110)
    package = find(folder)
    written: list[Path] = []
    for one in package.names() if name == "all" else [name]:
        console.print(f"[bold]{one}[/] ({size})")
        cache, pictures = package.make(one, size, out, data=data, **options)
        table = Table()
        for column in ("", "published", "expected", "measured"):
            table.add_column(column)
        for row in package.report(one, cache, size):
            table.add_row(*map(Text, row))
        console.print(table)
        for picture in pictures:
            console.print(f"  {picture}")
        written += pictures
    return written
