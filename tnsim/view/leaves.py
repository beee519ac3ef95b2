"""Leaves: the drawings of a thing, on axes or as the leaves of an interactive page."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tnsim.algebra.networks.network import Network
from tnsim.analysis.asking.given import as_network
from tnsim.common.digits import count_in_words
from tnsim.view.boxes import line_inches, paint_line
from tnsim.view.canvas import canvas
from tnsim.view.facts import Facts
from tnsim.view.levels import MOST_BOXES, Level, picture_of
from tnsim.view.line import line_of
from tnsim.view.page import Leaf, Page, page_of, svg_of
from tnsim.view.paint import paint, picture_inches
from tnsim.view.pictures import Picture, form_of, of_terms
from tnsim.view.stages import LayerBox, size_of, stages_of

__all__ = ["Look", "draw_line", "draw_picture", "leaves_of"]


@dataclass(frozen=True)
class Look:
    """What is written on a drawing, and what is not faded."""

    sizes: bool
    names: bool
    legend: bool
    highlight: set[str]


def draw_line(net: Network, ax: Axes | None, options: Look, title: str | None) -> tuple[Figure, Axes]:
    """A model as a line of boxes.

    Raises:
        ValueError: if no layer has a name that is to be highlighted.
    """
    stages = stages_of(net, MOST_BOXES)
    _known(options.highlight, {s.name for s in stages if s.name})
    line = line_of(stages)
    notes = [f"a run of {net.models} models"] if net.models else []
    fig, ax = canvas(ax, line_inches(line, options.legend, notes), title)
    paint_line(ax, line, options.sizes, options.legend, options.highlight, notes)
    return fig, ax


def draw_picture(picture: Picture, ax: Axes | None, options: Look, title: str | None) -> tuple[Figure, Axes]:
    """Tensors and their indices.

    Raises:
        ValueError: if nothing has a tag that is to be highlighted.
    """
    nodes = [d for scene, _ in picture.scenes for _, d in scene.nodes(data=True)]
    _known(options.highlight, {tag for d in nodes for tag in d.get("tags", ())})
    fig, ax = canvas(ax, picture_inches(picture, options.sizes, options.legend), title)
    paint(ax, picture, options.sizes, options.names, options.legend, options.highlight)
    return fig, ax


def leaves_of(thing: Any, level: Level, options: Look, title: str | None) -> Page:
    """The page of a thing: of a model one leaf with its boxes, and one for every box."""
    facts = Facts()
    if level != "model":
        picture = picture_of(thing, level)
        fig, _ = draw_picture(picture, None, options, None)
        return page_of(title or "tnsim", [svg_of(fig)], [Leaf(title or "", 0, _told(picture, facts))])
    net = as_network(thing)
    fig, _ = draw_line(net, None, options, None)
    panels, forms = [svg_of(fig)], dict[Hashable, int]()
    one = net.pick(0) if net.models else net
    boxes: dict[str, dict[str, Any]] = {}
    leaves = [Leaf(title or f"{len(net)} layers, degree {count_in_words(net.degree)}", 0, boxes)]
    within = Look(options.sizes, options.names, options.legend, set())
    for stage in stages_of(net, MOST_BOXES):
        if not stage.name:
            boxes["box "] = {"lines": [f"{stage.stands_for} more layers", 'net["name"] is one of them']}
            continue
        f = one[stage.name]
        picture = of_terms(f.terms)
        form = form_of(f)
        if form not in forms:
            forms[form] = len(panels)
            panels.append(svg_of(draw_picture(picture, None, within, None)[0]))
        about = facts.of_layer(stage.name, f)
        boxes[f"box {stage.name}"] = {"lines": [*about, *_marks(stage)], "opens": len(leaves)}
        heading = f"{stage.name}: {size_of(f.domain)} → {size_of(f.codomain)}, degree {f.degree}"
        leaves.append(Leaf(heading, forms[form], _told(picture, facts)))
    return page_of(title or "tnsim", panels, leaves)


def _told(picture: Picture, facts: Facts) -> dict[str, dict[str, Any]]:
    several = len(picture.scenes) > 1
    found: dict[str, dict[str, Any]] = {}
    for k, (scene, _) in enumerate(picture.scenes):
        found.update(facts.of_scene(scene, f"{k}/" if several else ""))
    return found


def _marks(stage: LayerBox) -> list[str]:
    """What the marks on a box say, in words."""
    words = []
    if stage.skip is not None:
        words.append("its input is added" + ("" if stage.skip == 1.0 else f", times {stage.skip:.3g}"))
    if stage.bias:
        words.append("with a constant")
    if stage.times > 1:
        words.append(f"applied {stage.times} times in a row")
    if stage.same:
        words.append(f"the weights of {stage.same}")
    return words


def _known(wanted: set[str], known: set[str]) -> None:
    if wanted - known:
        raise ValueError(f"nothing here is tagged {sorted(wanted - known)}; there are {sorted(known)}.")
