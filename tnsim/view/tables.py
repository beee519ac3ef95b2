"""What a result is, as a small table: for notebooks, and for pandas."""

import html as markup
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from importlib import import_module
from math import prod
from typing import Any

import autoray as ar
import numpy as np

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term
from tnsim.analysis.bonds.bond_ranks import Ranks
from tnsim.analysis.change.localisation import Localisation
from tnsim.analysis.change.trajectories import Trajectory
from tnsim.analysis.compare.chance import Null
from tnsim.analysis.compare.crossed import Crossed
from tnsim.analysis.compare.explanation import Explanation
from tnsim.analysis.explain.modes import Modes
from tnsim.analysis.explain.named_shares import Shares
from tnsim.analysis.grams.grams import Gram
from tnsim.common.digits import bytes_in_words, time_in_words
from tnsim.common.wires import role_of
from tnsim.engine.costs import Cost
from tnsim.sampling.estimate import Estimate
from tnsim.view.arrays import to_numpy

__all__ = ["Table", "frame", "table"]

_ROWS = 12  # that are shown of more
_DIGITS = 4


@dataclass(frozen=True)
class Table:
    """A title, names of columns, and rows.

    Attributes:
        title: what it is.
        columns: their names.
        rows: a value for every column.
        index: whether the first column names the rows.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    index: bool = True

    def html(self) -> str:
        """As HTML, cut to the first rows."""
        cells = "text-align:left;padding:1px 12px 1px 0"
        head = "".join(f'<th style="{cells}">{_escaped(name)}</th>' for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f'<td style="{cells}">{_escaped(_short(x))}</td>' for x in row) + "</tr>"
            for row in self.rows[:_ROWS]
        )
        more = len(self.rows) - _ROWS
        rest = f'<div style="color:#6b7686">… {more} more</div>' if more > 0 else ""
        return (
            f"<div><b>{_escaped(self.title)}</b></div>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"
        )


@singledispatch
def table(result: Any) -> Table:
    """What a result is, in rows.

    Raises:
        TypeError: if nobody said how.
    """
    raise TypeError(f"there is no table of a {type(result).__name__}.")


@table.register
def _(net: Network) -> Table:
    rows = [
        (name, f.in_shape, f.out_shape, f.degree, len(f.terms), _weights(f.arrays()))
        for name, f in net.layers
    ]
    run = f", {net.models} models" if net.models else ""
    title = f"Network of degree {net.degree}: {net.in_shape} → {net.polys[-1].out_shape}, {net.dtype}{run}"
    return Table(title, ("layer", "reads", "gives", "degree", "terms", "weights"), rows)


@table.register
def _(f: Poly) -> Table:
    rows = [
        (k, t.degree, f"{t.coefficient:g}", _roles(t), _weights(x.data for x in t.tensors))
        for k, t in enumerate(f.terms)
    ]
    return Table(
        f"Poly of degree {f.degree}: {f.in_shape} → {f.out_shape}",
        ("term", "degree", "coefficient", "tensors", "weights"),
        rows,
    )


@table.register
def _(t: Term) -> Table:
    rows = [(_role(x), ", ".join(map(str, x.inds)), tuple(ar.shape(x.data))) for x in t.tensors]
    return Table(
        f"Term of degree {t.degree}, coefficient {t.coefficient:g}; output {', '.join(t.out) or 'a number'}",
        ("tensor", "indices", "shape"),
        rows,
    )


@table.register
def _(cost: Cost) -> Table:
    here = f"{'at least' if cost.at_least else 'about'} {time_in_words(cost.seconds)}"
    row = (f"{cost.flops:.2e}", bytes_in_words(cost.bytes), cost.contractions, here)
    columns = ("flops", "memory", "contractions", "here")
    return Table("Cost" + ", at least" * cost.at_least, columns, [row], index=False)


@table.register
def _(found: Explanation) -> Table:
    most = max(found.cost.flops, 1.0)
    rows = [
        (
            path.product,
            path.count,
            f"{path.cost.flops / most:.1%}",
            f"{path.cost.flops:.2e}",
            f"{path.largest:.2e}",
            ", ".join(path.sliced),
        )
        for path in found.paths
    ]
    columns = ("contraction", "times", "share", "flops", "numbers held", "sliced")
    return Table(f"{found.method}: {found.cost}", columns, rows)


@table.register
def _(found: Estimate) -> Table:
    values, errors = to_numpy(found.value), to_numpy(found.error)
    rows = [
        (_index(i, values.shape), float(values.flat[i]), float(errors.flat[i])) for i in range(values.size)
    ]
    if not values.shape:
        return Table(repr(found), ("value", "error"), [row[1:] for row in rows], index=False)
    return Table(repr(found), ("entry", "value", "error"), rows)


@table.register
def _(gram: Gram) -> Table:
    s = to_numpy(gram.similarity())
    rows = [(label, *row) for label, row in zip(gram.labels, s, strict=True)]
    return Table(repr(gram), ("", *map(_name, gram.labels)), rows)


@table.register
def _(found: Crossed) -> Table:
    rows = [(label, *row) for label, row in zip(found.rows, to_numpy(found.values), strict=True)]
    return Table(repr(found), ("a \\ b", *map(_name, found.columns)), rows)


@table.register
def _(found: Null) -> Table:
    rows = [(name, found.mean[name], found.spread[name]) for name in found.values]
    return Table(repr(found), ("measure", "mean", "spread"), rows)


@table.register
def _(shares: Shares) -> Table:
    total = float(shares.total.detach())
    one = shares.over.split(" of ")[0].removesuffix("s")
    flat = to_numpy(shares).ravel()
    rows = [
        (part, float(x), float(x) / total if total else 0.0)
        for part, x in zip(shares.parts, flat, strict=True)
    ]
    rows.sort(key=lambda row: -abs(row[1]))
    return Table(f"{shares.what} = {total:.4g} over {shares.over}", (one, "share", "fraction"), rows)


@table.register
def _(modes: Modes) -> Table:
    values = to_numpy(modes.values)
    rows = [(i, *column) for i, column in enumerate(np.atleast_2d(values).T)]
    names = ("value",) if values.ndim < 2 else tuple(f"model {k}" for k in range(len(values)))
    return Table(repr(modes), ("mode", *names), rows)


@table.register
def _(found: Ranks) -> Table:
    hard, effective = found.hard(), found.effective
    rows = [
        (place, width, hard[place], effective[place], "exact" if sure else "approximate")
        for (place, width), sure in zip(found.widths.items(), found.exact, strict=True)
    ]
    return Table(found.headline, ("bond", "width", "hard", "effective", "how"), rows)


@table.register
def _(found: Localisation) -> Table:
    outputs = to_numpy(found.outputs)
    rows = [
        (_index(i, outputs.shape), float(outputs.flat[i]))
        for i in np.argsort(-outputs.ravel(), kind="stable")
    ]
    return Table(repr(found), ("output", "× the median of the others"), rows)


@table.register
def _(path: Trajectory) -> Table:
    steps, start = to_numpy(path.travelled), to_numpy(path.from_start)
    rows = [(label, float(a), float(b)) for label, a, b in zip(path.labels, steps, start, strict=True)]
    return Table(repr(path), ("model", "travelled", "from start"), rows)


def frame(result: Any) -> Any:
    """A table as a ``pandas.DataFrame``.

    Raises:
        ModuleNotFoundError: if pandas is not installed.
    """
    try:
        pandas = import_module("pandas")
    except ModuleNotFoundError:
        raise ModuleNotFoundError("to_frame() needs pandas: pip install pandas.") from None
    found = table(result)
    data = pandas.DataFrame([list(row) for row in found.rows], columns=list(found.columns))
    return data.set_index(found.columns[0]) if found.index else data


def _weights(arrays: Any) -> int:
    return sum(prod(ar.shape(x)) for x in arrays)


def _role(x: Any) -> str:
    return ", ".join(filter(None, (role_of(x.tags), *list(x.tags)[1:]))) or "–"


def _roles(t: Term) -> str:
    return " ".join(role_of(x.tags) or "–" for x in t.tensors)


def _index(i: Any, shape: tuple[int, ...]) -> Any:
    return int(i) if len(shape) < 2 else tuple(int(k) for k in np.unravel_index(int(i), shape))


def _name(label: Any) -> str:
    return f"{label:g}" if isinstance(label, float) else str(label)


def _short(x: Any) -> str:
    if isinstance(x, int | np.integer):
        return f"{x:,}".replace(",", " ")
    return f"{x:.{_DIGITS}g}" if isinstance(x, float | np.floating) else str(x)


def _escaped(x: Any) -> str:
    return markup.escape(str(x))
