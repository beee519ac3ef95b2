"""Labels: what is written in discs, and the legend that says what they stand for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

from tnsim.view.layout import Point
from tnsim.view.legend import Entry
from tnsim.view.short import cut_to, short_names, without_prefix
from tnsim.view.strokes import is_dashed, size_on
from tnsim.view.style import LINE, MUTED, SIZES, role_colour, role_colours
from tnsim.view.text import extent

__all__ = ["Labels", "Scenes", "labels_of"]

Scenes = Sequence[tuple[nx.MultiGraph, dict[str, Point]]]

_LETTERS = {
    "left factor": "l", "right factor": "r", "third factor": "3", "fourth factor": "4", "output map": "o",
    "input map": "i", "linear map": "a", "constant": "c", "value": "v", "head output": "o", "gain": "g",
}  # fmt: skip
_NAME = 80.0  # points that the name of a layer may take


@dataclass(frozen=True)
class Labels:
    """For every scene the text and the colour of every tensor; names of layers; and the legend."""

    texts: tuple[Mapping[str, str], ...]
    colours: tuple[Mapping[str, str], ...]
    layers: Mapping[str, str]
    entries: list[Entry]


def labels_of(scenes: Scenes, sizes: bool) -> Labels:
    """Short names, told apart by what they do where one name does several things; colours by what they do."""
    tensors = [
        (k, n, d)
        for k, (scene, _) in enumerate(scenes)
        for n, d in scene.nodes(data=True)
        if d["kind"] == "tensor"
    ]
    short = short_names(d["role"] for *_, d in tensors if d["role"])
    does: dict[tuple[int, str, str], set[str]] = {}  # in one term
    for k, _, d in tensors:
        does.setdefault((k, d["layer"], d["role"]), set()).add(d["stands"])
    several = {(layer, name) for (_, layer, name), roles in does.items() if len(roles) > 1}
    named = role_colours(d["role"] for *_, d in tensors if not d["stands"])
    texts: list[dict[str, str]] = [{} for _ in scenes]
    colours: list[dict[str, str]] = [{} for _ in scenes]
    first: dict[tuple[str, str, str], float] = {}  # role, name and label from left to right
    for k, n, d in tensors:
        name, role = d["role"], d["stands"]
        label = short.get(name, "")
        if (d["layer"], name) in several and role:
            label += f"·{_letter(role)}"
        texts[k][n] = label
        colours[k][n] = role_colour(role) if role else named[name]
        key = (role, name, label)
        first[key] = min(scenes[k][1][n][0], first.get(key, np.inf))
    layers = list(dict.fromkeys(d["layer"] for *_, d in tensors if d["layer"]))
    long = any(extent(layer, SIZES["tick"])[0] > _NAME for layer in layers)
    prefix, names = without_prefix(layers) if long else ("", {layer: layer for layer in layers})
    shown: dict[str, str] = {}
    for layer, name in names.items():
        shown[layer] = cut_to(name, SIZES["tick"], _NAME, lambda c: c in shown.values())
    entries = _roles(first, named) + _lines([scene for scene, _ in scenes], sizes)
    prefixes = dict.fromkeys([prefix, *(scene.graph.get("prefix", "") for scene, _ in scenes)])
    entries += [Entry("text", MUTED, f"…: {path}") for path in prefixes if path]
    entries += [Entry("text", MUTED, f"{shown[n]}: {n}") for n in layers if shown[n] != names[n]]
    cut = {called: full for scene, _ in scenes for called, full in scene.graph.get("names", {}).items()}
    entries += [Entry("text", MUTED, f"{called}: {full}") for called, full in cut.items()]
    return Labels(tuple(texts), tuple(colours), shown, entries)


def _letter(role: str) -> str:
    """What tells roles of one name apart: q1 for ``"query 1"``."""
    word, _, number = role.partition(" ")
    return _LETTERS.get(role, word[0] + (number if number.isdigit() else ""))


def _roles(first: Mapping[tuple[str, str, str], float], named: Mapping[str, str]) -> list[Entry]:
    """One entry for every role, and for every name without one."""
    groups: dict[tuple[str, str], dict[str, None]] = {}
    for role, name, label in sorted(first, key=lambda key: (first[key], key)):
        text = label if label == name else f"{label} ({name})" if label else ""
        groups.setdefault((role_colour(role) if role else named[name], role or name), {})[text] = None
    return [
        Entry(
            "disc",
            colour,
            "  ".join(filter(None, (", ".join(filter(None, texts)), role * (role not in texts)))),
        )
        if any(texts)
        else Entry("disc", colour, role or "tensor")
        for (colour, role), texts in groups.items()
    ]


def _lines(scenes: Sequence[nx.MultiGraph], sizes: bool) -> list[Entry]:
    """What dots and dashes are, and numbers behind the name of a position."""
    hubs = [(n, d) for scene in scenes for n, d in scene.nodes(data=True) if d["kind"] == "hub"]
    places = [(n, d) for n, d in hubs if d["wire"]]
    lines = [(scene, a, b, d) for scene in scenes for a, b, d in scene.edges(data=True)]
    found = []
    if any(not d["wire"] for _, d in hubs):
        found.append(Entry("dot", LINE, "an index of three or more"))
    if places:
        found.append(Entry("dashes", LINE, "a position: which copies of x are read at one place"))
        n, d = places[0]
        name = n.rsplit("/", 1)[-1].rsplit(":", 1)[0]
        if sizes:
            found.append(Entry("text", MUTED, f"{name} {d['size']}: {d['size']} positions, called {name}"))
    elif any(is_dashed(scene, a, b, d["index"]) for scene, a, b, d in lines):
        found.append(Entry("dashes", LINE, "a position"))
    past = [size_on(scene, a, b, d["index"]) for scene, a, b, d in lines]
    if sizes and (both := next((text for text in past if "×" in text), "")):
        found.append(Entry("text", MUTED, f"{both}: positions × features"))
    parts = ", ".join(dict.fromkeys(d["parts"] for _, d in hubs if d.get("parts")))
    if sizes and parts:
        found.append(Entry("text", MUTED, f"{parts}: products, and places for what is added to them"))
    return found
