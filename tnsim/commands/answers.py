"""What all commands have in common: options, how answers and errors are shown, exit codes, pictures."""

import io
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import numpy as np
import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tnsim.common.files import replace_file
from tnsim.common.values import numbers
from tnsim.engine.costs import CostError
from tnsim.sampling import SamplingError

__all__ = [
    "Arguments", "Budget", "Error", "Example", "Json", "Key", "Layerwise", "Model", "Names", "Progress", "TokenCount",
    "Under", "answering", "picture", "say", "shown", "table",
]  # fmt: skip

P = ParamSpec("P")

CANNOT, TOO_DEAR, INTERRUPTED = 1, 3, 130  # 2 is for a command line that cannot be read

_MODELS, _HOW, _SHOWN = "Models", "How it is answered", "What is shown"

Model = Annotated[
    str | None,
    typer.Option("--model", help="Class of the checkpoints, module:Class; the present folder is importable.",
                 rich_help_panel=_MODELS),
]  # fmt: skip
Arguments = Annotated[
    str | None,
    typer.Option("--args", help="Arguments of its constructor as JSON, a list or a table.", rich_help_panel=_MODELS),
]  # fmt: skip
Example = Annotated[
    str | None,
    typer.Option("--shape", help="Shape of one input, as 1,28,28, where weights do not tell.", rich_help_panel=_MODELS),
]  # fmt: skip
TokenCount = Annotated[
    int | None, typer.Option("--tokens", min=1, help="How many token ids it reads.", rich_help_panel=_MODELS)
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key", help="Part of a checkpoint, where several fit, such as ema.", rich_help_panel=_MODELS
    ),
]
Names = Annotated[
    str | None,
    typer.Option(
        "--names",
        help="Names of weights, the checkpoint's and the model's, as JSON.",
        rich_help_panel=_MODELS,
    ),
]
Under = Annotated[
    str,
    typer.Option(
        "--under",
        help="Law of the input: gaussian, symmetric, frobenius, or of data: gaussian:FILE, empirical:FILE, tokens:FILE, "
        "markov:FILE (.npy, .npz, .pt, .safetensors).",
        rich_help_panel=_HOW,
    ),
]
Error = Annotated[
    float | None,
    typer.Option(
        "--error", help="Standard error that will do: sampled where exact is too dear.", rich_help_panel=_HOW
    ),
]
Layerwise = Annotated[
    bool,
    typer.Option("--layerwise", help="Layer by layer: cheap, and approximate from two layers on.", rich_help_panel=_HOW),
]  # fmt: skip
Budget = Annotated[
    float,
    typer.Option("--budget", help="Flops that may be spent.", rich_help_panel=_HOW, show_default="1e12"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.", rich_help_panel=_SHOWN)]
Progress = Annotated[
    bool,
    typer.Option(
        "--progress/--no-progress", help="Bars on stderr where it takes long.", rich_help_panel=_SHOWN
    ),
]


def answering(fn: Callable[P, None]) -> Callable[P, None]:
    """A command whose errors are one line on stderr, and an exit code: 1 what cannot be done, 3 what is too dear."""

    @wraps(fn)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            fn(*args, **kwargs)
        except (CostError, SamplingError) as error:
            raise _refused(error, TOO_DEAR) from None
        except (ValueError, TypeError, LookupError, OSError, ImportError) as error:
            raise _refused(error, CANNOT) from None
        except KeyboardInterrupt:
            typer.secho("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None

    return command


def _refused(error: Exception, code: int) -> typer.Exit:
    said = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    typer.secho(f"{type(error).__name__}: {said}", fg=typer.colors.RED, err=True)
    return typer.Exit(code)


def say(as_json: bool, answer: Mapping[str, Any], *parts: Any) -> None:
    """Print an answer: as JSON, or its parts as text and tables."""
    if as_json:
        sys.stdout.write(json.dumps(_plain(answer), allow_nan=False, indent=1) + "\n")
        return
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    for part in parts:
        console.print(escape(part) if isinstance(part, str) else part)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table whose numbers stand to the right."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for k, name in enumerate(columns):
        right = bool(rows) and all(not isinstance(row[k], str) for row in rows)
        made.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(escape(shown(x)) for x in row))
    return made


def shown(x: Any) -> str:
    """A value as text, a number with the digits that one reads."""
    if isinstance(x, float):
        return f"{x:.4f}" if 1e-3 <= abs(x) < 1e4 or x == 0 else f"{x:.3g}"
    return f"{x:,}" if isinstance(x, int) and not isinstance(x, bool) else str(x)


def picture(figure: Any, path: Path) -> str:
    """Write a figure in one step, of the kind that its ending says; its path."""
    kind = path.suffix.removeprefix(".") or "png"
    file = io.BytesIO()
    try:
        figure.savefig(file, format=kind, dpi=150)
    finally:
        figure.clear()
    replace_file(path, file.getvalue())
    return str(path)


def _plain(x: Any) -> Any:
    """For JSON: numbers that are not finite are null."""
    if isinstance(x, Mapping):
        return {str(k): _plain(v) for k, v in x.items()}
    if isinstance(x, torch.Tensor | np.ndarray):
        return _plain(numbers(x).tolist())
    if isinstance(x, list | tuple):
        return [_plain(v) for v in x]
    if isinstance(x, np.generic):
        return _plain(x.item())
    if isinstance(x, float):
        return x if math.isfinite(x) else None
    return x if isinstance(x, str | int | bool | None) else str(x)
