"""Roles are read off the wiring: names are shuffled, fused, long or misleading, and the roles stay."""

import naming_zoo
import pytest
import quimb.tensor as qtn
import torch
from drawings import attention, bilinear, closed, deep, linear, rand
from torch import nn

import tnsim
from tnsim.algebra import Term, identity, poly
from tnsim.view.labels import labels_of
from tnsim.view.pictures import of_terms
from tnsim.view.roles import roles_of
from tnsim.view.scene import scene_of
from tnsim.view.short import cut_to, short_names, without_prefix


def roles(f, term=0):
    """Name and role of every tensor of one term."""
    scene, _ = of_terms(f.terms).scenes[term]
    return sorted((d["role"], d["stands"]) for _, d in scene.nodes(data=True) if d["kind"] == "tensor")


def layer(name):
    return tnsim.convert(*naming_zoo.build(name))[0]


def test_factors_and_output_maps_whatever_they_are_called():
    assert roles(bilinear(4, 5, 3)) == [("D", "output map"), ("L", "left factor"), ("R", "right factor")]
    assert roles(layer("letters")) == [("D", "left factor"), ("L", "right factor"), ("R", "output map")]
    assert roles(layer("LLaMA mlp")) == [
        ("down_proj", "output map"),
        ("gate_proj", "left factor"),
        ("up_proj", "right factor"),
    ]


def test_maps_in_front_of_a_product_and_behind_it():
    f = poly(
        "H[out,o] D[o,hid] L[hid,e] E[e,in0] R[hid,in1]",
        H=rand(2, 3), D=rand(3, 4), L=rand(4, 5), E=rand(5, 6), R=rand(4, 6),
    )  # fmt: skip
    assert roles(f) == [
        ("D", "output map"),
        ("E", "input map"),
        ("H", "output map"),
        ("L", "left factor"),
        ("R", "right factor"),
    ]


def test_a_square_has_the_same_array_on_both_sides():
    assert roles(layer("GPT-NeoX")) == [
        ("dense_4h_to_h", "output map"),
        ("dense_h_to_4h", "both factors"),
        ("dense_h_to_4h", "both factors"),
    ]


def test_a_tensor_that_multiplies_a_line_and_a_constant():
    assert roles(poly("T[out,in0,in1]", T=rand(2, 3, 3))) == [("T", "interaction")]
    assert roles(linear("value", 2, 3)) == [("value", "linear map")]
    assert roles(linear("L", 2, 3) + rand(2), 1) == [("c", "constant")]
    f = poly("D[out,hid] L[hid,in0] g[hid] R[hid,in1]", D=rand(2, 3), L=rand(3, 4), g=rand(3), R=rand(3, 4))
    assert ("g", "gain") in roles(f)


def test_four_factors():
    parts = {name: rand(3, 4) for name in "abcd"}
    f = poly("a[out,in0] b[out,in1] c[out,in2] d[out,in3]", **parts)
    assert [role for _, role in roles(f)] == ["left factor", "right factor", "third factor", "fourth factor"]


def test_queries_keys_and_values_by_wiring():
    found = dict(roles(attention()))
    assert found == {
        "Q1": "query 1", "K1": "key 1", "Q2": "query 2", "K2": "key 2", "V": "value", "O": "head output", "M": "mask",
    }  # fmt: skip
    assert dict(roles(layer("OPT"))) == {
        "q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "head output", "tril": "mask",
    }  # fmt: skip


def test_misnamed_attention():
    swapped = naming_zoo.Attention("value", "output", "query", "key").double()
    f = tnsim.convert(swapped, torch.randn(1, 5, 8, dtype=torch.float64))[0]
    assert dict(roles(f)) == {
        "value": "query", "output": "key", "query": "value", "key": "head output", "tril": "mask",
    }  # fmt: skip


def test_a_gain_in_front_of_attention_changes_no_role():
    class Gained(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn, self.norm_gain = naming_zoo.Attention("q", "k", "v", "o"), nn.Parameter(torch.rand(8))

        def forward(self, x):
            return x + self.attn(x * self.norm_gain)

    f = tnsim.convert(Gained().double(), torch.randn(1, 5, 8, dtype=torch.float64))[0]
    assert dict(roles(f)) == {
        "q": "query", "k": "key", "v": "value", "o": "head output", "tril": "mask", "norm_gain": "gain",
    }  # fmt: skip


def test_raw_coordinates_that_are_multiplied_meet_before_what_reads_them():
    (squared,) = tnsim.convert(naming_zoo.Both(down=Squared()), torch.randn(1, 8, dtype=torch.float64)).polys
    scene, at = of_terms(squared.terms).scenes[0]
    (dot,) = [n for n, kind in scene.nodes(data="kind") if kind == "hub"]
    assert at["in0"][0] < at[dot][0] < at[next(n for n in scene if n.startswith("T"))][0] < at["out"][0]
    assert dict(roles(squared)) == {"down": "output map"}


class Squared(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Linear(8, 3, bias=False).double()

    def forward(self, x):
        return self.down(x**2)


def test_a_number_that_is_added_is_a_constant():
    f = bilinear(5, 4, 3)[2] + rand(1)[0]
    (scene, _) = of_terms(f.terms).scenes[-1]
    assert [d["stands"] for _, d in scene.nodes(data=True) if d["kind"] == "tensor"] == ["constant"]


@pytest.mark.parametrize("name", ["BLOOM", "torch"])
def test_a_fused_matrix_is_told_apart_in_every_term(name):
    f = layer(name)
    fused = {"BLOOM": "query_key_value", "torch": "in_proj"}[name]
    assert {role for what, role in roles(f) if what == fused} == {"query", "key", "value"}
    for k in range(len(f.terms[:6])):  # where a bias stands for the query, the key is still the key
        assert {role for what, role in roles(f, k) if what == fused} <= {"query", "key", "value"}
    picture = of_terms(f.terms)
    labels = labels_of(picture.scenes, sizes=True)
    texts = [labels.texts[0][n] for n, d in picture.scenes[0][0].nodes(data=True) if d.get("role") == fused]
    assert len(set(texts)) == 3 and all("·" in text for text in texts)
    assert any(f"({fused})" in e.text for e in labels.entries) or len(fused) <= 6


def test_rotary_and_scores():
    model = tnsim.nn.BilinearAttention(d_model=8, n_head=2, n_ctx=4).double()
    f = tnsim.convert(model, torch.randn(1, 4, 8, dtype=torch.float64))[0]
    found = [role for _, role in roles(f)]
    assert found.count("turn") == 4
    assert {"query 1", "key 1", "query 2", "key 2", "value", "head output", "mask"} <= set(found)

    class Merged(nn.Module):
        def __init__(self):
            super().__init__()
            self.qk, self.ov = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)

        def forward(self, x):
            return (self.qk(x) @ x.mT) @ self.ov(x)

    f = tnsim.convert(Merged().double(), torch.randn(1, 4, 8, dtype=torch.float64))[0]
    assert dict(roles(f)) == {"qk": "score", "ov": "value"}


def test_both_sides_of_an_inner_product():
    scene = scene_of(closed(deep(1), 2))
    found = roles_of(scene)
    names = {n: d["role"] for n, d in scene.nodes(data=True) if d["kind"] == "tensor"}
    does = {"L": "left factor", "R": "right factor", "D": "output map", "COV": "covariance"}
    assert {n: does[name] for n, name in names.items()} == found


def test_a_gain_that_is_called_like_an_identity_is_drawn():
    wire = ("out:d",)
    gained = Term((qtn.Tensor(rand(3), wire, tags="I"),), (wire,), wire)
    shown = of_terms((gained,)).scenes[0][0]
    assert [d["stands"] for _, d in shown.nodes(data=True) if d["kind"] == "tensor"] == ["gain"]
    passed = of_terms(identity((("d", 3),), rand(1)).terms).scenes[0][0]
    assert not [n for n, kind in passed.nodes(data="kind") if kind == "tensor"]


# ---------------------------------------------------------------------- names


def test_short_names_are_short_and_tell_apart():
    names = [
        "gate_proj",
        "up_proj",
        "down_proj",
        "c_attn",
        "projection_a",
        "projection_b",
        "x" * 40,
        "x" * 41,
        "a",
    ]
    short = short_names(names)
    assert list(short) == names
    assert len(set(short.values())) == len(names)
    assert all(len(text) <= 6 for text in short.values())
    assert short_names(["the_layer_of_scales", "the_layer_of_outgoing"])["the_layer_of_outgoing"] == "outgo…"
    assert short["gate_proj"] == "gate" and short["c_attn"] == "c_attn" and short["projection_a"] != "a"


def test_a_path_in_common_is_written_once():
    prefix, short = without_prefix(["h.0.mlp", "h.1.mlp", "head"])
    assert prefix == "h." and short["h.1.mlp"] == "…1.mlp" and short["head"] == "head"
    assert without_prefix(["a", "b"]) == ("", {"a": "a", "b": "b"})
    assert cut_to("short", 8, 100) == "short"
    assert len(cut_to("x" * 80, 8, 60)) < 20
