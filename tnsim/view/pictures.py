"""Pictures: the scenes of a model, a layer or a network, their coordinates, and what is written beside them."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import autoray as ar
import networkx as nx
import quimb.tensor as qtn

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.polys.rewriting import lift, star
from tnsim.algebra.terms.term import Term, retensor
from tnsim.common.wires import MODEL, Leg
from tnsim.view.layout import WIDTH, Point, depths, place_nodes
from tnsim.view.roles import roles_of, shared_roles
from tnsim.view.scene import OUT, scene_of
from tnsim.view.short import cut_to, without_prefix
from tnsim.view.stages import is_skip, size_of
from tnsim.view.strokes import lowest
from tnsim.view.style import SIZES
from tnsim.view.text import extent

__all__ = ["Picture", "form_of", "of_layers", "of_network", "of_tensors", "of_terms"]

_MOST_TENSORS = 300
_MOST_TERMS = 6
_SEVERAL = 4  # terms, that are drawn of every layer of a model
_MOST_ROWS = 34.0  # on one page
_CAPTION = 240.0  # points that names may take
_INSTEAD = (
    'Write level="model" for one box for every layer, level="layer" for what each layer is made of, or draw the first '
    "layers, net[:2]."
)
_ROLE = "stands:"  # how a role travels as a tag


@dataclass
class Picture:
    """Scenes with their coordinates, and what is written beside them."""

    scenes: list[tuple[nx.MultiGraph, dict[str, Point]]] = field(default_factory=list)
    signs: list[tuple[float, float, str]] = field(default_factory=list)
    captions: list[tuple[float, float, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def of_network(net: Network) -> Picture:
    """The expanded network: every layer as often as the next one reads it.

    Raises:
        ValueError: if there are more than 300 tensors; the message names the other levels.
    """
    net, notes = _one(net)
    single = all(len(f.terms) == 1 for f in net.polys)
    if not single and (len(net.domain) != 1 or len(net.codomain) != 1):
        picture = of_layers(net)
        notes.append("layer by layer, since it has no form as one network")
    else:
        _affordable(_count(net, single), _INSTEAD)
        parts: dict[str, tuple[int, int]] = {}
        if not single:
            notes.append("with a constant coordinate: every input is (1, x)")
            last = len(net) - 1
            lifted = tuple((n, lift(f, constant_row=i < last)) for i, (n, f) in enumerate(net))
            parts = {n: (_products(f), _products(g)) for (n, f), (_, g) in zip(net, lifted, strict=True)}
            net = Network(lifted)
        net = Network(tuple((name, _told(f)) for name, f in net.layers))
        legs: tuple[Leg, ...] = ()
        out: Leg = ()
        if single:
            (term,) = net.collapse().terms
            legs, out = term.legs, term.out
        written = net.to_quimb()
        _affordable(written.num_tensors, _INSTEAD)  # sums that are no stars have a tensor for every term
        scene = scene_of(written, legs, out, net.names)
        _part(scene, parts)
        picture = _single(scene)
    picture.notes[:0] = notes
    return picture


def _products(f: Poly) -> int:
    """How many products the terms of highest degree take side by side; 0 where they are not of that form."""
    stars = [star(t) for t in f.terms if t.degree == f.degree > 1]
    if len(f.domain) > 1 or any(s is None for s in stars):
        return 0
    return sum(int(ar.shape(s[0])[-1]) for s in stars if s is not None)


def _part(scene: nx.MultiGraph, parts: Mapping[str, tuple[int, int]]) -> None:
    """Tell the products of a layer from the places beside them, which carry its linear maps and constants."""
    for n, d in scene.nodes(data=True):
        layers = {scene.nodes[m].get("layer") for m in scene[n]}
        own, whole = parts.get(next(iter(layers)) or "", (0, 0)) if len(layers) == 1 else (0, 0)
        if d["kind"] == "hub" and 0 < own < whole == d["size"]:
            d["parts"] = f"{whole} = {own} + {whole - own}"


def _one(net: Network) -> tuple[Network, list[str]]:
    """The first model of a run, and what is to be said of that."""
    return (net.pick(0), [f"model 0 of {net.models}"]) if net.models else (net, [])


def _told(f: Poly) -> Poly:
    """A layer whose tensors carry their roles as tags."""
    (t,) = f.terms
    scene = scene_of(t.network, t.legs, t.out)
    roles = roles_of(scene)
    tensors = (
        retensor(x, tags=(*x.tags, f"{_ROLE}{roles[f'T{k}']}")) if f"T{k}" in roles else x
        for k, x in enumerate(t.tensors)
    )
    return f.written((Term(tuple(tensors), t.legs, t.out, t.coefficient, t.symmetry),))


def _count(net: Network, single: bool) -> int:
    """How many tensors ``net.to_quimb()`` has, about, without writing it down."""
    copies, tensors = 1, 0
    for f in reversed(net.polys):
        tensors += copies * (len(f.terms[0].tensors) if single else 1 + f.degree * (f.degree > 1))
        copies *= f.degree
    return tensors


def form_of(f: Poly) -> Hashable:
    """Equal for layers that are drawn alike: by wiring, sizes, coefficients and names."""
    return f.signature(), tuple(tuple(x.tags) for t in f.terms for x in t.tensors)


def of_layers(net: Network) -> Picture:
    """Every layer as the sum of its terms, one layer below the other; layers of one form share a drawing."""
    net, run = _one(net)
    alike: dict[Hashable, list[str]] = {}
    for name, f in net:
        alike.setdefault(form_of(f), []).append(name)
    forms = dict(net.layers)
    prefix, short, shown = _shown(alike.values())
    whole, floor, drawn = Picture(notes=run), 0.0, 0
    for names in alike.values():
        f = forms[names[0]]
        part = of_terms(_main(f))
        ys = [y for _, at in part.scenes for _, y in at.values()]
        down = floor - max(ys) - 1.5
        if drawn and min(ys) + down < -_MOST_ROWS:
            break
        low = min(lowest(scene, at) for scene, at in part.scenes)
        floor, drawn = low + down - 0.4, drawn + len(names)
        ends = (names[0], names[-1])
        caption = f"{_called(shown[names[0]], shown[names[-1]], len(names))}:  {_sizes(f)}"
        caption += f", {len(part.scenes)} of {len(f.terms)} terms" * (len(part.scenes) < len(f.terms))
        told = {shown[n]: n for n in ends if shown[n] != short[n]}
        for scene, _ in part.scenes:
            scene.graph.update(layers=caption, names=told, prefix=prefix)
        whole.scenes += [(s, {n: (x, y + down) for n, (x, y) in at.items()}) for s, at in part.scenes]
        whole.signs += [(x, y + down, text) for x, y, text in part.signs]
        left = min(x for _, at in part.scenes for x, _ in at.values()) - 1.2
        whole.captions.append((left, max(ys) + down + 0.8, caption))
    edge = min(x for x, *_ in whole.captions)
    whole.captions = [(edge, y, text) for _, y, text in whole.captions]
    front = min((x for x, *_ in whole.signs), default=0.0)
    whole.signs = [(front, y, text) for _, y, text in whole.signs]
    if drawn < len(net):
        name = list(alike.values())[len(whole.captions)][0]
        whole.notes.append(f'{drawn} of {len(net)} layers; draw others as net["{name}"]')
    return whole


def _called(first: str, last: str, many: int) -> str:
    return first if many == 1 else f"{first} to {last}, {many} of this form"


def _shown(groups: Iterable[Sequence[str]]) -> tuple[str, dict[str, str], dict[str, str]]:
    """What the first and the last name of every group become in captions.

    Returns:
        A path that is left out; the names without it; and what is written, cut where it is still too long.
    """
    room = {n: _CAPTION / min(2, len(group)) for group in groups for n in (group[0], group[-1])}
    long = any(extent(n, SIZES["label"])[0] > wide for n, wide in room.items())
    prefix, short = without_prefix(list(room)) if long else ("", {n: n for n in room})
    shown: dict[str, str] = {}
    for n, wide in room.items():
        shown[n] = cut_to(short[n], SIZES["label"], wide, lambda c: c in shown.values())
    return prefix, short, shown


def _main(f: Poly) -> tuple[Term, ...]:
    """The terms of a layer; of many those of highest degree, and the input itself: others have constants in their place."""
    if len(f.terms) <= _SEVERAL:
        return f.terms
    return tuple(t for t in f.terms if t.degree == f.degree or is_skip(t))


def _sizes(f: Poly) -> str:
    return f"{size_of(f.domain)} → {size_of(f.codomain)}, degree {f.degree}"


def of_terms(terms: tuple[Term, ...]) -> Picture:
    """One below the other, with signs in front; the outputs share a column.

    Raises:
        ValueError: if there are more than 300 tensors.
    """
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
    for scene, roles in zip(scenes, shared_roles(scenes), strict=True):
        _stand(scene, roles)
    columns = max((d + 1 for scene in scenes for d in depths(scene)[0].values()), default=1)
    picture = Picture(notes=notes)
    gap = 1.9 if any(d.get("layer") for scene in scenes for _, d in scene.nodes(data=True)) else 1.15
    floor, signs = 0.0, []
    for i, (scene, t) in enumerate(zip(scenes, shown, strict=True)):
        at = place_nodes(scene, columns)
        top = max(y for _, y in at.values())
        at = {n: (x, y - top + floor) for n, (x, y) in at.items()}
        picture.scenes.append((scene, at))
        scene.graph["sign"] = sign = _sign(t.coefficient, first=i == 0)
        if sign:
            middle = at[OUT][1] if OUT in at else floor
            signs.append((middle, sign))
        floor = lowest(scene, at) - gap
    edge = min((x for _, at in picture.scenes for x, _ in at.values()), default=0.0)
    picture.signs += [(min(-1.75 * WIDTH, edge - 0.4 * WIDTH), y, sign) for y, sign in signs]
    return picture


def of_tensors(network: qtn.TensorNetwork) -> Picture:
    """Any network of quimb.

    Raises:
        ValueError: if there are more than 300 tensors.
    """
    _affordable(network.num_tensors, "Draw a part of it, for instance tn.select(tag).")
    scene = scene_of(network)
    _stand(scene, roles_of(scene))
    return _single(scene)


def _first(x: qtn.Tensor) -> qtn.Tensor:
    """Without its run index: the first model."""
    if MODEL not in x.inds:
        return x
    at = x.inds.index(MODEL)
    return retensor(x, data=x.data[(slice(None),) * at + (0,)], inds=x.inds[:at] + x.inds[at + 1 :])


def _sign(c: float, first: bool) -> str:
    size = "" if math.isclose(abs(c), 1.0) else f" {abs(c):.3g} ·"
    return (("−" if c < 0 else "" if first else "+") + size).strip()


def _single(scene: nx.MultiGraph) -> Picture:
    for _, d in scene.nodes(data=True):
        roles = [tag for tag in d.get("tags", ()) if tag.startswith(_ROLE)]
        d.setdefault("stands", roles[0].removeprefix(_ROLE) if roles else "")
        d["tags"] = tuple(tag for tag in d.get("tags", ()) if tag not in roles)
    return Picture([(scene, place_nodes(scene))])


def _stand(scene: nx.MultiGraph, roles: dict[str, str]) -> None:
    for n, d in scene.nodes(data=True):
        d["stands"] = roles.get(n, "")


def _affordable(tensors: int, instead: str) -> None:
    if tensors > _MOST_TENSORS:
        raise ValueError(f"{tensors} tensors are too many to read; the limit is {_MOST_TENSORS}. {instead}")
