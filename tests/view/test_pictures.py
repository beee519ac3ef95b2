"""Heat maps, images and curves: values end up where they belong, in the right colour, and can be read."""

from itertools import combinations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

import tnsim
from tnsim.view import DIVERGING, SEQUENTIAL, bars, curves, heatmap, heatmaps, image, path
from tnsim.view.arrays import to_numpy
from tnsim.view.style import BLANK, PALETTE

matplotlib.use("Agg")
RNG = np.random.default_rng(0)
STEPS = [250 * k for k in range(41)]


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def similarity(n, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, 6)) + 1.0
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T


def boxes(fig, artists):
    fig.canvas.draw()
    return [a.get_window_extent(fig.canvas.get_renderer()) for a in artists if a.get_text()]


def lightness(cmap, t):
    rgb = cmap(t)[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16


CALLS = {
    "heatmap": lambda **k: heatmap(similarity(5), **k),
    "image": lambda **k: image(RNG.normal(size=12), (3, 4), **k),
    "curves": lambda **k: curves([0, 1, 2], {"a": [1, 2, 3], "b": [3, 2, 1]}, **k),
    "bars": lambda **k: bars([0.1, 0.7], **k),
    "path": lambda **k: path([[0, 0], [1, 0], [1, 1]], **k),
}


@pytest.mark.parametrize("name", CALLS)
def test_uses_the_axes_it_is_given_and_leaves_settings_alone(name, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *a, **k: pytest.fail("show() was called"))
    before = dict(matplotlib.rcParams)
    fig, (left, right) = plt.subplots(1, 2)
    assert CALLS[name](ax=right, title="here") == (fig, right)
    assert right.get_title(loc="left") == "here" and not left.images and not left.lines
    fig, ax = CALLS[name]()
    assert ax.figure is fig
    assert dict(matplotlib.rcParams) == before


# ---------------------------------------------------------------------- colours


def test_lightness_runs_evenly():
    steps = np.diff(lightness(SEQUENTIAL, np.linspace(0, 1, 17)))
    assert np.all(steps < -2) and np.all(steps > -9)
    both = lightness(DIVERGING, np.linspace(0, 1, 33))
    assert np.all(np.diff(both[:17]) > 2) and np.all(np.diff(both[16:]) < -2)
    assert abs(both[0] - both[-1]) < 5


def test_a_similarity_has_one_colour_in_both_maps():
    t = np.linspace(0, 1, 11)
    assert np.abs(SEQUENTIAL(t) - DIVERGING(0.5 + t / 2)).max() < 0.03
    assert len(set(PALETTE)) == len(PALETTE)


def test_negative_entries_put_white_at_zero():
    _, ax = heatmap([[1.0, -0.2], [-0.2, 1.0]])
    shown = ax.images[0]
    assert shown.cmap is DIVERGING or shown.cmap.name == DIVERGING.name
    assert shown.get_clim() == (-1.0, 1.0)
    _, ax = heatmap([[1.0, 0.3], [0.3, 1.0]])
    assert ax.images[0].get_clim() == (0.0, 1.0)
    _, ax = heatmap([[1.0, 0.3], [0.3, 1.0]], vmin=0.0, cmap="viridis")
    assert ax.images[0].get_clim() == (0.0, 1.0) and ax.images[0].cmap.name == "viridis"
    for matrix, limits in (
        (np.ones((3, 3)), (0.0, 1.0)),
        (np.full((3, 3), 0.9999), (0.0, 1.0)),
        (0.5 + 0.5 * np.eye(3), (0.0, 1.0)),
        (2.0 * np.ones((3, 3)), (1.5, 2.5)),  # no cosines
        (0.1 + np.eye(3), (0.1, 1.1)),
        ([[1.0, 3.0], [3.0, 1.0]], (1.0, 3.0)),
    ):
        assert np.allclose(heatmap(matrix)[1].images[0].get_clim(), limits)


# ---------------------------------------------------------------------- heat maps


def test_dead_models_are_grey():
    layer = lambda k: tnsim.poly("W[out,in0]", W=k * torch.ones(2, 3, dtype=torch.float64))  # noqa: E731
    gram = tnsim.gram([layer(1.0), layer(0.0), layer(2.0)], labels=["a", "dead", "b"])
    for fig, ax in (heatmap(gram), heatmap(gram.similarity())):
        fig.canvas.draw()
        shown = ax.images[0]
        rgba = shown.to_rgba(shown.get_array())[..., :3]
        assert np.allclose(rgba[1], to_rgb(BLANK)) and np.allclose(rgba[:, 1], to_rgb(BLANK))
        assert (
            not np.allclose(rgba[0, 2], to_rgb(BLANK)) and len(ax.texts) == 4 and shown.get_clim() == (0, 1)
        )
    with pytest.raises(ValueError, match="4 entries that are NaN"):
        heatmap(np.full((2, 2), np.nan))
    assert heatmaps(gram)[1].shape == (1, 2)


def test_one_list_of_models_against_another():
    values = np.linspace(0, 1, 6).reshape(2, 3)
    fig, ax = heatmap(values, labels=(["x", "y"], [1, 2, 3]), axis_label=("rows", "columns"))
    fig.canvas.draw()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["x", "y"] and ax.get_ylabel() == "rows"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "3"] and ax.get_xlabel() == "columns"
    assert [t.get_text() for t in ax.texts] == [f"{v:.2f}" for v in values.ravel()]
    with pytest.raises(ValueError, match="labels of both"):
        heatmap(values, labels=(["x", "y"], [1, 2, 3]), boundaries=[1])


@pytest.mark.parametrize(
    "matrix",
    [
        similarity(4),
        similarity(4).tolist(),
        torch.tensor(similarity(4), requires_grad=True),
        [list(map(torch.tensor, row)) for row in similarity(4)],
    ],
)
def test_reads_whatever_holds_numbers(matrix):
    assert np.allclose(to_numpy(matrix), similarity(4))
    _, ax = heatmap(matrix)
    assert np.allclose(ax.images[0].get_array(), similarity(4))


def test_values_are_written_in_small_matrices_and_can_be_read():
    matrix = similarity(12)
    fig, ax = heatmap(matrix)
    assert [t.get_text() for t in ax.texts] == [f"{v:.2f}" for v in matrix.ravel()]
    for a, b in combinations(boxes(fig, ax.texts), 2):
        assert not a.overlaps(b)
    assert not heatmap(similarity(13))[1].texts
    assert not heatmap(similarity(3), annotate=False)[1].texts


@pytest.mark.parametrize("labels", [None, STEPS, [f"checkpoint {s}" for s in STEPS], torch.tensor(STEPS)])
@pytest.mark.parametrize("width", [2.0, 4.4])
def test_tick_labels_are_thinned_until_they_fit(labels, width):
    fig, ax = plt.subplots(figsize=(width, width), layout="constrained")
    heatmap(similarity(41), ax, labels=labels, colorbar=False)
    for axis in (ax.xaxis, ax.yaxis):
        fig.canvas.draw()
        ticks = axis.get_ticklabels()
        assert len(ticks) >= 2
        if not any(t.get_rotation() for t in ticks):
            for a, b in combinations(boxes(fig, ticks), 2):
                assert not a.overlaps(b)


def test_numbers_are_marked_at_round_values():
    _, ax = heatmap(similarity(41), labels=STEPS)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "2000", "4000", "6000", "8000", "10000"]
    assert list(ax.get_xticks()) == [0, 8, 16, 24, 32, 40]


@pytest.mark.parametrize(
    "steps, shown", [(range(0, 601, 25), [0, 200, 400]), (range(0, 3001, 75), [0, 900, 1800])]
)
def test_of_several_runs_each_is_marked_at_the_same_round_values(steps, shown):
    fig, ax = heatmap(similarity(2 * len(steps)), labels=[*steps] * 2)
    fig.canvas.draw()
    texts = [t.get_text() for t in ax.get_xticklabels()]
    assert texts[: len(shown)] == texts[len(shown) :][: len(shown)] == [str(n) for n in shown]
    assert list(ax.get_xticks())[: len(shown)] == [steps.index(n) for n in shown]


def test_all_names_are_written_when_there_are_few():
    fig, ax = heatmap(similarity(3), labels=["MLP", "attention", "transformer"])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["MLP", "attention", "transformer"]
    for box in boxes(fig, [*ax.get_xticklabels(), *ax.get_yticklabels()]):
        assert box.x0 >= 0 and box.y0 >= 0


def test_a_boundary_stands_between_two_models():
    fig, ax = heatmap(similarity(41), boundaries=[33], phases=["clean", "poisoned"])
    lines = [line for line in ax.lines if line.get_gid() == "boundary"]
    assert [line.get_xdata()[0] for line in lines[:1]] == [32.5] and lines[1].get_ydata()[0] == 32.5
    names = [t for t in ax.texts if t.get_gid() == "phase"]
    assert [t.get_text() for t in names] == ["clean", "poisoned"]
    (a, b), frame = boxes(fig, names), ax.get_window_extent()
    assert not a.overlaps(b) and frame.x0 <= a.x0 and b.x1 <= frame.x1 + 1


def test_the_first_model_is_at_the_bottom():
    assert not heatmap(similarity(3))[1].yaxis_inverted()
    assert heatmap(similarity(3), origin="upper")[1].yaxis_inverted()


def test_slices_share_one_scale_and_one_bar():
    stack = np.stack([similarity(20, seed) for seed in range(10)])
    fig, axes = heatmaps(
        stack, [f"class {c}" for c in range(10)], labels=range(20), boundaries=[15], phases=["A", "B"]
    )
    assert axes.shape == (2, 5)
    assert {ax.images[0].get_clim() for ax in axes.flat} == {(-1.0, 1.0)}
    assert len(fig.axes) == 11
    for k, ax in enumerate(axes.flat):
        assert np.allclose(ax.images[0].get_array(), stack[k])
    fig, axes = heatmaps(stack[:3], cols=2)
    assert [ax.get_title(loc="left") for ax in axes.flat] == ["0", "1", "2", ""]
    assert not axes[1, 1].images


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: heatmap(np.ones((2, 3))), r"needs a square matrix; got shape \(2, 3\)"),
        (lambda: heatmap(np.ones((2, 2, 2))), r"needs 2 axes; got shape \(2, 2, 2\). Several matrices"),
        (lambda: heatmap(np.ones((2, 2)), labels=["a"]), "1 labels for 2 models"),
        (lambda: heatmap([[1.0, np.inf], [0.0, 1.0]]), r"1 entries that are NaN or infinite, the first at \(0, 1\)"),
        (lambda: heatmap(np.ones((0, 0))), "is empty"),
        (lambda: heatmap(np.ones((4, 4)), boundaries=[5]), "boundaries must increase and lie between 0 and 4"),
        (lambda: heatmap(np.ones((4, 4)), boundaries=[2], phases=["A"]), "1 phases for 1 boundaries"),
        (lambda: heatmaps(np.ones((2, 2))), "One matrix is drawn with heatmap"),
        (lambda: heatmaps(np.ones((3, 2, 4))), "must be square"),
        (lambda: heatmaps(np.ones((3, 2, 2)), ["a"]), "1 titles for 3 matrices"),
        (lambda: image(np.ones(10), (3, 4)), r"10 numbers; an image of shape \(3, 4\) needs 12"),
        (lambda: image(np.ones(12), (3, 4), outline=np.ones(5)), "outline holds 5 numbers"),
        (lambda: image([1.0, np.inf, 0.0, 0.0]), "NaN or infinite"),
        (lambda: curves([0, 1], {}), "no curves"),
        (lambda: curves([0, 1], {"a": [1, 2, 3]}), "'a' has 3 values for 2 steps"),
        (lambda: curves([1, 0], {"a": [1, 2]}), "steps must increase"),
        (lambda: curves([0, 1], {"a": [1, np.nan]}), "series 'a' holds 1 entries"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------------- images and curves


def test_an_image_is_read_in_rows():
    values = torch.arange(12.0, requires_grad=True)
    _, ax = image(values, (3, 4))
    assert np.allclose(ax.images[0].get_array(), np.arange(12.0).reshape(3, 4))
    assert image(np.ones((3, 4)))[1].images[0].get_array().shape == (3, 4)
    assert image(np.ones(25))[1].images[0].get_array().shape == (5, 5)


def test_the_outline_goes_around_the_true_pixels():
    mask = np.zeros((5, 5), bool)
    mask[0, 0] = mask[0, 1] = mask[3, 3] = True
    _, ax = image(np.zeros((5, 5)), outline=mask)
    (line,) = [c for c in ax.collections if c.get_gid() == "outline"]
    edges = {frozenset(map(tuple, segment)) for segment in np.array(line.get_segments())}
    assert len(edges) == 6 + 4
    assert frozenset({(0.5, -0.5), (0.5, 0.5)}) not in edges  # between two true pixels
    assert frozenset({(2.5, 2.5), (3.5, 2.5)}) in edges


def test_curves_are_named_at_their_ends_without_overlap():
    steps = np.linspace(0, 10_000, 41)
    ends = {
        "train accuracy": 0.86,
        "test accuracy": 0.85,
        "similarity": 0.85,
        "attack success": 0.01,
        "loss": 0.0,
    }
    fig, ax = curves(
        steps, {name: np.linspace(0, v, 41) for name, v in ends.items()}, boundaries=[8000], phases=["A", "B"]
    )
    names = [t for t in ax.texts if (t.get_gid() or "").startswith("end")]
    assert {t.get_text() for t in names} == set(ends)
    found = boxes(fig, names)
    for a, b in combinations(found, 2):
        assert not a.overlaps(b)
    assert all(b.x0 >= 0 and b.x1 <= fig.bbox.x1 and b.y0 >= 0 and b.y1 <= fig.bbox.y1 for b in found)
    height = {t.get_text(): b.y0 for t, b in zip(names, found, strict=True)}
    assert height["train accuracy"] > height["test accuracy"] > height["attack success"] > height["loss"]
    colour = {line.get_gid(): line.get_color() for line in ax.lines}
    assert all(t.get_color() == colour[f"curve {t.get_text()}"] for t in names)


def test_a_curve_keeps_a_given_colour():
    _, ax = curves([0, 1], {"a": [0, 1]}, colours={"a": "#123456"})
    assert ax.lines[0].get_color() == "#123456"


# ---------------------------------------------------------------------- bars and paths


def test_bars_are_as_long_as_their_numbers_and_named():
    _, ax = bars(torch.tensor([0.5, -0.1, 0.2]), ["embed", "block", "head"], mark=-1)
    assert [round(float(b.get_width()), 6) for b in ax.patches] == [0.5, -0.1, 0.2]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["embed", "block", "head"]
    assert ax.yaxis_inverted() and ax.patches[2].get_facecolor() != ax.patches[0].get_facecolor()
    with pytest.raises(ValueError, match="2 names for 3 bars"):
        bars([1, 2, 3], ["a", "b"])


def test_a_path_goes_through_its_points_and_names_where_phases_begin():
    points = torch.tensor([[0.0, 0.0, 9.0], [1.0, 0.2, 9.0], [2.0, 1.0, 9.0], [2.0, 3.0, 9.0]])
    _, ax = path(points, labels=[0, 10, 20, 30], boundaries=[2], phases=["a", "b"], explained=[0.7, 0.2, 0.1])
    lines = [line.get_xydata() for line in ax.lines]
    assert np.allclose(lines[1], points[:2, :2]) and np.allclose(lines[3], points[2:, :2])
    assert np.allclose(lines[2], points[1:, :2])  # a phase starts at the end of the one before
    assert {t.get_text() for t in ax.texts} == {"0", "20", "30"}
    assert ax.get_xlabel() == "axis 1 (70% of the variance)"
    _, line = path(points[:, :1])
    assert np.allclose(line.lines[0].get_ydata(), 0)
    with pytest.raises(ValueError, match="3 labels for 4 checkpoints"):
        path(points, labels=[1, 2, 3])
