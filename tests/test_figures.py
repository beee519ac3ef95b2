"""Every figure at a tiny size, from training to picture; what is kept is what compute gives; the rules of the folders."""

import ast
import importlib
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")

from matplotlib import image as mpl_image
from typer.testing import CliRunner

from tnsim.cli import app
from tnsim.figures import FiguresNotFound, find

ROOT = Path(__file__).parent.parent
paper_figures = find()
pipeline = importlib.import_module("paper_figures.common.pipeline")
Cache = importlib.import_module("paper_figures.common.cache").Cache
claims = importlib.import_module("paper_figures.common.claims")

every = pytest.mark.parametrize("name", paper_figures.names())


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("figures")


SLOW = ("language", "robustness", "svhn_forgetting")  # what is kept of them is looked at below


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in paper_figures.names()]
)
def test_from_training_to_picture(name, work, monkeypatch):
    figure = pipeline.Figure(name)
    cache, pictures = paper_figures.make(name, "tiny", work, fresh=True, progress=False)
    kept = Cache.load(figure.kept("tiny"))
    assert set(kept.arrays) == set(cache.arrays)
    assert kept.facts["key"] == cache.facts["key"]
    for key, value in kept.arrays.items():
        # Training amplifies the rounding of another machine a little.
        assert np.allclose(value, cache[key], rtol=0.02, atol=0.02), f"{name}: {key}"
    for picture in pictures:
        pixels = mpl_image.imread(picture)
        assert min(pixels.shape[:2]) > 300 and pixels[..., :3].std() > 0.02  # not an empty page
        assert picture.with_suffix(".pdf").stat().st_size > 5000

    def trained(*_):
        raise AssertionError("trained or computed although there is a cache")

    monkeypatch.setattr(figure.part("train"), "train", trained)
    monkeypatch.setattr(figure.part("compute"), "compute", trained)
    again, _ = paper_figures.make(name, "tiny", work, progress=False)
    assert all(np.array_equal(again[key], cache[key].astype(again[key].dtype)) for key in again.arrays)


@every
def test_what_is_kept_is_of_these_settings_and_small(name):
    figure = pipeline.Figure(name)
    setting = figure.part("setting")
    for path in (figure.folder / "cache").iterdir():
        cache = Cache.load(path)
        job = pipeline.Job(name, path.stem, setting.SIZES[path.stem], Path())
        assert cache.facts["key"] == pipeline.key(job), f"{path} was made with other settings"
        assert path.stat().st_size < 2**20
        assert all(np.isfinite(a).all() for a in cache.arrays.values() if a.dtype.kind == "f")
    assert figure.kept("fast").is_file()


@every
def test_the_readme_says_what_was_measured(name):
    figure = pipeline.Figure(name)
    text = (figure.folder / "README.md").read_text("utf-8")
    said = re.search(r"<!-- measured -->\n(.*)\n<!-- /measured -->", text, re.S)[1]
    measured = {
        size: Cache.load(figure.kept(size)).facts for size in ("fast", "full") if figure.kept(size).is_file()
    }
    assert said == claims.table(figure.part("setting").CLAIMS, measured)
    for picture in re.findall(r"\]\(([\w.-]+\.png)\)", text):
        assert (figure.folder / picture).is_file()


@every
def test_plot_never_computes_and_compute_never_trains(name):
    def imported(part):
        for node in ast.walk(ast.parse((ROOT / "paper_figures" / name / f"{part}.py").read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            if isinstance(node, ast.ImportFrom):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    for module in imported("plot"):
        assert module.split(".")[0] != "torch", module
        assert not module.startswith(("tnsim.lab", "tnsim.analysis")) and module != "tnsim", module
        assert ".compute" not in module and ".train" not in module, module
    for module in imported("compute"):
        assert module not in ("tnsim.lab.fit", "tnsim.lab.train") and ".train" not in module, module


def run(*arguments):
    return CliRunner().invoke(app, ["figures", *map(str, arguments)])


def test_command_draws_from_what_is_kept(tmp_path):
    result = run("robustness", "--fast", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "published" in result.output and (tmp_path / "robustness-fast.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nonsense",), "there is no figure 'nonsense'"),
        (("svhn-backdoor", "--data", "nowhere.npz"), "there is no data file nowhere.npz"),
        (("grokking", "--folder", "nowhere"), "come with the repository"),
        (("svhn-backdoor", "--fresh"), "needs real images"),
    ],
)
def test_command_says_what_is_wrong(tmp_path, arguments, says):
    result = run(*arguments, "--out", tmp_path)
    assert result.exit_code == 1
    assert says in " ".join(result.output.split())


def test_figures_that_are_not_there_are_missed():
    with pytest.raises(FiguresNotFound, match="run this in a checkout"):
        find(Path("nowhere"))


def test_delta_is_the_difference_of_block_means():
    delta = importlib.import_module("paper_figures.svhn_backdoor.compute").delta
    torch = importlib.import_module("torch")
    matrix = torch.tensor([[1, 0.5, 0.1, 0.2], [0.5, 1, 0.3, 0.4], [0.1, 0.3, 1, 0.9], [0.2, 0.4, 0.9, 1]])
    assert delta(matrix, 2) == pytest.approx(0.9 - 0.25)


def test_frequencies_of_a_model_made_of_one_cosine():
    torch = importlib.import_module("torch")
    nn = importlib.import_module("tnsim.nn")
    frequencies = importlib.import_module("paper_figures.grokking.compute").frequencies
    p, f = 11, 3
    model = nn.BilinearClassifier(2 * p, 2, p).requires_grad_(False)
    angle = 2 * torch.pi * f * torch.arange(p) / p
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(p)
    # cos(a) cos(b) − sin(a) sin(b) = cos(a + b)
    rows = [[cos, zero], [sin, zero], [zero, cos], [zero, sin]]
    model.w.weight.copy_(torch.stack([torch.cat(row) for row in rows]))
    model.head.weight.copy_(torch.stack([cos, sin], dim=1))
    used = frequencies(model, p, 2)
    assert used.shape == (p, p // 2 + 1)
    assert torch.allclose(used[:, f], torch.ones(p, dtype=torch.float64), atol=1e-6)
