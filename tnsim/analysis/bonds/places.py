"""Places in a network where it can be cut: the input, the hidden state behind a layer, hidden units, the output."""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.polys.rewriting import star
from tnsim.algebra.polys.writing import concat, identity
from tnsim.algebra.terms.term import Term
from tnsim.common.absent import PlaceError
from tnsim.common.wires import index, input_leg, output_leg

__all__ = ["HIDDEN", "Place", "is_hidden", "linear_map", "place_at", "products", "split"]

HIDDEN = ".hidden"


@dataclass(frozen=True, eq=False)
class Place:
    """A cut between two layers.

    Attributes:
        name: as the user writes it.
        net: the network, with a layer split in two where the cut goes through it.
        at: how many of its layers lie below the cut.
        size: how many coordinates of the state there belong to the place (the first ones).
    """

    name: str
    net: Network
    at: int
    size: int

    @property
    def below(self) -> Network:
        """The state at the cut as a function of the input."""
        net = self.net
        if self.at:
            return net[: self.at]
        return Network((("in", identity(net.domain, net.polys[0].like)),), net.in_shape)


def place_at(net: Network, at: str | int) -> Place:
    """A place by name: ``"in"``, ``"out"``, a layer (the state behind it), or ``"layer.hidden"`` (its hidden units).

    A number counts the layers below. A layer that is itself called ``"block.hidden"`` is meant by that name.

    Raises:
        PlaceError: if there is no such place, or a layer is called ``"in"`` or ``"out"`` and lies elsewhere.
    """
    names = list(net.names)
    if isinstance(at, int):
        if not 0 <= at <= len(net):
            raise PlaceError(f"no place {at}; a network of {len(net)} layers has places 0 to {len(net)}.")
        return _behind(net, at, "in" if at == 0 else names[at - 1])
    ends = {"in": 0, "out": len(net)}
    if at in names:
        k = names.index(at) + 1
        if ends.get(at, k) != k:
            raise PlaceError(
                f"{at!r} is the name of a layer here; write {k} for the place behind it, {ends[at]} for that end."
            )
        return _behind(net, k, at)
    if at in ends:
        return _behind(net, ends[at], at)
    owner = at.removesuffix(HIDDEN)
    if is_hidden(net, at) and owner in names:
        k = names.index(owner)
        products, rest, size = split(net.polys[k], owner)
        layers = list(net.layers)
        layers[k : k + 1] = [(at, products), (owner, rest)]
        return Place(at, Network(tuple(layers), net.in_shape), k + 1, size)
    raise PlaceError(
        f'no place {at!r}; there are "in", "out", the layers {names} and their hidden units, such as '
        f"{names[-1] + HIDDEN!r}."
    )


def is_hidden(net: Network, at: str) -> bool:
    """Whether a name is that of the hidden units of a layer, and not of a layer."""
    return isinstance(at, str) and at.endswith(HIDDEN) and at not in net.names


def _behind(net: Network, at: int, name: str) -> Place:
    shape = net.polys[at - 1].out_shape if at else net.polys[0].in_shape
    return Place(name, net, at, prod(shape))


def split(f: Poly, name: str = "this layer") -> tuple[Poly, Poly, int]:
    """A layer f(x) = D q(x) + A x + c as its hidden units q (with x carried along, if need be) and the rest.

    Returns:
        The two polynomials, and the number of hidden units.

    Raises:
        ValueError: if there is not one term of products around one hidden index.
    """
    top, (down, *legs) = products(f, name)
    size = int(ar.shape(down)[-1])
    out = output_leg(["d"])
    tensors = [qtn.Tensor(x, (*out, *input_leg(k, ["d"])), tags="unit") for k, x in enumerate(legs)]
    inputs = tuple(input_leg(k, ["d"]) for k in range(top.degree))
    units = Poly((Term(tuple(tensors), inputs, out, symmetry=top.symmetry),), f.domain, (("d", size),))
    read = linear_map(down, (("d", size),))
    lower = tuple(t for t in f.terms if t.degree < 2)
    if not lower:
        return units, read, size
    carried = concat([units, identity(f.domain, f.like)])
    n = f.in_shape[0]
    eye = ar.do("eye", size + n, like=f.like)
    rest = replace(f, terms=lower) @ linear_map(eye[size:], carried.codomain)
    return carried, read @ linear_map(eye[:size], carried.codomain) + rest, size


def products(f: Poly, name: str = "this layer") -> tuple[Term, tuple[Any, ...]]:
    """The one term of products of a layer, and its factors ``(o, h)``, ``(h, n)``, ….

    Raises:
        ValueError: if there is not one such term around one hidden index.
    """
    tops = [t for t in f.terms if t.degree > 1]
    single = len(tops) == 1 and len(f.domain) == 1 and len(f.codomain) == 1
    factors = star(tops[0]) if single else None
    if factors is None:
        raise ValueError(f"{name} has no hidden units: it needs one term of products, as D((Lx)∘(Rx)).")
    if f.models is not None:
        raise ValueError("hidden units are those of one model; pick it from the run with net.pick(i).")
    return tops[0], factors


def linear_map(matrix: Any, domain: tuple[tuple[str, int], ...]) -> Poly:
    """x ↦ W x for a matrix W over a flattened input of several axes."""
    shape = tuple(n for _, n in domain)
    rows = int(ar.shape(matrix)[0])
    leg = tuple(index("in0", s) for s, _ in domain)
    tensor = qtn.Tensor(ar.do("reshape", matrix, (rows, *shape)), (*output_leg(["d"]), *leg), tags="W")
    return Poly((Term((tensor,), (leg,), output_leg(["d"])),), domain, (("d", rows),))
