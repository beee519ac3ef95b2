"""Report: a whole run on one page that needs neither server nor network."""

import html
import json
import os
import re
from collections.abc import Sequence
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_hex

from tnsim.algebra.networks.network import Network
from tnsim.analysis.asking.given import Model, as_network
from tnsim.analysis.asking.problem import BUDGET, MEMORY, Method
from tnsim.analysis.asking.questions import questioning
from tnsim.analysis.change.summaries import Findings, findings
from tnsim.analysis.compare.similarities import cost
from tnsim.analysis.grams.grams import gram
from tnsim.analysis.grams.workers import Executor, executing
from tnsim.common.border import file, text, whole
from tnsim.common.values import numbers
from tnsim.measure.pairings.measure import Measure
from tnsim.view.networks import draw
from tnsim.view.page import Page
from tnsim.view.scale import SLIGHT
from tnsim.view.style import DIVERGING, PALETTE, SEQUENTIAL

__all__ = ["report", "report_of"]

_HERE = Path(__file__).parent
_SHADES = 65
_MOST = 1_000_000  # numbers, for every output apart, that a page holds
_INPUTS = 20  # that a switch names
_HEIGHT = 640


@questioning(path=file, phases=whole(1), title=text, executor=executing)
def report(
    run: Sequence[Model],
    path: str | os.PathLike[str] | None = None,
    *,
    under: Measure | None = None,
    method: Method = "exact",
    labels: Sequence[Any] | None = None,
    phases: int | None = None,
    title: str | None = None,
    budget: float = BUDGET,
    memory: float = MEMORY,
    error: float | None = None,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
) -> Page:
    """A run on one page: one HTML file that any browser opens, without server or network.

    All similarities as a heat map (point at a cell to read it; click for which outputs changed between the two, and of
    neighbours which layers), phases, the path in function space, curves, what changed at every switch of phases, layers
    of the first model against those of the last, the drawing of the model, and how all of it was computed. What cannot be
    had within the budget is left out, and the page says why.

    Args:
        run: models in the order of training, such as :func:`tnsim.checkpoints`.
        path: where the page is written, in one step; ``None`` only returns it.
        under: the law of the input; the standard normal by default.
        method: ``"exact"`` or ``"layerwise"`` (approximate from two layers on).
        labels: one for every model; those of the run, or 0 … N−1, by default.
        phases: how many phases are shown first; by default as many as each take off half of the cost that is left
            (:func:`tnsim.segment`), and a twentieth of that of one phase.
        title: of the page.
        budget: flops that may be spent on the matrix, and on each further question.
        memory: bytes that intermediate tensors of the matrix may take.
        error: a standard error that will do; see :func:`tnsim.gram`.
        progress: show bars.
        checkpoint: a file that keeps finished blocks of the matrix; see :func:`tnsim.gram`.
        executor: makes the blocks of the matrix; see :func:`tnsim.gram`.

    Returns:
        The page, which a notebook shows.

    Raises:
        CostError: if the matrix would take more than the budget.
        ValueError: if models do not fit together, or there are fewer than phases.
        OSError: if the file cannot be written.

    Example:
        >>> import tnsim
        >>> run = [tnsim.nn.BilinearLayer(4, 8, 3) for _ in range(4)]
        >>> report(run, title="a run", progress=False)
        Page(height=640)
    """
    given = [run.pick(k) for k in range(run.models or 1)] if isinstance(run, Network) else list(run)
    names = getattr(run, "labels", range(len(given))) if labels is None else labels
    nets = [as_network(model) for model in given]
    matrix = gram(
        nets,
        under=under,
        method=method,
        labels=list(names),
        budget=budget,
        memory=memory,
        error=error,
        progress=progress,
        checkpoint=checkpoint,
        executor=executor,
    )
    found = findings(
        nets, matrix, phases=phases, method=method, budget=budget, error=error, progress=progress
    )
    page = report_of(nets, found, title or f"A run of {len(nets)} models")
    if path is not None:
        page.save(path)
    return page


def report_of(nets: Sequence[Network], found: Findings, title: str) -> Page:
    """The page of what was found about a run."""
    facts = _facts(nets, found)
    parts = {
        "TITLE": html.escape(title),
        "FACTS": json.dumps(facts, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c"),
        "SCRIPT": (_HERE / "report.js").read_text(encoding="utf-8"),
    }
    page = (_HERE / "report.html").read_text(encoding="utf-8")
    return Page(re.sub(r"@(TITLE|FACTS|SCRIPT)@", lambda m: parts[m[1]], page), _HEIGHT)


def _facts(nets: Sequence[Network], found: Findings) -> dict[str, Any]:
    """All that the page knows, for JSON."""
    matrix = found.gram
    similarity = numbers(matrix.similarity()).astype(float)
    shape = nets[-1].polys[-1].out_shape
    outputs = [", ".join(map(str, at)) or "0" for at in np.ndindex(*shape)]
    labels = [_label(x) for x in matrix.labels]
    reasons = dict(found.reasons)
    slices, shares = _slices(found, len(outputs), reasons)
    every = np.concatenate([similarity.ravel(), *(x.ravel() for x in ([] if slices is None else [slices]))])
    negative = bool((every[np.isfinite(every)] < -SLIGHT).any())
    cuts = {k: list(phases.boundaries) for k, phases in found.phases.items()} or {1: []}
    way = found.trajectory
    try:
        drawing = draw(nets[-1], interactive=True).text
    except ValueError as error:
        drawing, reasons["drawing"] = None, f"Not drawn. {error}"
    return {
        "labels": labels,
        "about": f"{len(nets)} models, {matrix.method}, under {matrix.under!r}",
        "palette": {
            name: [to_hex(shades(t)) for t in np.linspace(0, 1, _SHADES)]
            for name, shades in (("plain", SEQUENTIAL), ("signed", DIVERGING))
        },
        "colours": [to_hex(x) for x in PALETTE],
        "limits": [-1 if negative else 0, 1],
        "similarity": _plain(similarity),
        "distance": _plain(numbers(matrix.distance())),
        "outputs": outputs if slices is not None else [],
        "slices": _plain(slices),
        "shares": _plain(shares),
        "names": list(nets[0].names),
        "neighbours": [None if x is None else _plain(numbers(x)) for x in found.neighbours],
        "phases": {"boundaries": cuts, "chosen": found.chosen},
        "path": None
        if way is None
        else {"points": _plain(_plane(numbers(way.points))), "explained": _plain(numbers(way.explained))},
        "curves": _curves(found, similarity, labels),
        "switches": [_switch(labels, k, x) for k, x in found.switches.items()],
        "layers": _layers(found),
        "drawing": drawing,
        "methods": _methods(nets, found),
        "reasons": reasons,
    }


def _slices(found: Findings, outputs: int, reasons: dict[str, str]) -> tuple[Any, Any]:
    """Similarities of every output, and shares of the squared distance, ``(n_out, N, N)``; or why there are none."""
    count = len(found.gram)
    if not found.gram.apart or outputs * count**2 > _MOST:
        reasons["shares"] = f"{outputs:,} outputs of all pairs are too much for a page."
        return None, None
    squares = np.stack([numbers(found.gram.distance(k)).astype(float) ** 2 for k in range(outputs)])
    total = squares.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return numbers(found.gram.slices()), squares / np.where(total > 0, total, np.nan)


def _curves(found: Findings, similarity: np.ndarray, labels: list[Any]) -> list[Any]:
    squares = found.gram.squares()
    norms = numbers(squares.root().value("a norm"))
    cosines = {f"to {labels[0]}": similarity[0], f"to {labels[-1]}": similarity[-1]}
    if len(labels) > 1:
        cosines["to the one before"] = np.concatenate([[np.nan], np.diagonal(similarity, 1)])
    curves = [("similarity", cosines), ("norm ‖f‖", {"norm": norms})]
    if found.trajectory is not None:
        steps = np.concatenate([[np.nan], numbers(found.trajectory.steps)])
        curves.append(("distance from the one before", {"step": steps}))
    return [(title, {name: _plain(values) for name, values in series.items()}) for title, series in curves]


def _switch(labels: list[Any], k: int, found: Any) -> dict[str, Any]:
    """What changed where a phase begins."""
    told = {"before": labels[k - 1], "after": labels[k], "inputs": None}
    if found is None:
        return told | {"said": "Not computed; see below."}
    scores = numbers(found.inputs)
    order = np.argsort(-scores, axis=None)[:_INPUTS]
    places = [tuple(map(int, at)) for at in zip(*np.unravel_index(order, scores.shape), strict=True)]
    inputs = [(", ".join(map(str, at)), _plain(scores[at])) for at in places]
    output = found.output if isinstance(found.output, tuple) else (found.output,)
    return told | {
        "said": f"{found!r}.",
        "output": ", ".join(map(str, output)),
        "outputs": _plain(numbers(found.outputs).ravel()),
        "inputs": inputs,
    }


def _layers(found: Findings) -> dict[str, Any] | None:
    if found.layers is None:
        return None
    table = found.layers
    return {
        "rows": [str(x) for x in table.rows],
        "columns": [str(x) for x in table.columns],
        "values": _plain(numbers(table.values)),
        "said": f"{table!r}: up to and with each layer, as functions of the input.",
    }


def _methods(nets: Sequence[Network], found: Findings) -> list[tuple[str, str]]:
    """What was computed how, and what it cost."""
    matrix = found.gram
    price = (
        "draws that suit the models"
        if matrix.method == "sampled"
        else str(cost(nets[0], nets[-1], under=matrix.under, method=matrix.method))
    )
    said = [
        ("similarity", "⟨f, g⟩ / (‖f‖ ‖g‖) with ⟨f, g⟩ = E[f(x)·g(x)], from the weights"),
        ("method", _METHODS[matrix.method]),
        ("law of the input", repr(matrix.under)),
        ("one pair", price),
        (
            "phases",
            "optimal cuts of the run (segment); if not chosen, as many as each take off half of the cost that is left, "
            "and a twentieth of that of one phase",
        ),
        ("by output", "shares of the squared distance, exact parts of it"),
        ("by layer", "Aumann–Shapley shares of the squared distance (attribute)"),
        (
            "switches",
            "localise, with the models before as history; its thresholds are no significance levels",
        ),
        ("layers", "CKA of cuts of both models, without data (layers)"),
    ]
    if matrix.drawn is not None:
        said.insert(2, ("standard error", f"at most {float(numbers(matrix.estimate().error).max()):.2g}"))
    said += [("approximation", note) for note in matrix.notes]
    said += [
        (f"without {name}", reason)
        for name, reason in found.reasons.items()
        if reason.startswith("Not computed")
    ]
    return [*said, ("made with", f"tnsim, torch {version('torch')}, quimb {version('quimb')}")]


_METHODS = {
    "exact": "exact, up to rounding",
    "layerwise": "layer by layer: the law of every hidden state is replaced by a Gaussian of the same mean and covariance, "
    "which is exact for one layer only",
    "sampled": "sampled, with a standard error",
}


def _plane(points: np.ndarray) -> np.ndarray:
    """The first two coordinates."""
    return np.column_stack([points[:, 0], points[:, 1] if points.shape[1] > 1 else np.zeros(len(points))])


def _label(x: Any) -> Any:
    return x if isinstance(x, str | int) or (isinstance(x, float) and isfinite(x)) else str(x)


def _plain(x: Any) -> Any:
    """Numbers for JSON, with the digits that a reader sees; what is not finite is null."""
    if x is None:
        return None
    values = np.asarray(x, dtype=float)
    if values.ndim:
        return [_plain(v) for v in values]
    return float(f"{float(values):.5g}") if np.isfinite(values) else None
