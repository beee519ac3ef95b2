"""Drawings of models: one box a layer, what a layer is made of, or the whole network. x flows from left to right."""

from collections.abc import Iterable
from typing import Any, Literal

import matplotlib.pyplot as plt
import quimb.tensor as qtn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term
from tnsim.analysis.asking.given import Model, as_network, is_models
from tnsim.view.boxes import line_inches, paint_line
from tnsim.view.line import line_of
from tnsim.view.paint import paint, picture_inches
from tnsim.view.pictures import Picture, of_layers, of_network, of_tensors, of_terms
from tnsim.view.stages import stages_of
from tnsim.view.style import SIZES, styled

__all__ = ["MOST_BOXES", "Level", "draw", "given", "level_of", "picture_of"]

Level = Literal["model", "layer", "network"]

MOST_BOXES = 96


@styled
def draw(
    thing: Model | Term | qtn.TensorNetwork,
    ax: Axes | None = None,
    *,
    level: Level | None = None,
    sizes: bool = True,
    names: bool = False,
    legend: bool = True,
    highlight: str | Iterable[str] = (),
    title: str | None = None,
) -> tuple[Figure, Axes]:
    """Draw a model, a layer or a network: inputs on the left, the output on the right.

    ============  =============================================================================================
    ``"model"``   one box for every layer with its degree and the size of its products, in rows as long as a page is
                  wide; true sizes on the line; a bend where the input goes past a layer and is added; "+ bias" where a
                  constant is; "× 3" where a layer is applied three times. For any depth.
    ``"layer"``   every layer as the sum of its terms, one below the other. A tensor is a disc, an index a line with its
                  size, an index of three or more a dot. Layers of one form share a drawing.
    ``"network"``  all layers as one network of tensors, as ``net.to_quimb()`` writes it: every
                  layer as often as the next one reads it. Where layers have several terms, in homogeneous coordinates:
                  a constant 1 in front of every vector, so sizes are larger by one. For few layers.
    ============  =============================================================================================

    Colours say what a tensor does, read off where it stands: left and right factor of a product, output map, query, key,
    value. Names are those of the model; long ones are short in the discs and written out in the legend. Positions (in
    attention) are dashed lines to the left of the inputs: a dot joins the copies of x that are read at one position.
    Of a stacked network the first model is drawn. The vector of ones in an identity is left out.

    Args:
        thing: a torch module, which is converted; a ``Network``, ``Poly``, ``Term`` or any quimb ``TensorNetwork``. Where
            a module needs an example of its input, draw ``tnsim.convert(module, example)``.
        ax: axes to draw on; by default a new figure of fitting size.
        level: see above; by default ``"model"`` for a model, ``"layer"`` for one of a single layer and for a ``Poly``
            or ``Term``, ``"network"`` for a ``TensorNetwork``.
        sizes: write the size of every index on its line.
        names: write the name of every index as well.
        legend: say what letters, colours and marks stand for.
        highlight: a layer or tag, or several; everything else is faded.
        title: a title.

    Returns:
        Figure and axes; ``fig.savefig("model.svg")``, ``.pdf`` or ``.png`` writes it.

    Raises:
        ConvertError: if a module is not a polynomial, or needs an example of its input.
        ValueError: if a network has more than 300 tensors, nothing is tagged as ``highlight`` asks, or the thing has no
            such level.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra import poly
        >>> D, L, R = np.ones((2, 3)), np.ones((3, 4)), np.ones((3, 4))
        >>> fig, ax = draw(poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D, L=L, R=R))
        >>> plt.close(fig)
    """
    model = given(thing)
    wanted = {highlight} if isinstance(highlight, str) else set(highlight)
    if level_of(model, level) == "model":
        model = as_network(model)
        stages = stages_of(model, MOST_BOXES)
        _known(wanted, {s.name for s in stages if s.name})
        line = line_of(stages)
        notes = [f"a run of {model.models} models"] if model.models else []
        fig, ax = _axes(ax, line_inches(line, legend, notes), title)
        paint_line(ax, line, sizes, legend, wanted, notes)
    else:
        picture = picture_of(model, level)
        _known(
            wanted, {t for s, _ in picture.scenes for _, d in s.nodes(data=True) for t in d.get("tags", ())}
        )
        fig, ax = _axes(ax, picture_inches(picture, sizes, legend), title)
        paint(ax, picture, sizes, names, legend, wanted)
    if title:
        ax.set_title(title, fontsize=SIZES["title"], loc="left", x=0.01)
    return fig, ax


def given(thing: Any) -> Any:
    """A Network, Poly, Term or TensorNetwork from what is to be drawn."""
    if isinstance(thing, Network | Poly | Term | qtn.TensorNetwork):
        return thing
    if is_models([thing]):
        return as_network(thing)
    raise TypeError(
        f"cannot draw a {type(thing).__name__}; give a torch module, a Network, Poly, Term or quimb "
        "TensorNetwork."
    )


def level_of(thing: Network | Poly | Term | qtn.TensorNetwork, level: Level | None) -> Level:
    """The level asked for, or that of the thing.

    Raises:
        ValueError: if there is no such level.
    """
    if isinstance(thing, Network):
        return level or ("layer" if len(thing) == 1 else "model")
    if isinstance(thing, Poly):
        return level or "layer"
    own: Level = "network" if isinstance(thing, qtn.TensorNetwork) else "layer"
    if level == "model" or (own == "network" and level == "layer"):
        raise ValueError(
            f'a {type(thing).__name__} has no layers to draw at level="{level}"; leave level= out, or draw the Network '
            "that it is a part of."
        )
    return own


def picture_of(thing: Network | Poly | Term | qtn.TensorNetwork, level: Level | None) -> Picture:
    """Scenes and their coordinates, for all levels but that of the model."""
    if isinstance(thing, Network | Poly) and level_of(thing, level) == "network":
        return of_network(as_network(thing))
    if isinstance(thing, Network):
        return of_layers(thing)
    if isinstance(thing, Poly):
        return of_terms(thing.terms)
    return of_terms((thing,)) if isinstance(thing, Term) else of_tensors(thing)


def _known(wanted: set[str], known: set[str]) -> None:
    if wanted - known:
        raise ValueError(f"nothing here is tagged {sorted(wanted - known)}; there are {sorted(known)}.")


def _axes(ax: Axes | None, inches: tuple[float, float], title: str | None) -> tuple[Figure, Axes]:
    """The axes given, or those of a new figure of a size in inches."""
    if ax is not None:
        return ax.get_figure(root=True), ax  # type: ignore[return-value]
    width, height = inches
    head = 0.4 * bool(title) + 0.05
    fig = plt.figure(figsize=(width, height + head))
    return fig, fig.add_axes((0.0, 0.0, 1.0, height / (height + head)))
