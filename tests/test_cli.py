"""Every command, on checkpoints as loops write them, with what it prints parsed."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import image as mpl_image
from torch import nn
from typer.testing import CliRunner

import tnsim
from tnsim.cli import app
from tnsim.commands.laws import LawError, law_of

MODULE = """
import torch
from torch import nn


class MyModel(nn.Module):
    def __init__(self, width=8, classes=4):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(9, width), nn.Linear(9, width), nn.Linear(width, classes)

    def forward(self, x):
        x = x.flatten(1)
        return self.head(self.left(x) * self.right(x))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.head = nn.Embedding(5, 3), nn.Linear(6, 2)

    def forward(self, ids):
        return self.head(self.e(ids).flatten(1)) ** 2


class Sharp(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Linear(9, 4)

    def forward(self, x):
        return self.w(x).relu()


def small():
    return MyModel(3)


def broken():
    return 3
"""
MODEL = ["--model", "their_models:MyModel"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a module and the checkpoints of a run in which output 2 changes between steps 300 and 400."""
    (tmp_path / "their_models.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("their_models", None)
    space: dict = {}
    exec(MODULE, space)
    torch.manual_seed(0)
    model = space["MyModel"]()
    (tmp_path / "ckpts").mkdir()
    for step in range(100, 600, 100):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.01 * torch.randn_like(p))
            if step == 400:
                model.head.weight[2] += torch.randn(8)
        state = {f"_orig_mod.{name}": x for name, x in model.state_dict().items()}
        torch.save({"model": state, "loss": 0.1}, tmp_path / f"ckpts/step_{step}.pt")
    torch.save(space["Words"]().state_dict(), tmp_path / "words.pt")
    torch.save(space["Sharp"]().state_dict(), tmp_path / "sharp.pt")
    torch.save(space["MyModel"](3).state_dict(), tmp_path / "small.pt")
    yield tmp_path
    sys.modules.pop("their_models", None)


def asked(*words, code=0):
    result = CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def answer(*words):
    return json.loads(asked(*words, "--json").stdout)


def test_compare(folder):
    found = answer("compare", "ckpts/step_300.pt", "ckpts/step_400.pt", *MODEL)
    make = sys.modules["their_models"].MyModel
    run = tnsim.checkpoints("ckpts/*.pt", make)
    want = tnsim.gram([run[2], run[3]])
    assert found["similarity"] == pytest.approx(float(want.similarity()[0, 1]), abs=1e-12)
    assert found["outputs"] == pytest.approx(want.slices()[:, 0, 1].tolist(), abs=1e-12)
    assert found["method"] == "exact" and found["error"] == 0 and found["under"] == "Gaussian()"
    assert min(range(4), key=found["outputs"].__getitem__) == 2
    text = asked("compare", "ckpts/step_300.pt", "ckpts/step_400.pt", *MODEL).stdout
    assert f"similarity {found['similarity']:+.6f}" in text
    assert text.index("     2 ") < text.index("     0 ")  # outputs that differ most come first
    for measure in ("cka", "procrustes"):
        found = answer("compare", "ckpts/step_300.pt", "ckpts/step_400.pt", *MODEL, "--measure", measure)
        assert found[measure] == pytest.approx(float(getattr(tnsim, measure)(run[2], run[3])), abs=1e-12)
    layerwise = answer("compare", "ckpts/step_300.pt", "ckpts/step_400.pt", *MODEL, "--layerwise")
    assert layerwise["method"] == "layerwise" and layerwise["error"] is None


def test_an_error_that_will_do(folder):
    """Where exact is too dear for the budget it is sampled, and the bar says how far off that may be."""
    pair = ["ckpts/step_300.pt", "ckpts/step_400.pt", *MODEL]
    exact = answer("compare", *pair)["similarity"]
    found = answer("compare", *pair, "--error", "0.01", "--budget", "100", "--no-progress")
    assert found["method"] == "sampled" and 0 < found["error"] <= 0.011
    assert abs(found["similarity"] - exact) < 5 * found["error"]
    assert "± " in asked("compare", *pair, "--error", "0.01", "--budget", "100", "--no-progress").stdout


def test_gram(folder):
    found = answer(
        "gram", "ckpts/*.pt", *MODEL, "-o", "kept/run.safetensors", "--picture", "run.svg", "--no-progress"
    )
    assert found["labels"] == [100, 200, 300, 400, 500] and found["method"] == "exact"
    assert found["files"] == ["kept/run.safetensors", "run.svg"]
    matrix = np.array(found["similarity"])
    kept = tnsim.Gram.load("kept/run.safetensors")
    np.testing.assert_allclose(matrix, kept.similarity(), rtol=1e-12)
    assert kept.labels == (100, 200, 300, 400, 500)
    assert "<svg" in Path("run.svg").read_text("utf-8")[:400]
    assert matrix[2, 3] == min(matrix[k, k + 1] for k in range(4))
    text = asked("gram", "ckpts/*.pt", *MODEL, "--no-progress").stdout
    assert "5 models, exact, under Gaussian()" in text and text.count("1.0000") == 5
    files = answer("gram", "ckpts/step_200.pt", "ckpts/step_100.pt", *MODEL, "--no-progress")
    assert files["labels"] == [100, 200]
    once = answer("gram", "ckpts", *MODEL, "--checkpoint", "blocks", "--no-progress")
    again = answer("gram", "ckpts", *MODEL, "--checkpoint", "blocks", "--no-progress")
    assert once == again and Path("blocks").is_file()


def test_diff(folder):
    found = answer(
        "diff", "ckpts/step_300.pt", "ckpts/step_400.pt", *MODEL, "--history", "ckpts/step_[123]00.pt", "-o", "changes",
        "--no-progress",
    )  # fmt: skip
    assert found["output"] == 2 and len(found["inputs"]) == 9
    assert sum(found["outputs"]) == pytest.approx(found["distance"] ** 2, rel=1e-9)
    assert "output 2" in found["localisation"] and found["localised"] in (True, False)
    assert found["files"] == ["changes/outputs.png", "changes/inputs.png", "changes/localised.png"]
    for file in found["files"]:
        assert mpl_image.imread(file)[..., :3].std() > 0.02
    text = asked("diff", "ckpts/step_300.pt", "ckpts/step_400.pt", *MODEL, "--no-progress").stdout
    assert "share of the change" in text and "input of output 2" in text
    sampled = answer(
        "diff",
        "ckpts/step_300.pt",
        "ckpts/step_400.pt",
        *MODEL,
        "--error",
        "0.05",
        "--budget",
        "100",
        "--no-progress",
    )
    assert sampled["output"] == 2 and sampled["method"] == "sampled"


@pytest.mark.parametrize("ending", ["svg", "png", "pdf", "dot"])
@pytest.mark.parametrize("level", ["model", "layer"])
def test_draw(folder, ending, level):
    found = answer("draw", "ckpts/step_500.pt", *MODEL, "-o", f"pictures/model.{ending}", "--level", level)
    assert found["files"] == [f"pictures/model.{ending}"]
    head = Path(f"pictures/model.{ending}").read_bytes()[:300]
    assert {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF", "dot": b"graph"}[ending] in head
    assert [p.name for p in Path("pictures").iterdir()] == [f"model.{ending}"]


def test_inspect(folder):
    found = answer("inspect", "ckpts/step_500.pt", *MODEL)
    (layer,) = found["layers"]
    assert layer["in"] == [9] and layer["out"] == [4] and layer["degree"] == 2 and layer["terms"] == 3
    assert found["parameters"] == 3 * 72 + 32 + 4  # left, right, biases times the other; head; constant
    prices = found["prices"]
    assert (
        prices["exact"]["seconds"] > 0 and prices["exact"]["flops"] > 0 and prices["layerwise"]["seconds"] > 0
    )
    assert prices["sampled"]["seconds"] > 0 and prices["sampled"]["draws"] == 100_000
    text = asked("inspect", "ckpts/step_500.pt", *MODEL).stdout
    assert "1 layers, (9,) → (4,), degree 2, 252 parameters, float64" in text and "for 100,000 draws" in text
    (last,) = (bond for name, bond in found["ranks"].items() if bond["width"] == 4)
    assert last["rank"] == 4 and 1 < last["effective"] <= 4 and last["exact"] and "effective" in text


def test_convert_and_what_becomes_of_network_files(folder):
    """A network file needs no class: every command reads it, and a folder of them is a run."""
    for step in (100, 200, 300):
        found = answer("convert", f"ckpts/step_{step}.pt", *MODEL, "-o", f"nets/step_{step}.safetensors")
        assert found["files"] == [f"nets/step_{step}.safetensors"] and found["degree"] == 2
    run = answer("gram", "nets/*.safetensors", "--no-progress")
    assert run["labels"] == [100, 200, 300]
    assert run["similarity"][0][1] == pytest.approx(
        answer("compare", "nets/step_100.safetensors", "ckpts/step_200.pt", *MODEL)["similarity"], abs=1e-12
    )
    assert answer("inspect", "nets/step_100.safetensors")["parameters"] == 252
    assert answer("draw", "nets/step_100.safetensors", "-o", "a.png")["files"] == ["a.png"]
    assert (
        "Network(degree 2" in asked("convert", "ckpts/step_100.pt", *MODEL).stdout
        and Path("net.safetensors").is_file()
    )
    assert len(tnsim.checkpoints("nets")) == 3 and isinstance(tnsim.checkpoints("nets")[0], tnsim.Network)


def test_models_that_need_more_to_be_built(folder):
    smaller = answer("inspect", "small.pt", *MODEL, "--args", '{"width": 3}')
    assert smaller == answer("inspect", "small.pt", *MODEL, "--args", "[3]") | {"prices": smaller["prices"]}
    assert smaller["layers"] == answer("inspect", "small.pt", "--model", "their_models:small")["layers"]
    images = answer("inspect", "small.pt", "--model", "their_models.py:small", "--shape", "1,3,3")
    assert images["in"] == [1, 3, 3]
    words = answer("inspect", "words.pt", "--model", "their_models:Words", "--tokens", "2")
    assert words["in"] == [2, 5]
    renamed = torch.load("small.pt")
    torch.save({name.replace("left", "l"): x for name, x in renamed.items()}, "other.pt")
    named = answer("inspect", "other.pt", "--model", "their_models:small", "--names", '{"l.*": "left.*"}')
    assert named["layers"] == smaller["layers"]
    torch.save({"raw": renamed, "ema": {k: 2 * v for k, v in renamed.items()}}, "two.pt")
    assert "key=" in asked("inspect", "two.pt", "--model", "their_models:small", code=1).stderr
    assert (
        answer("inspect", "two.pt", "--model", "their_models:small", "--key", "ema")["layers"]
        == smaller["layers"]
    )


def test_laws(folder):
    pair = ["ckpts/step_300.pt", "ckpts/step_400.pt", *MODEL]
    x = torch.randn(400, 9, dtype=torch.float64)
    np.save("x.npy", x.numpy())
    np.savez("data.npz", train=x.numpy(), labels=np.zeros(400))
    torch.save(x, "x.pt")
    answer("compare", *pair)
    run = tnsim.checkpoints("ckpts/*.pt", sys.modules["their_models"].MyModel)
    want = float(tnsim.similarity(run[2], run[3], under=tnsim.Gaussian.of(x)))
    for law in ("gaussian:x.npy", "gaussian:data.npz[train]", "gaussian:x.pt"):
        assert answer("compare", *pair, "--under", law)["similarity"] == pytest.approx(want, abs=1e-12)
    want = float(tnsim.similarity(run[2], run[3], under=tnsim.Empirical(x)))
    assert answer("compare", *pair, "--under", "empirical:x.npy")["similarity"] == pytest.approx(
        want, abs=1e-12
    )
    assert answer("compare", *pair, "--under", "symmetric")["under"] == "Symmetric()"
    np.save("ids.npy", np.random.default_rng(0).integers(0, 5, (50, 2)))
    words = ["words.pt", "words.pt", "--model", "their_models:Words", "--tokens", "2"]
    for law in ("tokens:ids.npy", "empirical:one_hot.npy"):
        np.save("one_hot.npy", np.eye(5)[np.load("ids.npy")])
        assert answer("compare", *words, "--under", law)["similarity"] == pytest.approx(1)
    with pytest.raises(LawError, match="--under normal is no law; write gaussian"):
        law_of("normal")
    assert "data.npz holds train, labels; write data.npz[NAME]" in _one_line(
        asked("compare", *pair, "--under", "gaussian:data.npz", code=1).stderr
    )
    assert (
        "there is no file none.npy" in asked("compare", *pair, "--under", "empirical:none.npy", code=1).stderr
    )


def _one_line(text):
    return " ".join(text.split())


WRONG = {
    "no class": (
        ["inspect", "small.pt"],
        "holds weights alone: say what they belong to with --model my_module:MyModel",
    ),
    "no colon": (["inspect", "small.pt", "--model", "their_models"], "write a module and a class"),
    "no module": (
        ["inspect", "small.pt", "--model", "nowhere:M"],
        "importing nowhere failed (ModuleNotFoundError",
    ),
    "no such class": (
        ["inspect", "small.pt", "--model", "their_models:Mine"],
        "has no Mine; it has MyModel, Words, Sharp",
    ),
    "not a module": (["inspect", "small.pt", "--model", "their_models:broken"], "gives a int; it is to give"),
    "constructor": (
        ["inspect", "small.pt", *MODEL, "--args", "[1, 2, 3]"],
        "Arguments of its constructor go into --args",
    ),
    "no JSON": (["inspect", "small.pt", *MODEL, "--args", "{width: 3}"], "--args is no JSON"),
    "other sizes": (["inspect", "small.pt", *MODEL], "MyModel needs"),
    "no file": (["inspect", "none.pt", *MODEL], "there is no file none.pt"),
    "no files": (["gram", "none/*.pt", *MODEL], "there is no file none"),
    "not polynomial": (
        ["inspect", "sharp.pt", "--model", "their_models:Sharp"],
        "no polynomial form for torch.Tensor.relu",
    ),
    "no shape": (
        ["inspect", "small.pt", "--model", "their_models:small", "--shape", "a,b"],
        "--shape a,b is no shape",
    ),
    "no layer": (["draw", "small.pt", "--model", "their_models:small", "--layer", "none"], "no layer 'none'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_say_what_to_write(folder, case):
    words, says = WRONG[case]
    result = asked(*words, code=1)
    assert says in _one_line(result.stderr) and not result.stdout and "Traceback" not in result.stderr


def test_report(folder):
    found = answer("report", "ckpts/*.pt", *MODEL, "-o", "page/run.html", "--title", "a run", "--phases", "2")
    text = Path("page/run.html").read_text("utf-8")
    assert found == {
        "file": "page/run.html",
        "bytes": len(text.encode()),
        "labels": [100, 200, 300, 400, 500],
        "under": "Gaussian()",
    }
    facts = json.loads(text.partition('id="facts">')[2].partition("</script>")[0])
    run = tnsim.checkpoints("ckpts/*.pt", sys.modules["their_models"].MyModel)
    np.testing.assert_allclose(facts["similarity"], tnsim.gram(run).similarity(), atol=1e-4)
    assert facts["phases"]["chosen"] == 2 and "<title>a run</title>" in text
    (switch,) = facts["switches"]
    assert (switch["before"], switch["after"], switch["output"]) == (300, 400, "2")
    assert "5 models on one page" in asked("report", "ckpts/*.pt", *MODEL, "--layerwise").stdout
    assert Path("report.html").exists()
    asked("report", "ckpts/*.pt", *MODEL, "--phases", "9", code=1)


def test_exit_codes(folder):
    dear = asked("compare", "ckpts/step_300.pt", "ckpts/step_400.pt", *MODEL, "--budget", "10", code=3)
    assert "CostError: " in dear.stderr and not dear.stdout
    asked("compare", "ckpts/step_300.pt", code=2)
    asked("nothing", code=2)
    asked("compare", "a", "b", "--measure", "likeness", code=2)


@pytest.mark.parametrize(
    "command", ["compare", "gram", "diff", "report", "draw", "inspect", "convert", "demo", "figures"]
)
def test_help_has_an_example(command):
    text = asked(command, "--help").stdout
    assert "Example: tnsim" in text and command in text


def run(folder, *words):
    command = [sys.executable, "-m", "tnsim", *map(str, words)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(tnsim.__file__).parents[1])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=env, text=True, **pipes)


def test_version_and_module(folder):
    process = run(folder, "--version")
    assert process.communicate()[0] == f"tnsim {tnsim.__version__}\n" and process.returncode == 0


def test_answers_go_to_stdout_and_the_rest_to_stderr(folder):
    process = run(folder, "gram", "ckpts/*.pt", *MODEL, "--json")
    out, _ = process.communicate()
    assert process.returncode == 0 and len(json.loads(out)["labels"]) == 5


@pytest.mark.parametrize(
    ("how", "shares", "commands"),
    [
        (signal.SIGKILL, (0.97,), ("gram",)),
        pytest.param(signal.SIGKILL, (0.7, 0.8, 0.9), ("gram", "report", "convert"), marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, (0.8, 0.97), ("gram", "report", "convert"), marks=pytest.mark.slow),
    ],
)
def test_an_interruption_leaves_nothing_half_written(folder, how, shares, commands):
    """Whenever it comes, a file is the old one, or whole, or not there."""
    Path("net.safetensors").write_bytes(b"before")
    blocks = ["--checkpoint", "blocks", "-o", "gram.safetensors", "--picture", "gram.png", "--no-progress"]
    start = time.monotonic()
    process = run(folder, "gram", "ckpts/*.pt", *MODEL, *blocks)
    process.communicate()
    whole = time.monotonic() - start
    for path in ("gram.safetensors", "gram.png", "blocks"):
        Path(path).unlink()
    Path("report.html").write_text("before")
    words = {
        "gram": ["gram", "ckpts/*.pt", *MODEL, *blocks],
        "report": ["report", "ckpts/*.pt", *MODEL],
        "convert": ["convert", "ckpts/step_100.pt", *MODEL],
    }
    for share in shares:
        for command in commands:
            process = run(folder, *words[command])
            time.sleep(share * whole)
            process.send_signal(how)
            process.communicate()
    seen = {p.name for p in Path(".").iterdir() if not p.name.startswith(".")}
    assert seen <= {
        "their_models.py", "ckpts", "words.pt", "sharp.pt", "small.pt", "net.safetensors", "blocks", "gram.safetensors",
        "gram.png", "__pycache__", "report.html",
    }  # fmt: skip
    assert Path("report.html").read_text("utf-8").endswith(("before", "</html>\n"))
    if Path("net.safetensors").read_bytes() != b"before":
        tnsim.load_network("net.safetensors")
    if Path("gram.safetensors").exists():
        tnsim.Gram.load("gram.safetensors")
    process = run(folder, "gram", "ckpts/*.pt", *MODEL, *blocks, "--json")
    assert len(json.loads(process.communicate()[0])["labels"]) == 5  # goes on from what was kept


def test_what_an_extra_is_missing_for_is_said(folder):
    """Without matplotlib, scikit-learn and tensorly all else works, and the error says what to install."""
    script = (
        "import sys; sys.modules.update({'matplotlib': None, 'sklearn': None, 'tensorly': None})\n"
        "import tnsim\n"
        "for ask in ('draw', 'lab', 'decompose'):\n"
        "    try: getattr(tnsim, ask)\n"
        "    except ModuleNotFoundError as error: print(error)\n"
        "from tnsim.cli import app\n"
        "model = ['--model', 'their_models:MyModel']\n"
        "app(['compare', 'ckpts/step_100.pt', 'ckpts/step_200.pt', *model], standalone_mode=False)\n"
        "app(['draw', 'ckpts/step_100.pt', *model])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1
    for extra, library in (("view", "matplotlib"), ("lab", "sklearn"), ("decompose", "tensorly")):
        assert f"this needs {library}, which is not installed: pip install 'tnsim[{extra}]'" in done.stdout
    assert "similarity +" in done.stdout and "pip install 'tnsim[view]'" in done.stderr


def test_modules_of_ones_own_are_imported_from_here_only(folder):
    before = list(sys.path)
    answer("inspect", "small.pt", "--model", "their_models:small")
    assert sys.path == before and issubclass(sys.modules["their_models"].MyModel, nn.Module)


def test_the_package_says_one_version_and_what_only_some_need():
    root = Path(__file__).parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["dynamic"] == ["version"] and f"version: {tnsim.__version__}\n" in (
        root / "CITATION.cff"
    ).read_text("utf-8")
    needed = " ".join(project["dependencies"])
    extras = project["optional-dependencies"]
    for extra, library in (("view", "matplotlib"), ("lab", "scikit-learn"), ("decompose", "tensorly")):
        assert library not in needed and library in extras[extra][0] and extra in extras["all"][0]
    assert "tnsim[all]" in extras["test"]
