"""Results say what their parts are: in words, as a table, as a picture, in a notebook."""

import base64
import copy
import io
import re
from html.parser import HTMLParser

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib import image as mpl_image

import tnsim
from tnsim.sampling.estimate import Estimate

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def closed():
    yield
    assert len(plt.get_fignums()) <= 2  # what a notebook shows leaves none open
    plt.close("all")


def models(n=3):
    torch.manual_seed(0)
    return [tnsim.nn.BilinearMLP(6, 4, 5, 3, 2) for _ in range(n)]


SPLITS = {
    "outputs": ({}, (0, 1, 2)),
    "inputs": ({}, tuple(range(6))),
    "layers": ({}, ("embed", "blocks.0", "blocks.1", "head")),
    "hidden": ({"layer": "blocks.1"}, tuple(range(5))),
}


@pytest.mark.parametrize("to", SPLITS)
def test_shares_know_their_parts(to):
    a, b, _ = models()
    options, parts = SPLITS[to]
    shares = tnsim.attribute(a, b, to=to, **options)
    assert isinstance(shares, tnsim.Shares) and shares.parts == parts
    (first, value), *_ = shares.top(2)
    k = int(shares.abs().argmax())
    assert first == parts[k] and value == shares[k].item()
    text = repr(shares)
    assert text.startswith("Shares(‖a − b‖²") and f"{first} {value / shares.total.item():.0%}" in text
    assert len(text) < 300


def test_shares_compute_as_tensors_do():
    a, b, _ = models()
    a.requires_grad_(), b.requires_grad_(False)
    shares = tnsim.attribute(a, b, to="layers")
    values = shares.as_subclass(torch.Tensor)
    for f in (
        lambda x: x / x.sum(),
        lambda x: x[1],
        torch.abs,
        lambda x: x.cumsum(0),
        lambda x: torch.stack([x, x]),
    ):
        assert type(f(shares)) is torch.Tensor and torch.equal(f(shares), f(values))
    moved = tnsim.attribute(a, b, to="outputs")
    moved.sum().backward()
    assert all(p.grad is not None for p in a.parameters())
    twin = copy.deepcopy(shares.detach().as_subclass(tnsim.Shares))
    assert torch.equal(twin, shares) and "Shares" not in repr(shares + 1)
    kept = copy.deepcopy(shares)
    assert kept.parts == shares.parts and torch.equal(kept, shares)


def test_parts_of_images_and_positions():
    values = torch.arange(12.0).reshape(1, 3, 4)
    shares = tnsim.Shares.of(values, "inputs", "D")
    assert shares.top(1) == [((0, 2, 3), 11.0)] and shares.parts[5] == (0, 1, 1)


# ------------------------------------------------------------------------------------------------- in a notebook


class Cells(HTMLParser):
    """The texts and pictures of a page; complains about tags that are not closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.texts, self.pictures = [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.pictures.append(dict(attributes)["src"])
        else:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def results():
    a, b, c = models()
    gram = tnsim.gram([a, b, c], labels=["<a>", "b", "c"])
    net = tnsim.convert(a)
    yield gram, True
    yield tnsim.attribute(a, b, to="layers"), True
    yield tnsim.spectrum(net, output=0), True
    yield tnsim.localise(a, b), True
    yield tnsim.trajectory(gram), True
    yield net, False
    yield net["blocks.0"], False
    yield net["blocks.0"].terms[0], False
    yield tnsim.cost(a, b), False
    yield Estimate(torch.tensor(0.4447), torch.tensor(0.0008), "sampled", 400_000), False
    yield Estimate(torch.ones(2, 3), torch.zeros(2, 3)), False
    yield tnsim.layers(a, b, measure="similarity", progress=False), True
    yield tnsim.null([a, b], "seeds", progress=False), False


def test_what_a_notebook_shows():
    for result, drawn in results():
        page = result._repr_html_()
        found = Cells(page)
        assert found.texts and found.texts[0] and "<a>" not in page and len(page) < 60_000
        assert len(found.pictures) == drawn
        for picture in found.pictures:
            pixels = mpl_image.imread(io.BytesIO(base64.b64decode(picture.split(",")[1])))
            assert pixels[..., :3].std() > 0.02
        assert len(repr(result)) < 1000 and len(repr(result).splitlines()) < 40


def test_tables_hold_the_numbers():
    a, b, _ = models()
    net = tnsim.convert(a)
    texts = Cells(net._repr_html_()).texts
    assert {"embed", "blocks.0", "(6,)", "(4,)", "24"} <= set(texts)
    shares = tnsim.attribute(a, b, to="layers")
    texts = Cells(shares._repr_html_()).texts
    for part, value in shares.top(4):
        assert f"{value:.4g}" in texts[texts.index(part) + 1]
    many = tnsim.Shares.of(torch.arange(100.0), "inputs", "D")
    assert "… 88 more" in many._repr_html_()


def test_pictures_are_those_of_the_numbers():
    a, b, c = models()
    gram = tnsim.gram([a, b, c], labels=[0, 10, 20])
    _, ax = gram.plot(output=1, title="output 1")
    assert (
        np.allclose(ax.images[0].get_array(), gram.similarity(1).detach())
        and ax.get_title(loc="left") == "output 1"
    )
    shares = tnsim.attribute(a, b, to="layers")
    _, ax = shares.plot()
    assert np.allclose([bar.get_width() for bar in ax.patches], 100 * shares.detach() / shares.sum().detach())
    assert [t.get_text() for t in ax.get_yticklabels()] == list(shares.parts)
    plt.close("all")
    by_input = tnsim.attribute(a, b, to="inputs")
    _, ax = by_input.plot(shape=(2, 3))
    assert np.allclose(ax.images[0].get_array(), by_input.detach().reshape(2, 3))
    many = tnsim.Shares.of(torch.linspace(-1, 2, 50), "inputs", "D")
    _, ax = many.plot()
    assert len(ax.patches) == 20 and ax.get_yticklabels()[0].get_text() == "49"
    assert "20 largest of 50" in ax.get_ylabel()
    plt.close("all")
    with pytest.raises(ValueError, match=r"modes.pick\(i\).plot"):
        tnsim.spectrum(tnsim.convert(a), output=0).__class__(
            torch.ones(2, 3), torch.ones(2, 3, 4), torch.ones(2, 3, 4), "in", "x"
        ).plot()


def test_frames(monkeypatch):
    a, b, c = models()
    gram, shares = tnsim.gram([a, b, c], labels=["a", "b", "c"]), tnsim.attribute(a, b, to="layers")
    monkeypatch.setattr("tnsim.view.tables.import_module", _no_pandas)
    with pytest.raises(ModuleNotFoundError, match="pip install pandas"):
        gram.to_frame()
    monkeypatch.undo()
    pandas = pytest.importorskip("pandas")
    found = gram.to_frame()
    assert isinstance(found, pandas.DataFrame) and list(found.index) == list(found.columns) == ["a", "b", "c"]
    assert np.allclose(found, gram.similarity().detach())
    found = shares.to_frame()
    assert found.loc["blocks.1", "share"] == shares[2].item() and np.isclose(found["fraction"].sum(), 1)


def _no_pandas(name):
    raise ModuleNotFoundError(name)


def test_progress_bars_suit_the_notebook():
    """Those of tqdm.auto, wherever there is one."""
    root = __import__("pathlib").Path(tnsim.__file__).parent
    for path in root.rglob("*.py"):
        assert not re.search(r"^(from tqdm import|import tqdm)", path.read_text(), re.M), path
