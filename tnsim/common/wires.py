"""The grammar of index names and tags: the only file that spells a name.

An index is called ``[path/]place:space``, for instance ``in0:d``, ``out:s`` or ``ket/mlp.0/hid:h``.

=========  =====================================================================
place      ``in0 in1 …`` | ``out`` | a position such as ``q k`` | any inner word
space      ``d`` feature, ``s`` position, ``h`` inner, ``m`` model, ``b`` sample
path       ``ket`` | ``bra`` | layer and leg names, nested with ``/``
=========  =====================================================================

A *leg* is the tuple of indices that together carry one copy of the input.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count

__all__ = [
    "BATCH",
    "BRIDGE_TAGS",
    "MODEL",
    "PICK",
    "PLACE",
    "SIDES",
    "VIEW",
    "WIRE",
    "Equation",
    "Leg",
    "WireError",
    "avoiding",
    "constant_role",
    "identify",
    "index",
    "input_leg",
    "is_constant",
    "model_index",
    "nest",
    "output_leg",
    "parse",
    "place",
    "rename",
    "role_of",
    "side_of",
    "space",
    "unused",
]

Leg = tuple[str, ...]

MODEL = "model:m"  # the training run: one index shared by every weight of a stacked network
BATCH = "sample:b"  # the data: one index shared by every leg
SIDES = ("ket", "bra")
BRIDGE_TAGS = ("COV", "MEAN", "DATA")

# Roles of what is nobody's weight end in a dot, which no name of a module, a parameter or a factor does.
WIRE = "I."  # an identity or a selection on wires: no number of it is anybody's
PICK = "pick."  # some entries of an axis
VIEW = "view."  # one axis as several, or several as one
PLACE = "place."  # where parts are put together

_ITEM = re.compile(r"^(?P<place>[A-Za-z_]\w*)(@(?P<position>[A-Za-z_]\w*))?$")
_FACTOR = re.compile(r"(?P<name>[A-Za-z_]\w*)\[(?P<items>[^\]]*)\]")
_INPUT = re.compile(r"^in(\d+)$")


class WireError(ValueError):
    """Names and shapes do not fit together.

    Example:
        >>> import torch, tnsim
        >>> tnsim.poly("D[out,hid] L[hid,in0]", D=torch.ones(2, 3), L=torch.ones(4, 4))
        Traceback (most recent call last):
            ...
        tnsim.common.wires.WireError: `hid` has size 3 before `L[hid,in0]`, where it is 4.
    """


def index(place: str, space: str, path: str = "") -> str:
    """Spell an index name.

    Example:
        >>> index("hid", "h", "ket/mlp.0")
        'ket/mlp.0/hid:h'
    """
    return f"{path}/{place}:{space}" if path else f"{place}:{space}"


def space(ix: str) -> str:
    """The space an index lives in: ``d``, ``s``, ``h``, ``m`` or ``b``."""
    return ix.rsplit(":", 1)[-1]


def place(ix: str) -> str:
    """The place of an index, without path and space."""
    return ix.rsplit("/", 1)[-1].rsplit(":", 1)[0]


def side_of(ix: str) -> str | None:
    """``"ket"`` or ``"bra"`` if the index lies on that side, else ``None``."""
    head = ix.split("/", 1)[0]
    return head if head in SIDES else None


def constant_role(role: str) -> str:
    """The role of a tensor that is nobody's weight: of a mask, a buffer, an operation without weights."""
    return f"{role.rstrip('.')}."


def is_constant(tags: Iterable[str]) -> bool:
    """Whether a tensor is nobody's weight, by its tags.

    Example:
        >>> is_constant([WIRE]), is_constant([constant_role("mask"), "mlp.0"]), is_constant(["left", "mlp.0"])
        (True, True, False)
    """
    return next(iter(tags), "").endswith(".")


def role_of(tags: Iterable[str]) -> str:
    """The role that a tensor has by its tags, as it is shown.

    Example:
        >>> role_of([WIRE, "mlp.0"]), role_of(["left", "mlp.0"]), role_of([])
        ('I', 'left', '')
    """
    return next(iter(tags), "").rstrip(".")


def nest(ix: str, path: str) -> str:
    """Move an index under ``path``; the run and the sample index stay shared.

    Example:
        >>> nest("hid:h", "0"), nest("model:m", "0")
        ('0/hid:h', 'model:m')
    """
    return ix if ix in (MODEL, BATCH) else f"{path}/{ix}"


def model_index(side: str) -> str:
    """The run index of one side of an inner product, e.g. ``ket/model:m``."""
    return f"{side}/{MODEL}"


def input_leg(k: int, spaces: Sequence[str]) -> Leg:
    """The canonical leg of copy ``k`` of the input, e.g. ``("in0:d",)``."""
    return tuple(index(f"in{k}", s) for s in spaces)


def output_leg(spaces: Sequence[str]) -> Leg:
    """The canonical output indices, e.g. ``("out:d",)``."""
    return tuple(index("out", s) for s in spaces)


def identify(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Merge indices pairwise into hyperedges: a map from each index to the one that stands for it.

    Example:
        >>> identify([("a", "b"), ("b", "c")])
        {'a': 'a', 'b': 'a', 'c': 'a'}
    """
    parent: dict[str, str] = {}

    def find(ix: str) -> str:
        parent.setdefault(ix, ix)
        while parent[ix] != ix:
            ix = parent[ix]
        return ix

    for a, b in pairs:
        ra, rb = find(a), find(b)
        if ra != rb:
            parent[rb] = ra
    return {ix: find(ix) for ix in parent}


class Equation:
    """A layer written as its equation, parsed; see :func:`parse`.

    Attributes:
        factors: for every factor its name and its index names, in the order of the array's axes.
        legs: the input legs in order.
        out: the output leg.
    """

    def __init__(self, factors: tuple[tuple[str, tuple[str, ...]], ...], legs: tuple[Leg, ...], out: Leg):
        self.factors, self.legs, self.out = factors, legs, out


def parse(equation: str) -> Equation:
    """Read an equation such as ``"D[out,hid] L[hid,in0] R[hid,in1]"``.

    ``inK`` is copy K of the input and ``out`` the output. ``in0@k`` says that this copy is read at
    position ``k``: its leg is ``(k, in0)``, and ``k`` may be an axis of any other factor (a mask).

    Raises:
        WireError: if a piece cannot be read, or input copies are not numbered from 0.
    """
    rest = _FACTOR.sub(" ", equation).strip()
    if rest or not _FACTOR.search(equation):
        raise WireError(
            f"cannot read `{rest or equation}` in `{equation}`; write factors such as `D[out,hid] L[hid,in0]`."
        )
    raw: list[tuple[str, list[str]]] = []
    positions: dict[str, str] = {}
    for match in _FACTOR.finditer(equation):
        items = []
        for text in filter(None, (item.strip() for item in match["items"].split(","))):
            item = _ITEM.match(text)
            if item is None:
                raise WireError(
                    f"`{text}` in `{match[0]}` is not an index; write a word, or a word@position such as `in0@k`."
                )
            items.append(item["place"])
            position = item["position"]
            if position and positions.setdefault(item["place"], position) != position:
                raise WireError(f"`{item['place']}` stands at two positions in `{equation}`.")
        raw.append((match["name"], items))

    words = set(positions.values())

    def spell(word: str) -> str:
        if word in words:
            return index(word, "s")
        return index(word, "d" if word == "out" or _INPUT.match(word) else "h")

    def leg(word: str) -> Leg:
        return (spell(positions[word]), spell(word)) if word in positions else (spell(word),)

    factors = tuple((name, tuple(map(spell, items))) for name, items in raw)
    places = {word for _, items in raw for word in items}
    copies = sorted((word for word in places if _INPUT.match(word)), key=lambda word: int(word[2:]))
    if copies != [f"in{k}" for k in range(len(copies))]:
        raise WireError(f"input copies are numbered in0, in1, … without gaps; `{equation}` names {copies}.")
    if "out" not in places:
        raise WireError(f"`{equation}` has no output; name one axis `out`.")
    return Equation(factors, tuple(map(leg, copies)), leg("out"))


def unused(taken: Collection[str], place: str, space: str, path: str = "") -> str:
    """An index name that is not taken: ``place:space``, ``place1:space``, ….

    Example:
        >>> unused({"k:s"}, "k", "s"), unused({"k:s"}, "k", "h")
        ('k1:s', 'k:h')
    """
    names = (index(f"{place}{n or ''}", space, path) for n in count())
    return next(name for name in names if name not in taken)


def avoiding(mapping: Mapping[str, str], names: Iterable[str], kept: Collection[str] = ()) -> dict[str, str]:
    """A renaming that merges nothing: what would fall together with a new name steps aside.

    Args:
        mapping: new names for some of the indices.
        names: all indices there are, each once.
        kept: indices that may not step aside, because others know them by name.

    Returns:
        An injective map: ``mapping``, as far as its indices are there, and new names for those in its way.

    Raises:
        WireError: if two indices are to have one name, or one that is kept stands in the way.

    Example:
        >>> avoiding({"out:d": "hid:h"}, ["out:d", "hid:h", "in0:d"])
        {'out:d': 'hid:h', 'hid:h': 'hid1:h'}
    """
    there = list(names)
    new = {ix: mapping[ix] for ix in there if mapping.get(ix, ix) != ix}
    stays = {ix: ix for ix in there if ix in kept or mapping.get(ix) == ix}
    owner: dict[str, str] = {}
    for ix, name in (*stays.items(), *new.items()):
        if owner.setdefault(name, ix) != ix:
            raise WireError(
                f"renaming {ix} to {name} would merge it with {owner[name]}; two indices need two names."
            )
    taken = {*there, *owner}
    for ix in there:
        if ix in owner and ix not in new and ix not in stays:
            path = ix.rpartition("/")[0]
            new[ix] = unused(taken, "hid", "s" if space(ix).startswith("s") else "h", path)
            taken.add(new[ix])
    return new


def rename(inds: Iterable[str], mapping: Mapping[str, str]) -> tuple[str, ...]:
    """The names after ``mapping``; names it does not mention stay."""
    return tuple([mapping.get(ix, ix) for ix in inds])
