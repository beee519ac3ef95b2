"""The legend of a drawing: which letter and colour stand for what."""

from collections.abc import Mapping, Sequence

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tnsim.view.layout import Point
from tnsim.view.style import MUTED, SIZES, role_meaning
from tnsim.view.text import extent

__all__ = ["Scenes", "add_legend", "columns_for", "entries_of"]

Scenes = Sequence[tuple[nx.MultiGraph, dict[str, Point]]]


def entries_of(scenes: Scenes, colours: Mapping[str, str]) -> list[tuple[str, str]]:
    """(colour, text) for the legend, from the inputs to the output; roles of one colour share an entry."""
    first: dict[str, float] = {}
    for scene, at in scenes:
        for n, d in scene.nodes(data=True):
            if d["kind"] == "tensor":
                first[d["role"]] = min(at[n][0], first.get(d["role"], np.inf))
    groups: dict[tuple[str, str], list[str]] = {}
    for role in sorted(first, key=lambda r: (first[r], r)):
        groups.setdefault((colours[role], role_meaning(role) or role), []).append(role)
    return [
        (colour, f"{', '.join(filter(None, roles))}  {role_meaning(roles[0])}".strip() or "tensor")
        for (colour, _), roles in groups.items()
    ]


def columns_for(entries: Sequence[tuple[str, str]], width: float) -> int:
    """How many legend entries fit side by side in ``width`` points."""
    widest = max(extent(text, SIZES["small"])[0] for _, text in entries) + 24
    fitting = max(1, int(0.97 * width / widest))
    rows = -(-len(entries) // fitting)
    return -(-len(entries) // rows)


def add_legend(ax: Axes, entries: Sequence[tuple[str, str]], columns: int) -> None:
    """The legend, below."""
    handles = [
        Line2D([], [], marker="o", linestyle="", markersize=6.5, color=colour, label=text)
        for colour, text in entries
    ]
    ax.legend(
        handles=handles, loc="lower center", ncols=columns, frameon=False, fontsize=SIZES["small"],
        handletextpad=0.1, columnspacing=1.3, borderaxespad=0.3, labelcolor=MUTED,
    )  # fmt: skip
