"""Drawings of models: one box a layer, what a layer is made of, or the whole network. x flows from left to right."""

from collections.abc import Iterable
from typing import Literal, overload

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tnsim.analysis.asking.given import as_network
from tnsim.view.leaves import Look, draw_line, draw_picture, leaves_of
from tnsim.view.levels import Drawable, Level, given, level_of, picture_of
from tnsim.view.page import Page
from tnsim.view.style import styled

__all__ = ["draw"]


@overload
def draw(
    thing: Drawable,
    ax: Axes | None = None,
    *,
    level: Level | None = None,
    sizes: bool = True,
    names: bool = False,
    legend: bool = True,
    highlight: str | Iterable[str] = (),
    title: str | None = None,
    interactive: Literal[False] = False,
) -> tuple[Figure, Axes]: ...
@overload
def draw(
    thing: Drawable,
    ax: None = None,
    *,
    level: Level | None = None,
    sizes: bool = True,
    names: bool = False,
    legend: bool = True,
    highlight: str | Iterable[str] = (),
    title: str | None = None,
    interactive: Literal[True],
) -> Page: ...
@styled
def draw(
    thing: Drawable,
    ax: Axes | None = None,
    *,
    level: Level | None = None,
    sizes: bool = True,
    names: bool = False,
    legend: bool = True,
    highlight: str | Iterable[str] = (),
    title: str | None = None,
    interactive: bool = False,
) -> tuple[Figure, Axes] | Page:
    """Draw a model, a layer or a network: inputs on the left, the output on the right.

    =============  =============================================================================================
    ``"model"``    one box for every layer with its degree and the size of its products, in rows as long as a page is
                   wide; true sizes on the line; a bend where the input goes past a layer and is added; "+ bias" where a
                   constant is; "× 3" where a layer is applied three times. For any depth.
    ``"layer"``    every layer as the sum of its terms, one below the other. A tensor is a disc, an index a line with its
                   size, an index of three or more a dot. Layers of one form share a drawing. Of a layer with more
                   than four terms, as attention with biases, those of highest degree and the input itself; a ``Poly`` of
                   its own, ``net["attn"]``, shows six.
    ``"network"``  all layers as one network of tensors, as ``net.to_quimb()`` writes it: every
                   layer as often as the next one reads it. Where layers have several terms, in homogeneous coordinates:
                   a constant 1 in front of every vector, so sizes are larger by one. For few layers.
    =============  =============================================================================================

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
        interactive: make a page to move and zoom in: pointing at a box, disc or line tells name, shape, norm and rank, and
            a click on the box of a layer opens what it is made of.

    Returns:
        Figure and axes; ``fig.savefig("model.svg")``, ``.pdf`` or ``.png`` writes it. With ``interactive=True`` a
        :class:`~tnsim.view.page.Page`, which a notebook shows, and ``page.save("model.html")`` writes as one file that
        needs nothing else. Ranks of large weights are left out once they would take more than 2e10 operations.

    Raises:
        ConvertError: if a module is not a polynomial, or needs an example of its input.
        ValueError: if a network has more than 300 tensors, nothing is tagged as ``highlight`` asks, or the thing has no
            such level.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra import poly
        >>> D, L, R = np.ones((2, 3)), np.ones((3, 4)), np.ones((3, 4))
        >>> fig, ax = draw(poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D, L=L, R=R))
        >>> page = draw(poly("W[out,in0]", W=D), interactive=True)  # and then page.save("layer.html")
    """
    model = given(thing)
    options = Look(sizes, names, legend, {highlight} if isinstance(highlight, str) else set(highlight))
    own = level_of(model, level)
    if interactive:
        if ax is not None:
            raise ValueError("an interactive drawing is a page of its own; leave ax= out, or interactive=.")
        return leaves_of(model, own, options, title)
    return (
        draw_line(as_network(model), ax, options, title)
        if own == "model"
        else draw_picture(picture_of(model, own), ax, options, title)
    )
