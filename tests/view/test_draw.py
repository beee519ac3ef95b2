"""A drawing is tested on what it says: what can be read, which colour means what, what is left out."""

from itertools import combinations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import quimb.tensor as qtn
from drawings import STANDARD, bilinear, deep, rand, with_residual

from tnsim.algebra import identity, poly, stack
from tnsim.algebra.networks.graph import to_graph
from tnsim.view import draw, role_colour
from tnsim.view.scene import scene_of
from tnsim.view.style import role_colours

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


@pytest.fixture(params=STANDARD, ids=lambda name: name.replace(" ", "-"))
def thing(request):
    return STANDARD[request.param]()


def texts(fig, ax):
    """Every text with its box on the page."""
    fig.canvas.draw()
    shown = [t for t in (*ax.texts, *ax.get_legend().get_texts()) if t.get_text()]
    return [(t, t.get_window_extent(fig.canvas.get_renderer())) for t in shown]


def discs(fig, ax):
    renderer = fig.canvas.get_renderer()
    return {
        p.get_gid(): p.get_window_extent(renderer)
        for p in ax.patches
        if (p.get_gid() or "").startswith("tensor")
    }


# ---------------------------------------------------------------------- legibility


def test_every_text_lies_inside_the_figure_and_clear_of_all_others(thing):
    fig, ax = draw(thing)
    boxes = texts(fig, ax)
    for t, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0, t
        assert box.x1 <= fig.bbox.x1 and box.y1 <= fig.bbox.y1, t
    for (t, a), (u, b) in combinations(boxes, 2):
        assert not a.overlaps(b), f"{t} lies on {u}"


def test_no_size_is_written_on_a_tensor(thing):
    fig, ax = draw(thing)
    places = discs(fig, ax)
    for t, box in texts(fig, ax):
        if (t.get_gid() or "").startswith(("size", "port")):
            assert not any(box.overlaps(disc) for disc in places.values()), t


def test_tensors_do_not_touch(thing):
    fig, ax = draw(thing)
    fig.canvas.draw()
    for a, b in combinations(discs(fig, ax).values(), 2):
        assert not a.overlaps(b)


@pytest.mark.parametrize("make", [lambda: deep(1), lambda: with_residual(2), lambda: deep(3)])
def test_every_index_has_its_size(make):
    net = make()
    tn = net.to_quimb()
    _, ax = draw(net, level="network")
    written = {t.get_gid(): t.get_text() for t in ax.texts if (t.get_gid() or "").startswith("size")}
    assert written == {f"size {ix}": str(tn.ind_size(ix)) for t in tn for ix in t.inds}


def test_eight_inputs_are_labelled():
    _, ax = draw(deep(3), level="network")
    ports = {t.get_text() for t in ax.texts if (t.get_gid() or "").startswith("port")}
    assert ports == {*(f"in{k}" for k in range(8)), "out"}


def test_small_text_is_left_out_and_the_drawing_stays():
    fig, ax = draw(deep(6), level="network")
    assert len(discs(fig, ax)) == 189
    assert all(t.get_fontsize() >= 4.5 for t in ax.texts)
    assert 'level="model"' in " ".join(t.get_text() for t in ax.texts)


def test_names_on_request():
    _, ax = draw(deep(1), names=True)
    assert "hid 32" in {t.get_text() for t in ax.texts}
    _, ax = draw(deep(1), sizes=False)
    assert not [t for t in ax.texts if (t.get_gid() or "").startswith("size")]


def test_a_wire_to_the_output_passes_beside_the_other_wires():
    equation = "Q[n,a,in0@q] K[n,a,in1@k] V[n,v,in2@k] M[q,k] O[out@q,n,v]"
    parts = dict(Q=rand(2, 3, 5), K=rand(2, 3, 5), V=rand(2, 3, 5), M=rand(4, 4), O=rand(5, 2, 3))
    _, ax = draw(poly(equation, **parts))
    at = {dot.get_gid(): dot.get_xydata()[0] for dot in ax.lines}
    assert at["hub q:s"][1] > at["hub k:s"][1]  # so that straight down is through k
    for patch in ax.patches:
        if patch.get_gid() == "index q:s":
            (line,) = patch.get_path().to_polygons(closed_only=False)
            points = matplotlib.path.Path(line).interpolated(50).vertices
            assert np.linalg.norm(points - at["hub k:s"], axis=1).min() > 0.25


# ---------------------------------------------------------------------- colours, layers, highlights


def test_one_colour_for_every_role():
    net = deep(2)
    _, ax = draw(net, level="network")
    faces = {p.get_gid(): p.get_facecolor() for p in ax.patches}
    does = {"L": "left factor", "R": "right factor", "D": "output map"}
    for n, d in scene_of(net.to_quimb()).nodes(data=True):
        if d["kind"] == "tensor":
            assert matplotlib.colors.same_color(faces[f"tensor {n}"], role_colour(does[d["role"]]))


def test_unnamed_roles_of_one_picture_differ_in_colour():
    names = [f"role{k}" for k in range(12)]
    assert len(set(role_colours(names).values())) == 12
    assert role_colour("role3") == role_colour("role3")


def test_the_legend_explains_every_role():
    _, ax = draw(with_residual(2), level="network")
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert legend == [
        "E, head  linear map",
        "L  left factor",
        "R  right factor",
        "D  output map",
        "an index of three or more",
        "81 = 48 + 33: products, and places for what is added to them",
    ]


def test_layers_are_outlined_and_named():
    net = with_residual(2)
    fig, ax = draw(net, level="network")
    places = discs(fig, ax)
    bands = {
        p.get_gid()[6:]: p.get_window_extent() for p in ax.patches if (p.get_gid() or "").startswith("layer")
    }
    assert set(bands) == set(net.names) <= {t.get_text() for t in ax.texts}
    for n, d in scene_of(net.to_quimb(), layers=net.names).nodes(data=True):
        if d["kind"] == "tensor":
            disc, band = places[f"tensor {n}"], bands[d["layer"]]
            assert band.x0 < disc.x0 and disc.x1 < band.x1 and band.y0 < disc.y0 and disc.y1 < band.y1


def test_highlight_fades_everything_else():
    net = deep(2)
    _, ax = draw(net, level="network", highlight="blocks.0")
    kept = {
        p.get_gid()
        for p in ax.patches
        if p.get_facecolor() in map(matplotlib.colors.to_rgba, map(role_colour, "DLR"))
    }
    tensors = to_graph(net.to_quimb(), net.names).nodes(data=True)
    assert kept == {f"tensor {n}" for n, d in tensors if d["kind"] == "tensor" and d["layer"] == "blocks.0"}
    with pytest.raises(ValueError, match=r"nothing here is tagged \['head'\]"):
        draw(net, level="network", highlight=["head", "L"])


# ---------------------------------------------------------------------- what is drawn


def test_the_sum_of_a_layer_shows_its_signs():
    f = bilinear(8, 6, 8)
    _, ax = draw(identity(f.domain, f.like) - 0.5 * f)
    assert {"+", "− 0.5 ·"} <= {t.get_text() for t in ax.texts}


def test_a_run_is_drawn_by_its_first_model_and_says_so():
    run = stack([deep(1), deep(1), deep(1)])
    _, ax = draw(run)
    assert "model 0 of 3" in {t.get_text() for t in ax.texts}
    _, ax = draw(run["blocks.0"])
    assert "model 0 of 3" in {t.get_text() for t in ax.texts}


def test_too_many_tensors_say_what_to_draw_instead():
    with pytest.raises(ValueError, match=r'limit is 300. Write level="model" for one box'):
        draw(deep(12), level="network")
    with pytest.raises(ValueError, match="limit is 300"):
        draw(qtn.MPS_rand_state(400, 2))
    with pytest.raises(TypeError, match="cannot draw a ndarray"):
        draw(np.ones((2, 2)))


def test_uses_the_axes_it_is_given_and_leaves_settings_alone(thing, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *a, **k: pytest.fail("show() was called"))
    before = dict(matplotlib.rcParams)
    fig, (left, right) = plt.subplots(1, 2)
    result = draw(thing, right, title="here")
    assert result == (fig, right)
    assert not left.patches and right.patches
    assert right.get_title(loc="left") == "here"
    fig, ax = draw(thing)
    assert ax.figure is fig
    assert dict(matplotlib.rcParams) == before
