"""Topology: a network without its numbers, as plain data: texts, whole numbers and lists, as JSON holds them; and back.

What is read back is checked as if a stranger had written it: every index has one size, legs and outputs are those of the
domain and the codomain, layers fit together, a symmetry is one of the legs that there are.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from math import isfinite, prod
from typing import Any, TypeVar

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Axes, Poly
from tnsim.algebra.terms.hidden import Units
from tnsim.algebra.terms.symmetry import Branch, Tree, leaves
from tnsim.algebra.terms.term import Term
from tnsim.common.wires import BATCH, MODEL, WireError, role_of

__all__ = ["TopologyError", "all_terms", "from_plain", "to_plain"]

Array = Any
Plain = dict[str, Any]
_T = TypeVar("_T")


class TopologyError(WireError):
    """Plain data describe no network; the message says what and where."""


def to_plain(net: Network) -> tuple[Plain, dict[str, Array]]:
    """A network as plain data, and its arrays by name; an array that stands in several places is there once.

    Names are those of a layer and a role, ``blocks.0/left``, with a number where there are several.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra.polys.writing import poly
        >>> plain, arrays = to_plain(Network((("w", poly("W[out,in0]", W=np.eye(2))),)))
        >>> list(arrays), plain["layers"][0]["poly"]["terms"][0]["tensors"]
        (['w/W'], [['w/W', ['out:d', 'in0:d'], ['W']]])
    """
    names: dict[int, str] = {}
    arrays: dict[str, Array] = {}

    def name_of(x: qtn.Tensor, layer: str) -> str:
        if id(x.data) not in names:
            stem = f"{layer}/{role_of(x.tags) or 'T'}"
            free = (f"{stem}{n or ''}" for n in count() if n != 1)
            names[id(x.data)] = next(name for name in free if name not in arrays)
            arrays[names[id(x.data)]] = x.data
        return names[id(x.data)]

    def told(f: Poly | None, layer: str) -> Plain | None:
        if f is None:
            return None
        units = f.units and {
            part: told(getattr(f.units, part), layer) for part in ("products", "read", "rest", "inner")
        }
        return {
            "domain": [list(axis) for axis in f.domain],
            "codomain": [list(axis) for axis in f.codomain],
            "terms": [
                {
                    "tensors": [[name_of(x, layer), list(x.inds), list(x.tags)] for x in t.tensors],
                    "legs": [list(leg) for leg in t.legs],
                    "out": list(t.out),
                    "coefficient": float(t.coefficient),
                    "symmetry": _plain_tree(t.symmetry),
                }
                for t in f.terms
            ],
            "units": units,
        }

    plain = {
        "layers": [{"name": name, "poly": told(f, name)} for name, f in net],
        "in_shape": list(net.in_shape),
        "notes": list(net.notes),
        "ids": [[ids.start, ids.stop, ids.step] for ids in net.ids],
    }
    return plain, arrays


def from_plain(plain: Any, arrays: Mapping[str, Array]) -> Network:
    """The network that plain data describe.

    Args:
        plain: what :func:`to_plain` made, or anything that claims to be that.
        arrays: its arrays by name.

    Raises:
        TopologyError: if it describes no network, or one of other arrays.
    """
    try:
        layers = tuple(
            (_text(layer["name"]), _poly(_dict(layer["poly"]), arrays)) for layer in _list(plain["layers"])
        )
        if not layers:
            raise TopologyError("there are no layers.")
        runs = {t.sizes[MODEL] for _, f in layers for t in all_terms(f) if MODEL in t.sizes}
        if len(runs) > 1:
            raise TopologyError(f"layers are of {sorted(runs)} models.")
        in_shape = tuple(map(_size, _list(plain["in_shape"])))
        domain = layers[0][1].domain
        if prod(in_shape) != prod(n for _, n in domain):
            raise TopologyError(f"an input of shape {in_shape} has not as many entries as {domain}.")
        return Network(
            layers, in_shape, tuple(map(_text, _list(plain["notes"]))), _ids(_list(plain["ids"]), domain)
        )
    except (KeyError, TypeError) as error:
        raise TopologyError(f"a part is missing or of another kind ({error}).") from None
    except WireError:
        raise
    except ValueError as error:  # of the network itself: layers that do not fit
        raise TopologyError(str(error)) from None


def _poly(plain: Plain, arrays: Mapping[str, Array]) -> Poly:
    domain, codomain = _axes(plain["domain"]), _axes(plain["codomain"])
    terms = tuple(_term(_dict(t), domain, codomain, arrays) for t in _list(plain["terms"]))
    if not terms:
        raise TopologyError("a layer has no terms.")
    return Poly(terms, domain, codomain).having(_units(plain["units"], domain, codomain, arrays))


def _term(plain: Plain, domain: Axes, codomain: Axes, arrays: Mapping[str, Array]) -> Term:
    tensors = []
    sizes: dict[str, int] = {}
    for name, inds, tags in map(_list, _list(plain["tensors"])):
        if name not in arrays:
            raise TopologyError(f"there is no tensor {name!r}.")
        data, inds = arrays[name], tuple(map(_text, _list(inds)))
        shape = tuple(map(int, ar.shape(data)))
        if len(shape) != len(inds):
            raise TopologyError(f"{name!r} has shape {shape} and the indices {list(inds)}.")
        for ix, n in zip(inds, shape, strict=True):
            if sizes.setdefault(ix, n) != n or n < 1:
                raise TopologyError(f"{ix} has size {n} on {name!r}, and size {sizes[ix]}.")
        if MODEL in inds[1:] or BATCH in inds:
            raise TopologyError(f"{name!r} has the indices {list(inds)}.")
        tensors.append(qtn.Tensor(data, inds, tags=list(map(_text, _list(tags)))))
    if not tensors:
        raise TopologyError("a term has no tensors.")
    legs = tuple(_ends(leg, domain, sizes) for leg in _list(plain["legs"]))
    coefficient = plain["coefficient"]
    if isinstance(coefficient, bool) or not isinstance(coefficient, int | float):
        raise TopologyError(f"the coefficient {coefficient!r} is no number.")
    if not isfinite(coefficient := float(coefficient)):
        raise TopologyError(f"a term has the coefficient {coefficient}.")
    symmetry = _tree(plain["symmetry"])
    if symmetry is not None and sorted(leaves(symmetry)) != list(range(len(legs))):
        raise TopologyError(f"a symmetry of other legs than the {len(legs)} that there are.")
    return Term(tuple(tensors), legs, _ends(plain["out"], codomain, sizes), coefficient, symmetry)


def _ends(plain: Any, axes: Axes, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """The indices of a leg or of the output, one for every axis and of its size."""
    inds = tuple(map(_text, _list(plain)))
    if MODEL in inds or [sizes.get(ix) for ix in inds] != [n for _, n in axes]:
        raise TopologyError(f"the indices {list(inds)} are not of the axes {list(axes)}.")
    return inds


def _units(plain: Any, domain: Axes, codomain: Axes, arrays: Mapping[str, Array]) -> Units | None:
    if plain is None:
        return None
    parts = {name: _dict(plain)[name] for name in ("products", "read", "rest", "inner")}
    made = {name: None if part is None else _poly(_dict(part), arrays) for name, part in parts.items()}
    products, read, rest, inner = made.values()
    if products is None or read is None:
        raise TopologyError("hidden units lack their products, or what reads these.")
    before = domain if inner is None else inner.codomain
    fits = [
        (products.domain, before),
        (read.domain, products.codomain),
        (read.codomain, codomain),
        (None if inner is None else inner.domain, None if inner is None else domain),
        (None if rest is None else rest.domain, None if rest is None else before),
        (None if rest is None else rest.codomain, None if rest is None else codomain),
    ]
    if any(mine != wanted for mine, wanted in fits):
        raise TopologyError("hidden units do not fit their layer.")
    return Units(products, read, rest, inner)


def all_terms(f: Poly | None) -> Iterator[Term]:
    """All terms of a layer, those of its units included."""
    if f is not None:
        yield from f.terms
        for part in (f.units.products, f.units.read, f.units.rest, f.units.inner) if f.units else ():
            yield from all_terms(part)


def _ids(plain: list[Any], domain: Axes) -> tuple[range, ...]:
    if not plain:
        return ()
    ids = tuple(range(*(_whole(n) for n in _list(ends))) for ends in plain)
    if len(domain) != 2 or len(ids) != domain[0][1]:
        raise TopologyError(f"token ids at {len(ids)} positions, for an input {domain}.")
    if any(len(part) and not (0 <= part[0] < domain[1][1] and 0 <= part[-1] < domain[1][1]) for part in ids):
        raise TopologyError(f"token ids beyond the {domain[1][1]} that there are.")
    return ids


def _plain_tree(tree: Tree | None) -> Any:
    if tree is None or isinstance(tree, int):
        return tree
    return {"free": bool(tree.free), "children": [_plain_tree(child) for child in tree.children]}


def _tree(plain: Any) -> Tree | None:
    if plain is None:
        return None
    if not isinstance(plain, dict):
        return _whole(plain)
    children = tuple(child for x in _list(plain["children"]) if (child := _tree(x)) is not None)
    if not isinstance(plain["free"], bool):
        raise TopologyError("a symmetry does not say what may be exchanged.")
    if plain["free"] and len({_form(child) for child in children}) > 1:
        raise TopologyError("a symmetry exchanges parts that are not alike.")
    return Branch(children, plain["free"])


def _form(tree: Tree) -> Any:
    return 0 if isinstance(tree, int) else (tree.free, tuple(map(_form, tree.children)))


def _axes(plain: Any) -> Axes:
    return tuple((_text(name), _size(n)) for name, n in map(_list, _list(plain)))


def _of(kind: type[_T], what: str) -> Callable[[Any], _T]:
    def check(x: Any) -> _T:
        if not isinstance(x, kind) or isinstance(x, bool):
            raise TopologyError(f"{what} is wanted where there is a {type(x).__name__}.")
        return x

    return check


_text, _whole, _list, _dict = (
    _of(str, "a text"),
    _of(int, "a whole number"),
    _of(list, "a list"),
    _of(dict, "a table"),
)


def _size(x: Any) -> int:
    if _whole(x) < 1:
        raise TopologyError(f"an axis has size {x}.")
    return int(x)
