"""Drawings as text for graphviz."""

import math
from collections.abc import Iterable
from typing import Any

import networkx as nx

from tnsim.analysis.asking.given import as_network
from tnsim.common.border import bordered
from tnsim.view.kinds import KINDS
from tnsim.view.labels import labels_of
from tnsim.view.levels import MOST_BOXES, Drawable, Level, given, level_of, picture_of
from tnsim.view.scene import is_output
from tnsim.view.stages import LayerBox, size_of, stages_of
from tnsim.view.strokes import is_dashed
from tnsim.view.style import FONT, LINE, RULE, ink_on, kind_colour

__all__ = ["to_dot"]


@bordered(KINDS)
def to_dot(thing: Drawable, *, level: Level | None = None) -> str:
    """The drawing as text in the language of graphviz; ``dot -Tsvg`` draws it, and other programs read it.

    Args:
        thing: what :func:`draw` takes.
        level: as in :func:`draw`.

    Returns:
        One directed graph; terms and layers of a sum stand one below the other.

    Raises:
        ConvertError: if a module is not a polynomial, or needs an example of its input.
        ValueError: if a network has more than 300 tensors, or the thing has no such level.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra import poly
        >>> print(to_dot(poly("W[out,in0]", W=np.ones((2, 3)))).splitlines()[0])
        digraph tnsim {
    """
    model = given(thing)
    if level_of(model, level) == "model":
        body = list(_line(stages_of(as_network(model), MOST_BOXES)))
    else:
        picture = picture_of(model, level)
        labels = labels_of(picture.scenes, sizes=True)
        body = []
        for k, (scene, _) in enumerate(picture.scenes):
            told = "\n".join(filter(None, (scene.graph.get(key, "") for key in ("layers", "sign"))))
            body += [f'subgraph "cluster {k}" {{', f"  label={_quoted(told)}; color={_quoted(RULE)};"]
            body += [f"  {row}" for row in _scene(f"g{k} ", scene, labels.texts[k], labels.colours[k])]
            body.append("}")
    head = [
        "rankdir=LR;",
        f"node [fontname={_quoted(FONT)} fontsize=10 shape=box style=filled color={_quoted(LINE)}];",
        f"edge [fontname={_quoted(FONT)} fontsize=8 arrowhead=none color={_quoted(LINE)}];",
    ]
    return "\n".join(["digraph tnsim {", *(f"  {row}" for row in (*head, *body)), "}"]) + "\n"


def _line(stages: list[LayerBox]) -> Iterable[str]:
    yield '"x" [shape=plaintext style=""];'
    before, size = "x", size_of(stages[0].inside[0])
    for k, s in enumerate(stages):
        box, text = f"layer {k}", [s.name or f"{s.stands_for} more layers"]
        text += [f"degree {s.degree}"] * bool(s.name) + ["+ bias"] * s.bias
        text += [f"× {s.times}"] * (s.times > 1) + [f"= {s.same}"] * bool(s.same and s.same != s.name)
        yield _node(box, "\n".join(text), shape="box", fillcolor=kind_colour(s.kind))
        yield _edge(before, box, size)
        before, size = box, size_of(s.inside[1])
        if s.skip is not None:
            yield _node(f"sum {k}", "+", shape="circle", fillcolor="#ffffff")
            yield _edge(before, f"sum {k}", size)
            factor = "" if math.isclose(s.skip, 1.0) else f"× {s.skip:.3g}"
            source = "x" if k == 0 else _leaves(stages, k - 1)
            yield _edge(source, f"sum {k}", factor)
            before = f"sum {k}"
    yield '"out" [shape=plaintext style=""];'
    yield _edge(before, "out", size)


def _leaves(stages: list[LayerBox], k: int) -> str:
    """The node that stage ``k`` ends in."""
    return f"layer {k}" if stages[k].skip is None else f"sum {k}"


def _scene(prefix: str, scene: nx.MultiGraph, texts: Any, colours: Any) -> Iterable[str]:
    order = {n: k for k, n in enumerate(scene)}
    for n, d in scene.nodes(data=True):
        if d["kind"] == "tensor":
            text = f"{d['role']}\n{d['stands']}".strip() if texts[n] else ""
            yield _node(prefix + n, text, shape="ellipse", fillcolor=colours[n], fontcolor=ink_on(colours[n]))
        elif d["kind"] == "hub":
            yield _node(prefix + n, "", shape="point", xlabel=f"{d['label']} {d['size']}")
        else:
            yield _node(prefix + n, d["label"], shape="plaintext", style="")
    depth = _steps(scene)
    for a, b, d in scene.edges(data=True):
        first, last = sorted((a, b), key=lambda n: (-depth.get(n, 0), order[n]))
        dashed = is_dashed(scene, a, b, d["index"])
        hub = scene.nodes[b]["kind"] == "hub" or scene.nodes[a]["kind"] == "hub"
        yield _edge(prefix + first, prefix + last, "" if hub else str(d["size"]), dashed=dashed)


def _steps(scene: nx.MultiGraph) -> dict[str, int]:
    """How far every node is from the output, so that edges point towards it."""
    ends = [n for n in scene if is_output(n)] or list(scene)[:1]
    return dict(nx.multi_source_dijkstra_path_length(nx.Graph(scene), set(ends))) if ends else {}


def _node(name: str, label: str, **style: str) -> str:
    rest = "".join(f" {key}={_quoted(value)}" for key, value in style.items())
    return f"{_quoted(name)} [label={_quoted(label)}{rest}];"


def _edge(a: str, b: str, label: str, dashed: bool = False) -> str:
    return f"{_quoted(a)} -> {_quoted(b)} [label={_quoted(label)}{' style=dashed' * dashed}];"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
