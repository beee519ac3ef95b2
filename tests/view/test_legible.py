"""Drawings of models under all kinds of names, at every level: measured from what is on the page."""

from functools import partial
from itertools import combinations

import idiom_zoo
import matplotlib
import matplotlib.pyplot as plt
import module_zoo
import naming_zoo
import published_zoo
import pytest
import torch
from drawings import STANDARD

import tnsim
from tnsim.view import draw

matplotlib.use("Agg")

LEVELS = ("model", "layer", "network")


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def misplaced(fig, ax):
    """What is wrong with a drawing: text outside the figure, on other text, or outside its box."""
    fig.canvas.draw()
    renderer = fig.canvas.get_renderer()
    legend = ax.get_legend()
    texts = [t for t in (*ax.texts, ax.title, *(legend.get_texts() if legend else ())) if t.get_text()]
    boxes = [(t, t.get_window_extent(renderer)) for t in texts]
    holders = {
        p.get_gid().split(" ", 1)[1]: p.get_window_extent(renderer)
        for p in ax.patches
        if (p.get_gid() or "").startswith(("tensor ", "box "))
    }
    pills = {
        p.get_gid()[5:]: p.get_window_extent(renderer)
        for p in ax.patches
        if (p.get_gid() or "")[:5] == "pill "
    }
    found = []
    for t, box in boxes:
        if box.x0 < 0 or box.y0 < 0 or box.x1 > fig.bbox.x1 or box.y1 > fig.bbox.y1:
            found.append(f"{t.get_text()!r} leaves the figure")
        kind, _, key = (t.get_gid() or "").partition(" ")
        if kind in ("name", "about"):
            home = holders[key]
            if box.x0 < home.x0 or box.x1 > home.x1 or box.y0 < home.y0 or box.y1 > home.y1:
                found.append(f"{t.get_text()!r} leaves its box")
        elif kind == "mark":
            if box.width > pills[t.get_gid()].width:
                found.append(f"{t.get_text()!r} leaves its mark")
        elif t in ax.texts and any(box.overlaps(home) for home in holders.values()):
            found.append(f"{t.get_text()!r} lies on a box")
    found += [
        f"{t.get_text()!r} lies on {u.get_text()!r}"
        for (t, a), (u, b) in combinations(boxes, 2)
        if a.overlaps(b)
    ]
    found += [f"{a} touches {b}" for a, b in combinations(holders, 2) if holders[a].overlaps(holders[b])]
    found += [f"{gid} leaves the figure" for gid, p in holders.items() if p.x0 < 0 or p.x1 > fig.bbox.x1]
    return found


def check(thing, level, **options):
    try:
        fig, ax = draw(thing, level=level, **options)
    except ValueError as error:
        assert level == "network" and 'level="model"' in str(error)
        return
    assert misplaced(fig, ax) == []


@pytest.mark.parametrize("name", naming_zoo.MODELS)
def test_nothing_overlaps_whatever_the_names(name):
    net = tnsim.convert(*naming_zoo.build(name))
    for level in LEVELS:
        check(net, level, title="a title")


@pytest.mark.parametrize("name", module_zoo.ZOO)
def test_nothing_overlaps_for_modules_of_all_kinds(name):
    net = tnsim.convert(*module_zoo.build(name))
    for level in LEVELS:
        check(net, level)


OTHERS = {
    **{f"{kind.__name__} {shape}": (kind, shape) for kind, shape in published_zoo.MODULES},
    **{
        name: (partial(idiom_zoo.module, entry), shape)
        for table, shape in (
            (idiom_zoo.ANYWHERE, idiom_zoo.SEQUENCE),
            (idiom_zoo.SEQUENCES, idiom_zoo.SEQUENCE),
            (idiom_zoo.FLAT_ONLY, idiom_zoo.FLAT),
        )
        for name, entry in table.items()
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_nothing_overlaps_for_idioms_and_published_models(name):
    make, shape = OTHERS[name]
    torch.manual_seed(0)
    net = tnsim.convert(make().double().eval(), torch.randn(2, *shape, dtype=torch.float64))
    for level in LEVELS:
        check(net, level)


@pytest.mark.parametrize("name", STANDARD)
def test_nothing_overlaps_at_the_level_of_the_thing(name):
    check(STANDARD[name](), None)
