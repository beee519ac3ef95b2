import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pytest
import torch

import tnsim


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def heights(ax):
    return [bar.get_height() for bar in ax.patches]


def test_bars_show_every_value_with_its_sign():
    _, ax = tnsim.scree(torch.tensor([3.0, -2.0, 1.0]), title="t", ylabel="y")
    assert heights(ax) == [3.0, -2.0, 1.0]
    up, down, other = (bar.get_facecolor() for bar in ax.patches)
    assert up == other != down


def test_groups_are_bracketed_and_counted():
    _, ax = tnsim.scree([2.0, 2.0, 2.0, -1.0, -1.0, 0.3], groups=[(0, 1, 2), (3, 4), (5,)])
    assert [t.get_text() for t in ax.texts] == ["3×", "2×"]
    brackets = [line for line in ax.lines if line.get_gid() == "group"]
    assert [line.get_xdata()[0] > 0 for line in brackets] == [True, True]
    assert brackets[0].get_ydata()[0] > 2 and brackets[1].get_ydata()[0] < -1
    low, high = ax.get_ylim()
    assert low < -1.1 and high > 2.1


def test_several_spectra_are_named_and_zeros_left_out_of_logarithms():
    _, ax = tnsim.scree({"a": [1.0, 0.1, 0.0], "b": [1.0, 0.5]}, log=True)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]
    assert [len(line.get_xdata()) for line in ax.lines] == [2, 2]
    assert ax.get_yscale() == "log"


def test_it_draws_on_given_axes_and_refuses_what_it_cannot_draw():
    fig, axes = tnsim.view.grid(1, 2)
    assert tnsim.scree([1.0], axes[0, 1]) == (fig, axes[0, 1])
    with pytest.raises(ValueError, match="empty"):
        tnsim.scree({})
    with pytest.raises(ValueError, match="log=False"):
        tnsim.scree([1.0, -1.0], log=True)
    with pytest.raises(ValueError, match="NaN"):
        tnsim.scree([1.0, float("nan")])
