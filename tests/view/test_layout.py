"""Where things stand in a drawing: inputs left, output right, factors in columns, trees without crossings."""

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from drawings import attention, bilinear, closed, deep, with_residual

from tnsim.view.layout import depths, place_nodes, spread
from tnsim.view.scene import scene_of


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
