"""Levels: what is drawn of a thing at each of them."""

from typing import Any, Literal

import quimb.tensor as qtn

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term
from tnsim.analysis.asking.given import Model, as_network, is_models
from tnsim.view.pictures import Picture, of_layers, of_network, of_tensors, of_terms

__all__ = ["MOST_BOXES", "Drawable", "Level", "given", "level_of", "picture_of"]

Level = Literal["model", "layer", "network"]
Drawable = Model | Term | qtn.TensorNetwork

MOST_BOXES = 96


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
