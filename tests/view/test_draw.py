"""A drawing is tested on what it says: where things stand, what can be read, which colour means what."""

from itertools import combinations, pairwise

import matplotlib
import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pytest
import quimb.tensor as qtn

from tnsim.algebra import Network, identity, poly, stack
from tnsim.algebra.graph import to_graph
from tnsim.view import draw, role_colour
from tnsim.view.layout import depths, place_nodes, spread
from tnsim.view.scene import scene_of
from tnsim.view.style import role_colours

matplotlib.use("Agg")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def rand(*shape):
    return RNG.normal(size=shape)


def bilinear(o, h, n):
    return poly("D[out,hid] L[hid,in0] R[hid,in1]", D=rand(o, h), L=rand(h, n), R=rand(h, n))


def linear(name, o, n):
    return poly(f"{name}[out,in0]", **{name: rand(o, n)})


def attention(s=6, d=8, n=2, v=4, a=5):
    heads = {name: rand(n, a, d) for name in ("Q1", "K1", "Q2", "K2")}
    return poly(
        "O[out@q,n,v] V[n,v,in0@k] M[q,k] Q1[n,a,in3@q] K1[n,a,in1@k] Q2[n,b,in4@q] K2[n,b,in2@k]",
        O=rand(d, n, v), V=rand(n, v, d), M=rand(s, s), **heads,
    )  # fmt: skip


def residual(f):
    return f + identity(f.domain, f.like)


def deep(n, d=16):
    return Network(tuple((f"blocks.{i}", bilinear(d, 32, d)) for i in range(n)))


def with_residual(blocks):
    middle = tuple((f"blocks.{i}", residual(bilinear(32, 48, 32) + rand(32))) for i in range(blocks))
    return Network((("embed", linear("E", 32, 64)), *middle, ("head", linear("head", 10, 32) + rand(10))))


def sequence_model():
    f = attention()
    return Network((("attn", residual(f)), ("attn.1", residual(attention()))))


def closed(net, legs):
    """The inner product of a network with itself: both sides, and a covariance on every leg."""
    tensors = []
    for side in ("ket", "bra"):
        for t in net.to_quimb().tensors:
            inds = [ix if ix == "out:d" else f"{side}/{ix}" for ix in t.inds]
            tensors.append(qtn.Tensor(t.data, inds, tags=[*t.tags, side]))
    n = net.in_shape[0]
    for k in range(legs):
        tensors.append(qtn.Tensor(np.eye(n), (f"ket/in{k}:d", f"bra/in{k}:d"), tags="COV"))
    return qtn.TensorNetwork(tensors, check_collisions=False)


def by_hand():
    a = qtn.Tensor(rand(2, 3, 4), ("a", "b", "c"), tags="A")
    b = qtn.Tensor(rand(3, 5, 2), ("b", "e", "x"), tags="B")
    c = qtn.Tensor(rand(4, 5, 7), ("c", "e", "y"), tags="foo")
    return qtn.TensorNetwork([a, b, c])


STANDARD = {
    "one layer": lambda: deep(1),
    "residual and bias, two blocks": lambda: with_residual(2),
    "residual and bias, three blocks": lambda: with_residual(3),
    "three layers": lambda: deep(3),
    "attention": lambda: Network((("attn", attention()),)),
    "sum of terms": lambda: residual(bilinear(8, 6, 8) + rand(8)),
    "sequence model": sequence_model,
    "inner product": lambda: closed(deep(1), 2),
    "by hand": by_hand,
    "matrix product state": lambda: qtn.MPS_rand_state(6, 4),
    "one output": lambda: bilinear(5, 4, 3)[2],
    "term": lambda: attention().terms[0],
    "stacked": lambda: stack([deep(1), deep(1), deep(1)]),
}


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
    _, ax = draw(net)
    written = {t.get_gid(): t.get_text() for t in ax.texts if (t.get_gid() or "").startswith("size")}
    assert written == {f"size {ix}": str(tn.ind_size(ix)) for t in tn for ix in t.inds}


def test_eight_inputs_are_labelled():
    _, ax = draw(deep(3))
    ports = {t.get_text() for t in ax.texts if (t.get_gid() or "").startswith("port")}
    assert ports == {*(f"in{k}" for k in range(8)), "out"}


def test_small_text_is_left_out_and_the_drawing_stays():
    fig, ax = draw(deep(6))
    assert len(discs(fig, ax)) == 189
    assert all(t.get_fontsize() >= 4.5 for t in ax.texts)


def test_names_on_request():
    _, ax = draw(deep(1), names=True)
    assert "hid 32" in {t.get_text() for t in ax.texts}
    _, ax = draw(deep(1), sizes=False)
    assert not [t for t in ax.texts if (t.get_gid() or "").startswith("size")]


# ---------------------------------------------------------------------- geometry


@pytest.mark.parametrize("make", [lambda: deep(1), lambda: deep(3), lambda: with_residual(2)])
def test_x_increases_from_every_input_to_the_output(make):
    net = make()
    scene = scene_of(net.to_quimb(), layers=net.names)
    at = place_nodes(scene)
    inputs = [n for n in scene if n.startswith("in")]
    assert len(inputs) == net.degree
    for n in inputs:
        xs = [at[m][0] for m in nx.shortest_path(scene, n, "out")]
        assert all(a < b for a, b in pairwise(xs))
    assert len({at[n][0] for n in inputs}) == 1


def test_one_column_for_every_factor():
    net = deep(2)
    scene = scene_of(net.to_quimb(), layers=net.names)
    depth, _ = depths(scene)
    roles = {d: {scene.nodes[n]["role"] for n in depth if depth[n] == d} for d in set(depth.values())}
    assert roles == {0: {"D"}, 1: {"L", "R"}, 2: {"D"}, 3: {"L", "R"}}


def test_trees_are_drawn_without_crossings():
    scene = scene_of(deep(3).to_quimb())
    at = place_nodes(scene)
    order = sorted((n for n in scene if n.startswith("in")), key=lambda n: -at[n][1])
    assert order == [f"in{k}" for k in range(8)]


def test_attention_reads_positions_through_hubs():
    (term,) = attention().terms
    scene = scene_of(term.network, term.legs, term.out)
    wires = {n for n, d in scene.nodes(data=True) if d.get("wire")}
    assert wires == {"q:s", "k:s"}
    assert {n for n in scene["k:s"] if n.startswith("in")} == {"in0", "in1", "in2"}
    at = place_nodes(scene)
    assert all(at[w][0] < at["in0"][0] for w in wires)


def test_an_output_that_is_summed_is_not_a_port():
    scene = scene_of(closed(deep(1), 2))
    assert not [n for n, kind in scene.nodes(data="kind") if kind == "port"]
    at = place_nodes(scene)
    x = {d["role"]: at[n][0] for n, d in scene.nodes(data=True) if d["kind"] == "tensor"}
    assert x["COV"] < x["L"] == x["R"] < x["D"]


def test_one_output_is_on_the_right_though_nothing_leaves_it():
    (term,) = bilinear(5, 4, 3)[2].terms
    scene = scene_of(term.network, term.legs, term.out)
    at = place_nodes(scene)
    x = {d["role"]: at[n][0] for n, d in scene.nodes(data=True) if d["kind"] == "tensor"}
    assert at["in0"][0] < x["L"] == x["R"] < x["D"]


def test_spread_keeps_order_and_distance_and_moves_as_little_as_it_can():
    assert spread([0.0, 3.0]) == [0.0, 3.0]
    values = spread([1.0, 1.0, 1.0, 9.0], gap=2.0)
    assert np.allclose(values, [-1.0, 1.0, 3.0, 9.0])


def test_two_indices_between_two_tensors_are_two_edges():
    t = [qtn.Tensor(rand(2, 3, 4), ("a", "b", "in0:d")), qtn.Tensor(rand(2, 3, 5), ("a", "b", "out:d"))]
    graph = to_graph(qtn.TensorNetwork(t))
    assert sorted(d["index"] for *_, d in graph.edges(data=True)) == ["a", "b", "in0:d", "out:d"]


def test_an_inner_index_called_inner_is_not_an_input():
    (term,) = poly("D[out,inner] L[inner,in0]", D=rand(2, 3), L=rand(3, 4)).terms
    assert "inner:h" not in to_graph(term.network)


# ---------------------------------------------------------------------- colours, layers, highlights


def test_one_colour_for_every_role():
    _, ax = draw(with_residual(2))
    scene = scene_of(with_residual(2).to_quimb())
    faces = {p.get_gid(): p.get_facecolor() for p in ax.patches}
    for n, d in scene.nodes(data=True):
        if d["kind"] == "tensor":
            assert matplotlib.colors.same_color(faces[f"tensor {n}"], role_colour(d["role"]))


def test_unnamed_roles_of_one_picture_differ_in_colour():
    names = [f"role{k}" for k in range(12)]
    assert len(set(role_colours(names).values())) == 12
    assert role_colour("role3") == role_colour("role3")


def test_the_legend_explains_every_role():
    _, ax = draw(with_residual(2))
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert [text.split("  ")[0] for text in legend] == ["E", "L", "R", "D, head"]


def test_layers_are_outlined_and_named():
    net = with_residual(2)
    fig, ax = draw(net)
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
    _, ax = draw(net, highlight="blocks.0")
    kept = {
        p.get_gid()
        for p in ax.patches
        if p.get_facecolor() in map(matplotlib.colors.to_rgba, map(role_colour, "DLR"))
    }
    tensors = to_graph(net.to_quimb(), net.names).nodes(data=True)
    assert kept == {f"tensor {n}" for n, d in tensors if d["kind"] == "tensor" and d["layer"] == "blocks.0"}
    with pytest.raises(ValueError, match=r"nothing here is tagged \['head'\]"):
        draw(net, highlight=["head", "L"])


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
    with pytest.raises(ValueError, match=r'limit is 300. Draw one layer, net\["blocks.0"\]'):
        draw(deep(12))
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
