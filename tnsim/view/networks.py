"""Drawings of tensor networks: x flows from left to right."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import matplotlib.pyplot as plt
import networkx as nx
import quimb.tensor as qtn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term, retensor
from tnsim.analysis.asking.given import Model, as_network, is_models
from tnsim.common.wires import MODEL, Leg
from tnsim.view.layout import WIDTH, Point, depths, place_nodes
from tnsim.view.paint import paint
from tnsim.view.scene import OUT, scene_of
from tnsim.view.style import SIZES, styled

__all__ = ["draw"]

_MOST_TENSORS = 300
_MOST_TERMS = 6
_INCH = 0.56  # one row, where there is room
_LARGEST = (15.0, 9.5)  # inches


@dataclass
class Picture:
    """Scenes with their coordinates, and what is written beside them."""

    scenes: list[tuple[nx.MultiGraph, dict[str, Point]]] = field(default_factory=list)
    signs: list[tuple[float, float, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@styled
def draw(
    thing: Model | Term | qtn.TensorNetwork,
    ax: Axes | None = None,
    *,
    sizes: bool = True,
    names: bool = False,
    legend: bool = True,
    highlight: str | Iterable[str] = (),
    title: str | None = None,
) -> tuple[Figure, Axes]:
    """Draw a network: inputs on the left, one column for every factor, the output on the right.

    A tensor is a disc with the letter and colour of its role, an index is a line with its size, an index on
    three or more tensors is a dot. Layers are outlined. Positions (in attention) are wires to the left of the inputs:
    a dot joins the copies of the input that are read at one position.

    A ``Network`` is drawn as :meth:`~tnsim.algebra.networks.network.Network.to_quimb` writes it; of a stacked network, the
    first model. Networks of sequences with several terms in a layer have no such form yet and are drawn layer by
    layer. A ``Poly`` is drawn as the sum of its terms. The vector of ones in an identity is left out.

    Args:
        thing: a torch module, which is converted, a ``Network``, ``Poly``, ``Term`` or any quimb ``TensorNetwork``.
        ax: axes to draw on; by default a new figure of fitting size.
        sizes: write the size of every index on its line.
        names: write the name of every index as well.
        legend: say what the letters stand for.
        highlight: a layer or tag, or several; everything else is faded.
        title: a title.

    Returns:
        Figure and axes.

    Raises:
        ValueError: if there are more than 300 tensors, or nothing is tagged as ``highlight`` asks.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra import poly
        >>> D, L, R = np.ones((2, 3)), np.ones((3, 4)), np.ones((3, 4))
        >>> fig, ax = draw(poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D, L=L, R=R))
        >>> plt.close(fig)
    """
    picture = _picture(thing)
    wanted = {highlight} if isinstance(highlight, str) else set(highlight)
    known = {
        tag for scene, _ in picture.scenes for _, d in scene.nodes(data=True) for tag in d.get("tags", ())
    }
    if wanted - known:
        raise ValueError(f"nothing here is tagged {sorted(wanted - known)}; there are {sorted(known)}.")
    points = [p for _, at in picture.scenes for p in at.values()] + [(x, y) for x, y, _ in picture.signs]
    if ax is None:
        span = (max(x for x, _ in points) - min(x for x, _ in points) + 2.2) * _INCH
        rise = (max(y for _, y in points) - min(y for _, y in points) + 2.0) * _INCH
        shrink = min(1.0, _LARGEST[0] / span, _LARGEST[1] / rise)
        head = 0.4 * bool(title) + 0.05
        width, height = max(span * shrink, 3.6), max(rise * shrink, 1.0) + 0.35 * legend
        fig = plt.figure(figsize=(width, height + head))
        ax = fig.add_axes((0.0, 0.0, 1.0, height / (height + head)))
    else:
        fig = ax.get_figure(root=True)  # type: ignore[assignment]
    paint(ax, picture.scenes, picture.signs, picture.notes, sizes, names, legend, wanted)
    if title:
        ax.set_title(title, fontsize=SIZES["title"], loc="left", x=0.01)
    return fig, ax


def _picture(given: Any) -> Picture:
    thing = as_network(given) if is_models([given]) and not isinstance(given, Poly) else given
    if isinstance(thing, Network):
        return _of_network(thing)
    if isinstance(thing, Poly):
        return _of_terms(thing.terms)
    if isinstance(thing, Term):
        return _of_terms((thing,))
    if isinstance(thing, qtn.TensorNetwork):
        _affordable(thing.num_tensors, "Draw a part of it, for instance tn.select(tag).")
        return _single(thing)
    raise TypeError(
        f"cannot draw a {type(thing).__name__}; give a torch module, a Network, Poly, Term or quimb "
        "TensorNetwork."
    )


def _of_network(net: Network) -> Picture:
    notes = []
    instead = f'Draw one layer, net["{net.names[0]}"], or the first ones, net[:2].'
    if net.models:
        notes.append(f"model 0 of {net.models}")
        net = net.pick(0)
    single = all(len(f.terms) == 1 for f in net.polys)
    if not single and (len(net.domain) != 1 or len(net.codomain) != 1):
        picture = _layer_by_layer(net)
        notes.append("layer by layer")
    else:
        _affordable(_count(net, single), instead)
        if single:
            (term,) = net.collapse().terms
            picture = _single(net.to_quimb(), term.legs, term.out, net.names)
        else:
            picture = _single(net.to_quimb(), layers=net.names)
            notes.append("with a constant coordinate: every input is (1, x)")
    picture.notes += notes
    return picture


def _count(net: Network, single: bool) -> int:
    """How many tensors ``net.to_quimb()`` has, about, without writing it down."""
    copies, tensors = 1, 0
    for f in reversed(net.polys):
        tensors += copies * (len(f.terms[0].tensors) if single else 1 + f.degree * (f.degree > 1))
        copies *= f.degree
    return tensors


def _layer_by_layer(net: Network) -> Picture:
    """Every layer as the sum of its terms, one layer below the other."""
    whole = Picture()
    for name, f in net:
        part = _of_terms(tuple(t.tagged([name]) for t in f.terms))
        bottom = min((y for _, at in whole.scenes for _, y in at.values()), default=2.6) - 2.6
        whole.scenes += [
            (scene, {n: (x, y + bottom) for n, (x, y) in at.items()}) for scene, at in part.scenes
        ]
        whole.signs += [(x, y + bottom, text) for x, y, text in part.signs]
        whole.notes += [f"{name}: {note}" for note in part.notes]
    return whole


def _of_terms(terms: tuple[Term, ...]) -> Picture:
    """One below the other, with signs in front; the outputs share a column."""
    notes = []
    run = next((t.sizes[MODEL] for t in terms if MODEL in t.sizes), None)
    if run:
        notes.append(f"model 0 of {run}")
    shown = terms[:_MOST_TERMS]
    if len(terms) > len(shown):
        notes.append(f"and {len(terms) - len(shown)} more terms")
    _affordable(sum(len(t.tensors) for t in shown), "Draw one of its terms, f.terms[0].")
    scenes = []
    for t in shown:
        tensors = [_first(x) for x in t.tensors]
        scenes.append(scene_of(qtn.TensorNetwork(tensors, check_collisions=False), t.legs, t.out))
    columns = max((d + 1 for scene in scenes for d in depths(scene)[0].values()), default=1)
    picture = Picture(notes=notes)
    gap = 1.9 if any(d.get("layer") for scene in scenes for _, d in scene.nodes(data=True)) else 1.15
    floor, signs = 0.0, []
    for i, (scene, t) in enumerate(zip(scenes, shown, strict=True)):
        at = place_nodes(scene, columns)
        top = max(y for _, y in at.values())
        at = {n: (x, y - top + floor) for n, (x, y) in at.items()}
        picture.scenes.append((scene, at))
        sign = _sign(t.coefficient, first=i == 0)
        if sign:
            middle = at[OUT][1] if OUT in at else floor
            signs.append((middle, sign))
        floor = min(y for _, y in at.values()) - gap
    edge = min((x for _, at in picture.scenes for x, _ in at.values()), default=0.0)
    picture.signs += [(min(-1.9 * WIDTH, edge - WIDTH), y, sign) for y, sign in signs]
    return picture


def _first(x: qtn.Tensor) -> qtn.Tensor:
    """Without its run index: the first model."""
    if MODEL not in x.inds:
        return x
    at = x.inds.index(MODEL)
    return retensor(x, data=x.data[(slice(None),) * at + (0,)], inds=x.inds[:at] + x.inds[at + 1 :])


def _sign(c: float, first: bool) -> str:
    size = "" if math.isclose(abs(c), 1.0) else f" {abs(c):.3g} ·"
    return (("−" if c < 0 else "" if first else "+") + size).strip()


def _single(
    network: qtn.TensorNetwork, legs: tuple[Leg, ...] = (), out: Leg = (), layers: Iterable[str] = ()
) -> Picture:
    scene = scene_of(network, legs, out, layers)
    return Picture([(scene, place_nodes(scene))])


def _affordable(tensors: int, instead: str) -> None:
    if tensors > _MOST_TENSORS:
        raise ValueError(f"{tensors} tensors are too many to read; the limit is {_MOST_TENSORS}. {instead}")
