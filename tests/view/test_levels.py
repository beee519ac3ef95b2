"""A model at three levels: boxes with true sizes, layers as sums, the network; and as text for graphviz."""

import re
import shutil
import subprocess

import matplotlib
import matplotlib.pyplot as plt
import naming_zoo
import numpy as np
import pytest
import torch
from drawings import bilinear, by_hand, deep, linear, rand, sequence_model, with_residual
from torch import nn

import tnsim
from tnsim.algebra import Network, identity
from tnsim.view import draw, to_dot
from tnsim.view.pictures import of_layers
from tnsim.view.stages import stages_of

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


class Block(nn.Module):
    def __init__(self, d=6, bias=True, scale=None):
        super().__init__()
        self.left, self.right, self.scale = nn.Linear(d, d, bias=bias), nn.Linear(d, d, bias=bias), scale

    def forward(self, x):
        y = self.left(x) * self.right(x)
        return x + y if self.scale is None else torch.lerp(x, y, self.scale)


def small(model):
    for p in model.parameters():
        p.data.mul_(0.2)
    return model


def gids(ax, kind):
    return [p.get_gid() for p in ax.patches if (p.get_gid() or "").split(" ")[0] == kind]


def written(ax):
    return [t.get_text() for t in ax.texts]


# ---------------------------------------------------------------------- boxes


def test_true_sizes_and_marks():
    net = tnsim.convert(small(nn.Sequential(nn.Linear(64, 6), Block(), Block(bias=False), nn.Linear(6, 10))))
    stages = stages_of(net, 99)
    assert [s.degree for s in stages] == [1, 2, 2, 1]
    assert [s.skip for s in stages] == [None, 1.0, 1.0, None]
    assert [s.bias for s in stages] == [True, True, False, True]
    assert [s.kind for s in stages] == ["linear", "product", "product", "linear"]
    _, ax = draw(net)
    sizes = [t.get_text() for t in ax.texts if t.get_gid() == "size"]
    assert sizes == ["64", "6", "6", "6", "10"]
    assert len(gids(ax, "box")) == 4 and len(gids(ax, "skip")) == 2
    assert written(ax).count("+ bias") == 3


def test_the_factor_of_a_skip_is_written():
    net = tnsim.convert(small(nn.Sequential(Block(bias=False, scale=0.3), Block(bias=False))))
    assert [round(s.skip, 3) for s in stages_of(net, 99)] == [0.7, 1.0]
    _, ax = draw(net)
    assert "× 0.7" in written(ax)


def test_layers_with_the_same_weights():
    same, other = small(Block()), small(Block())
    net = tnsim.convert(nn.Sequential(same, same, other, same))
    stages = stages_of(net, 99)
    assert [(s.times, s.same) for s in stages] == [(2, ""), (1, ""), (1, stages[0].name)]
    copied = tnsim.convert(nn.Sequential(other, small(Block())))
    assert [(s.times, s.same) for s in stages_of(copied, 99)] == [(1, ""), (1, "")]
    _, ax = draw(net)
    assert "× 2" in written(ax) and f"= {stages[0].name}" in written(ax)


def test_positions_are_told_from_features():
    _, ax = draw(sequence_model())
    assert [t.get_text() for t in ax.texts if t.get_gid() == "size"] == ["6 × 8"] * 3
    assert [s.kind for s in stages_of(sequence_model(), 9)] == ["mixing", "mixing"]
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert "numbers on the line: positions × features" in legend


@pytest.mark.parametrize("depth", [2, 24])
def test_every_layer_is_legible_at_any_depth(depth):
    layers = [("embed", linear("E", 6, 64)), *((f"blocks.{k}", bilinear(6, 8, 6)) for k in range(depth))]
    fig, ax = draw(Network(tuple(layers)))
    names = {t.get_text(): t.get_fontsize() for t in ax.texts if (t.get_gid() or "").startswith("name")}
    assert set(names) == {name for name, _ in layers}
    assert min(names.values()) >= 7
    assert fig.get_size_inches()[0] < 10


def test_a_very_deep_model_leaves_out_its_middle_and_says_so():
    net = deep(300, d=2)
    fig, ax = draw(net)
    assert len(gids(ax, "box")) == 96
    left_out = [t for t in written(ax) if t.endswith("more")]
    assert left_out == ["205 more"]
    assert max(fig.get_size_inches()) < 40


def test_highlighted_boxes():
    _, ax = draw(with_residual(2), highlight="head")
    faces = {p.get_gid(): p.get_facecolor() for p in ax.patches}
    assert np.mean(faces["box embed"][:3]) > np.mean(faces["box head"][:3])
    with pytest.raises(ValueError, match="nothing here is tagged"):
        draw(with_residual(2), highlight="haed")


def test_what_only_adds_a_constant_is_no_map_beside_a_skip():
    net = tnsim.convert(Shifted().double(), rand(1, 6))
    stages = stages_of(net, 9)
    assert [(s.kind, s.skip, s.bias) for s in stages] == [("identity", None, True), ("product", 1.0, True)]
    _, ax = draw(net)
    assert "identity" in written(ax) and len(gids(ax, "skip")) == 1


class Shifted(nn.Module):
    def __init__(self):
        super().__init__()
        self.position, self.block = nn.Parameter(torch.randn(6)), small(Block())

    def forward(self, x):
        return self.block(x + self.position)


# ---------------------------------------------------------------------- which level


def test_a_module_is_drawn_as_it_is_and_a_layer_as_its_sum():
    _, ax = draw(small(nn.Sequential(nn.Linear(5, 6), Block())))
    assert gids(ax, "box") and not gids(ax, "tensor")
    _, ax = draw(Block())
    assert gids(ax, "tensor") and not gids(ax, "box")
    _, ax = draw(by_hand())
    assert gids(ax, "tensor")


def test_a_module_that_needs_an_example_says_how_to_give_one():
    with pytest.raises(tnsim.ConvertError, match="convert\\(model"):
        draw(tnsim.nn.Transformer(n_vocab=16, d_model=8, n_head=2, n_ctx=4, blocks=("attn",)).eval())


def test_layers_of_one_form_share_a_drawing():
    _, ax = draw(deep(24), level="layer")
    assert len(gids(ax, "tensor")) == 3
    assert any("24 of this form" in text for text in written(ax))


def test_of_many_terms_a_model_shows_those_of_highest_degree_and_the_input():
    x = torch.randn(1, 5, 8, dtype=torch.float64)
    net = tnsim.convert(naming_zoo.FusedAttention("qkv", "proj", bias=True).double(), x)
    many = len(net[0].terms)
    picture = of_layers(net)
    assert many > 4 and len(picture.scenes) == 2
    assert picture.captions[0][2].endswith(f"degree 3, 2 of {many} terms")


def test_positions_and_features_of_one_line_are_written_together():
    _, ax = draw(sequence_model(), level="layer")
    sizes = [t.get_text() for t in ax.texts if (t.get_gid() or "").startswith("size")]
    assert "6 × 8" in sizes
    assert "6 × 8: positions × features" in [t.get_text() for t in ax.get_legend().get_texts()]


def test_places_beside_the_products_are_told_from_them():
    model = tnsim.convert(small(nn.Sequential(nn.Linear(5, 6), Block())))
    _, ax = draw(model, level="network")
    told = [t.get_text() for t in (*ax.get_legend().get_texts(), *ax.texts)]
    assert "13 = 6 + 7: products, and places for what is added to them" in told
    assert "13" in told


def test_what_is_too_large_says_which_level_to_draw():
    with pytest.raises(ValueError, match='Write level="model" for one box'):
        draw(deep(12), level="network")
    with pytest.raises(ValueError, match='level="model"'):
        draw(by_hand(), level="model")
    with pytest.raises(ValueError, match='level is "boxes"; write "model", "layer" or "network"'):
        draw(deep(2), level="boxes")
    many = Network(
        tuple((f"b{k}", bilinear(4, 5 + k, 4) + identity((("d", 4),), rand(1))) for k in range(30))
    )
    _, ax = draw(many, level="layer")
    assert any(re.search(r'\d+ of 30 layers; draw others as net\["b\d+"\]', text) for text in written(ax))


def test_svg_and_pdf(tmp_path):
    for level in ("model", "layer", "network"):
        fig, _ = draw(with_residual(1), level=level)
        for kind in ("svg", "pdf"):
            fig.savefig(tmp_path / f"{level}.{kind}")
            assert (tmp_path / f"{level}.{kind}").stat().st_size > 1000


# ---------------------------------------------------------------------- graphviz

NODE = re.compile(r'^"(?:[^"\\]|\\.)*" \[.*\];$')
EDGE = re.compile(r'^"(?:[^"\\]|\\.)*" -> "(?:[^"\\]|\\.)*" \[.*\];$')


@pytest.mark.parametrize("level", ["model", "layer", "network"])
def test_every_box_and_tensor_is_a_node_of_the_text(level):
    net = with_residual(1)
    text = net.to_dot(level)
    assert text == to_dot(net, level=level)
    rows = [row.strip() for row in text.splitlines()]
    assert rows[0] == "digraph tnsim {" and rows[-1] == "}" and text.count("{") == text.count("}")
    edges = [row for row in rows if EDGE.match(row)]
    nodes = [row for row in rows if NODE.match(row)]
    known = {row.split(" [")[0] for row in nodes}
    assert edges and all(end in known for row in edges for end in row.split(" [")[0].split(" -> "))
    if level == "model":
        assert sum("degree" in row for row in nodes) == len(net)
        assert any('label="64"' in row for row in edges)
    else:
        _, ax = draw(net, level=level)
        assert sum("ellipse" in row for row in nodes) == len(gids(ax, "tensor"))


def test_names_are_quoted():
    net = Network((('a"b\\c', linear("W", 2, 3)), ("x", linear("V", 2, 2))))
    assert '\\"b\\\\c' in net.to_dot()


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
@pytest.mark.parametrize("level", ["model", "layer", "network"])
def test_graphviz_reads_it(level):
    for thing in (with_residual(1), sequence_model()):
        done = subprocess.run(
            ["dot", "-Tsvg"],
            input=thing.to_dot(level),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert "<svg" in done.stdout and not done.stderr.replace("Fontconfig", "").startswith("Error")


def test_axes_that_are_too_small_for_names_say_so():
    fig, axes = plt.subplots(1, 2, figsize=(6, 2.5))
    draw(with_residual(4), axes[0], level="model")
    assert "too small for names" in " ".join(written(axes[0]))
    assert "+ bias" not in written(axes[0]) and len(gids(axes[0], "box")) == 6
    draw(with_residual(1), axes[1], level="model", legend=False)
    fig.canvas.draw()
    for ax in axes:
        for t in ax.texts:
            box = t.get_window_extent()
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= fig.bbox.x1 and box.y1 <= fig.bbox.y1
