"""Tensors in a file that processes of one machine read."""

import multiprocessing
import pickle
import tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import torch

import tnsim
from tnsim.analysis.grams.shelf import Shelf, Shelved, nearby
from tnsim.analysis.grams.tasks import Packed, done


@pytest.fixture
def near():
    """Processes that are never asked for anything do not start."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_bytes_as_they_were(tmp_path):
    rng = np.random.default_rng(0)
    given = [rng.integers(0, 256, n, np.uint8) for n in (1, 100, 64, 3)]
    place = Shelf(str(tmp_path))
    put = [place.put(data) for data in given]
    for data, one in zip(given, put, strict=True):
        read = pickle.loads(pickle.dumps(one)).read()
        assert np.array_equal(read, data) and one.start % 64 == 0
        read[:] = 0  # is nobody else's business
        assert np.array_equal(one.read(), data)
    nothing = np.empty(0, np.uint8)
    assert place.put(nothing) is nothing


def test_a_full_disk_takes_no_more(tmp_path, monkeypatch):
    place = Shelf(str(tmp_path))
    data = np.arange(10, dtype=np.uint8)
    before = place.put(data)
    (tmp_path / "tensors").rename(tmp_path / "kept")
    (tmp_path / "tensors").mkdir()
    assert place.put(data) is data and place.put(data) is data
    (tmp_path / "tensors").rmdir()
    (tmp_path / "kept").rename(tmp_path / "tensors")
    assert np.array_equal(before.read(), data)


def test_only_for_processes_of_this_machine_and_not_longer(tmp_path, monkeypatch, near):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ThreadPoolExecutor(1) as threads, nearby(threads) as place:
        assert not isinstance(place.put(np.ones(3, np.uint8)), Shelved) and not list(tmp_path.iterdir())
    with pytest.raises(ZeroDivisionError), nearby(near) as place:
        assert isinstance(place.put(np.ones(3, np.uint8)), Shelved) and list(tmp_path.iterdir())
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_without_a_place_for_files_tensors_are_sent(tmp_path, monkeypatch, near):
    """A folder that is not there, and one that is a file."""
    taken = tmp_path / "taken"
    taken.touch()
    for place_of in (tmp_path / "nowhere", taken):
        monkeypatch.setattr(tempfile, "tempdir", str(place_of))
        data = np.ones(3, np.uint8)
        with nearby(near) as place:
            assert place.put(data) is data


def test_tensors_come_back(tmp_path):
    place = Shelf(str(tmp_path))
    for x in (
        torch.randn(3, 4).T,
        torch.zeros(0, 3),
        torch.ones(2, 2, dtype=torch.complex64).conj(),
        torch.tensor(2),
    ):
        again = pickle.loads(pickle.dumps(Packed.of(x, place.put))).tensor()
        assert again.dtype == x.dtype and torch.equal(again, x)


class Sending(ProcessPoolExecutor):
    """What is sent, made here."""

    def __init__(self):
        super().__init__(1)
        self.sent = []

    def submit(self, fn, task, attempt):
        self.sent.append(pickle.dumps(task))
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(done, pickle.loads(self.sent[-1]), attempt)


def test_weights_are_not_sent(tmp_path, monkeypatch):
    """Three models of 64 KiB: a task holds none of them, and the matrix is the same."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    torch.manual_seed(0)
    models = [tnsim.nn.BilinearLayer(32, 64, 5).double().requires_grad_(False) for _ in range(3)]
    nets = [tnsim.convert(m, torch.zeros(1, 32)) for m in models]
    with Sending() as pool:
        found = tnsim.gram(nets, executor=pool, progress=False)
    assert pool.sent and max(map(len, pool.sent)) < 16_000
    assert torch.equal(found.mantissas, tnsim.gram(nets, progress=False).mantissas)
    assert not list(tmp_path.iterdir())
