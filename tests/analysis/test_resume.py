"""An interrupted Gram matrix goes on where it stopped, to the last bit."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from zoo import network

import tnsim
from tnsim.analysis.grams.blocks import Plan
from tnsim.analysis.grams.resume import Saved
from tnsim.measure import Empirical, Gaussian

resume = import_module("tnsim.analysis.grams.resume")
ROOT = Path(__file__).parent.parent

KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
import torch
from zoo import network
import tnsim
from tnsim.analysis.grams.resume import Saved

torch.manual_seed(7)
torch.set_num_threads(1)
nets = [network(2, bias=True) for _ in range(8)]
put, done = Saved.put, []

def put_and_die(self, name, value):
    put(self, name, value)
    done.append(name)
    if len(done) == int(sys.argv[3]):
        os._exit(9)

Saved.put = put_and_die
torch.save(tnsim.gram(nets, method=sys.argv[4], checkpoint=sys.argv[2], progress=False).products, sys.argv[2] + ".pt")
"""


def run(path, stop, method):
    return subprocess.run([sys.executable, "-c", KILLED, str(ROOT), str(path), str(stop), method]).returncode


@pytest.mark.parametrize("method", ["exact", pytest.param("layerwise", marks=pytest.mark.slow)])
def test_a_killed_process_is_continued_without_recomputing(tmp_path, method, monkeypatch):
    assert run(tmp_path / "killed", 3, method) == 9
    assert not list(tmp_path.glob("killed?*"))  # no half-written file
    assert run(tmp_path / "whole", -1, method) == 0

    torch.manual_seed(7)
    nets = [network(2, bias=True) for _ in range(8)]
    computed = []
    put = Saved.put
    monkeypatch.setattr(Saved, "put", lambda self, *a: computed.append(a[0]) or put(self, *a))
    resumed = tnsim.gram(nets, method=method, checkpoint=tmp_path / "killed", progress=False)
    whole = torch.load(tmp_path / "whole.pt", weights_only=True)
    assert torch.equal(resumed.products, whole)
    blocks = 8 * 9 // 2  # eight models in eight chunks
    assert len(computed) == blocks - 3


def test_finished_results_are_only_read(tmp_path, monkeypatch):
    nets = [network(1) for _ in range(3)]
    first = tnsim.gram(nets, checkpoint=tmp_path / "g")
    torch.testing.assert_close(first.products, tnsim.gram(nets).products)
    monkeypatch.setattr(Saved, "put", lambda *a: pytest.fail("computed again"))
    assert torch.equal(tnsim.gram(nets, checkpoint=tmp_path / "g").products, first.products)


def test_results_of_something_else_are_refused(tmp_path):
    nets = [network(1) for _ in range(3)]
    tnsim.gram(nets, checkpoint=tmp_path / "g")
    for other in (
        dict(models=[*nets[:2], network(1)]),
        dict(models=nets, under=Gaussian(cov=torch.ones(3))),
        dict(models=nets, under=Empirical(torch.ones(2, 3))),
        dict(models=nets, method="layerwise"),
        dict(models=nets[::-1]),
    ):
        with pytest.raises(ValueError, match="was made from other models or another law"):
            tnsim.gram(other.pop("models"), checkpoint=tmp_path / "g", **other)


def test_a_corrupt_file_is_named_and_left_alone(tmp_path):
    path = tmp_path / "g"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="is not a readable checkpoint"):
        tnsim.gram([network(1)] * 2, checkpoint=path)
    assert path.read_bytes() == b"not a checkpoint"


LAYOUT = {name: {"products": ((2,), "float32")} for name in "abc"}


def test_an_interrupted_write_leaves_what_was_there(tmp_path, monkeypatch):
    with Saved(tmp_path / "g", "key", LAYOUT) as saved:
        saved.put("a", {"products": torch.ones(2)})
        write = Saved._write

        def fail(file, start, content):
            write(file, start, content[:-3])
            raise KeyboardInterrupt

        monkeypatch.setattr(Saved, "_write", staticmethod(fail))
        with pytest.raises(KeyboardInterrupt):
            saved.put("b", {"products": torch.ones(2)})
    monkeypatch.undo()
    with Saved(tmp_path / "g", "key", LAYOUT) as saved:
        assert saved.get("a")["products"].tolist() == [1, 1] and saved.get("b") is None
        saved.put("b", {"products": torch.zeros(2)})
    with Saved(tmp_path / "g", "key", LAYOUT) as saved:
        assert saved.get("a")["products"].tolist() == [1, 1] and saved.get("b")["products"].tolist() == [0, 0]
    assert os.listdir(tmp_path) == ["g"]


def test_finished_blocks_are_appended(tmp_path):
    contents = []
    with Saved(tmp_path / "g", "key", LAYOUT) as saved:
        for name in LAYOUT:
            saved.put(name, {"products": torch.rand(2)})
            contents.append((tmp_path / "g").read_bytes())
    assert all(b.startswith(a) and len(b) > len(a) for a, b in pairwise(contents))
    assert (tmp_path / "g").read_bytes() == contents[-1]


def test_a_result_may_be_several_tensors(tmp_path):
    layout = {"0-0": {"products": ((2, 1), "bfloat16"), "units": ((2,), "int64")}}
    value = {"products": torch.rand(2, 1).bfloat16(), "units": torch.tensor([-3, 2**40])}
    with Saved(tmp_path / "g", "key", layout) as saved:
        saved.put("0-0", value)
    with Saved(tmp_path / "g", "key", layout) as saved:
        found = saved.get("0-0")
    assert found.keys() == value.keys() and all(torch.equal(found[k], value[k]) for k in value)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_kept(tmp_path, broken):
    with Saved(tmp_path / "g", "key", LAYOUT) as saved:
        saved.put("a", {"products": torch.tensor([1, broken])})
        saved.put("b", {"products": torch.ones(2)})
    with Saved(tmp_path / "g", "key", LAYOUT) as saved:
        assert saved.get("a") is None and saved.get("b") is not None


@pytest.mark.parametrize(
    "layout",
    [
        {"a": {"products": ((3,), "float32")}},
        {"a": {"products": ((2,), "float64")}},
        {"a": {"units": ((2,), "float32")}},
        {"b": {"products": ((2,), "float32")}},
    ],
    ids=["shape", "dtype", "part", "name"],
)
def test_a_file_of_another_layout_is_refused(tmp_path, layout):
    with Saved(tmp_path / "g", "key", LAYOUT) as saved:
        saved.put("a", {"products": torch.ones(2)})
    before = (tmp_path / "g").read_bytes()
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        Saved(tmp_path / "g", "key", layout)
    assert (tmp_path / "g").read_bytes() == before


def test_a_result_that_is_not_as_said_is_not_kept(tmp_path):
    with Saved(tmp_path / "g", "key", LAYOUT) as saved, pytest.warns(RuntimeWarning, match="not be written"):
        saved.put("a", {"products": torch.ones(3)})
    assert not (tmp_path / "g").exists()


# ---------------------------------------------------------------- whether it can be written


UNWRITABLE = {
    "a folder": ".",
    "nothing": "",
    "in a file": "file/g",
    "a pipe": "pipe",
    "a full device": "/dev/full",
    "too long": "g" * 300,
}


@pytest.mark.parametrize("path", UNWRITABLE.values(), ids=UNWRITABLE)
def test_what_cannot_be_written_is_found_out_before_computing(tmp_path, path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Plan, "__call__", lambda *a: pytest.fail("computed"))
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    for error in (ValueError, OSError):
        with pytest.raises(error, match=r"is not a file|cannot be written"):
            tnsim.gram([network(1)] * 2, checkpoint=path)
    assert (tmp_path / "file").read_text() == "mine" and sorted(os.listdir()) == ["file", "pipe"]


@pytest.mark.parametrize("there", [False, True])
def test_a_place_that_only_can_be_read(tmp_path, there, monkeypatch):
    """Root may write anywhere, so it is the opening that is made to fail."""
    nets = [network(1) for _ in range(3)]
    whole = tnsim.gram(nets, checkpoint=tmp_path / "g").products
    before = (tmp_path / "g").read_bytes()
    if there:
        (tmp_path / "g").write_bytes(before[:-1])

    def only_reading(path, mode="r", *args, **kwargs):
        if "+" in mode or "w" in mode or "x" in mode:
            raise PermissionError(13, "Permission denied", str(path))
        return open(path, mode, *args, **kwargs)

    monkeypatch.setattr(resume, "open", only_reading, raising=False)
    computed, put = [], Saved.put
    monkeypatch.setattr(Saved, "put", lambda self, *a: computed.append(a) or put(self, *a))
    if there:
        with pytest.raises(OSError, match=r"cannot be written \(Permission denied\)"):
            tnsim.gram(nets, checkpoint=tmp_path / "g")
    else:  # all is there: nothing has to be written
        assert torch.equal(tnsim.gram(nets, checkpoint=tmp_path / "g").products, whole)
    with pytest.raises(ValueError, match="cannot be written"):
        tnsim.gram(nets, checkpoint=tmp_path / "other")
    assert not computed


def test_too_little_room_is_said_before(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=10**9, free=500))
    with pytest.raises(OSError, match="and 5e\\+02 are free"):
        tnsim.gram([network(1)] * 2, checkpoint=tmp_path / "g")
    assert not os.listdir(tmp_path)


def test_folders_are_made(tmp_path):
    tnsim.gram([network(1)] * 2, checkpoint=str(tmp_path / "new" / "deep" / "g"))
    assert (tmp_path / "new" / "deep" / "g").is_file()


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_it_is_as_readable_as_the_umask_says(tmp_path, mask):
    old = os.umask(mask)
    try:
        tnsim.gram([network(1)] * 2, checkpoint=tmp_path / "g")
    finally:
        os.umask(old)
    assert (tmp_path / "g").stat().st_mode & 0o777 == 0o666 & ~mask


# ---------------------------------------------------------------- when writing fails later


FULL = """
import resource, sys, warnings
sys.path.insert(0, sys.argv[1])
import torch
from zoo import network
import tnsim

torch.manual_seed(7)
torch.set_num_threads(1)
nets = [network(2, bias=True) for _ in range(8)]
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    found = tnsim.gram(nets, checkpoint=sys.argv[2], progress=False).products
print(len(said), said[0].category.__name__, str(said[0].message))
torch.testing.assert_close(found, tnsim.gram(nets, progress=False).products, rtol=1e-12, atol=0)
"""


def test_a_disk_that_fills_up_costs_a_warning_and_not_the_matrix(tmp_path):
    path = tmp_path / "g"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(ROOT), str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("1 RuntimeWarning") and "could not be written" in done.stdout
    torch.manual_seed(7)
    nets = [network(2, bias=True) for _ in range(8)]
    assert 0 < path.stat().st_size <= 1000
    torch.testing.assert_close(
        tnsim.gram(nets, checkpoint=path).products, tnsim.gram(nets).products, rtol=1e-12, atol=0
    )


def test_a_file_that_is_taken_away_costs_a_warning(tmp_path, monkeypatch):
    nets = [network(1) for _ in range(4)]
    put = Saved.put

    def put_and_delete(self, name, value):
        put(self, name, value)
        (tmp_path / "g").unlink(missing_ok=True)

    monkeypatch.setattr(Saved, "put", put_and_delete)
    with pytest.warns(RuntimeWarning, match="it was moved or deleted") as said:
        found = tnsim.gram(nets, checkpoint=tmp_path / "g")
    assert len(said) == 1
    torch.testing.assert_close(found.products, tnsim.gram(nets).products)


def test_a_computation_that_fails_at_once_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(Plan, "__call__", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tnsim.gram([network(1)] * 2, checkpoint=tmp_path / "g")
    assert not os.listdir(tmp_path)


# ---------------------------------------------------------------- several at once


def test_a_file_in_use_is_refused_and_left_alone(tmp_path):
    nets = [network(1) for _ in range(3)]
    whole = tnsim.gram(nets, checkpoint=tmp_path / "g").products
    content = (tmp_path / "g").read_bytes()
    half = content[: len(content) // 2]
    (tmp_path / "g").write_bytes(half)
    script = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'r+b'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "g")], stdout=subprocess.PIPE, text=True
    ) as other:
        other.stdout.readline()
        with pytest.raises(ValueError, match="another process is writing to"):
            tnsim.gram(nets, checkpoint=tmp_path / "g")
        assert (tmp_path / "g").read_bytes() == half
        other.kill()
    assert torch.equal(tnsim.gram(nets, checkpoint=tmp_path / "g").products, whole)  # gone with its process


def test_threads_take_turns_or_are_refused(tmp_path):
    nets = [network(1) for _ in range(4)]
    whole = tnsim.gram(nets, checkpoint=tmp_path / "whole").products

    def ask(_):
        try:
            return tnsim.gram(nets, checkpoint=tmp_path / "g", progress=False).products
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(12)))
    values = [x for x in found if not isinstance(x, str)]
    assert values and all(torch.equal(x, whole) for x in values)
    assert all("another process" in x or "is empty" in x for x in found if isinstance(x, str)), found
    assert torch.equal(tnsim.gram(nets, checkpoint=tmp_path / "g").products, whole)
