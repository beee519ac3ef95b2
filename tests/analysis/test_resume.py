"""An interrupted Gram matrix goes on where it stopped, to the last bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from zoo import network

import tnsim
from tnsim.analysis.resume import Saved
from tnsim.measure import Empirical, Gaussian

ROOT = Path(__file__).parent.parent

KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
import torch
from zoo import network
import tnsim
from tnsim.analysis.resume import Saved

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


@pytest.mark.parametrize("method", ["exact", "layerwise"])
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


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    saved = Saved(tmp_path / "g", "key")
    saved.put("a", torch.ones(2))
    before = (tmp_path / "g").read_bytes()

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        saved.put("b", torch.ones(2))
    assert (tmp_path / "g").read_bytes() == before
    assert os.listdir(tmp_path) == ["g"]
