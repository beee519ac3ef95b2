"""Contraction paths on disk."""

import errno
import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import cotengra as ctg
import pytest
import quimb.tensor as qtn
import torch
from zoo import rand

from tnsim.engine import contract
from tnsim.engine import path_files as paths
from tnsim.engine.contract import Contraction
from tnsim.engine.path_files import FOLDER, kept_path

RING = ((0, 1), (1, 2), (2, 3), (3, 0))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path / "paths"))
    contract._planned.cache_clear()
    contract._searched.cache_clear()
    yield tmp_path / "paths"
    contract._planned.cache_clear()
    contract._searched.cache_clear()


def forbidden(*args, **kwargs):
    raise AssertionError("searched again")


def dear():
    """A ring of matrices, dear enough to be searched."""
    tensors = [qtn.Tensor(rand(160, 160, seed=k), [f"i{k}:h", f"i{(k + 1) % 4}:h"]) for k in range(4)]
    trace = torch.trace(torch.linalg.multi_dot([x.data for x in tensors]))
    return Contraction(tuple(tensors), ()), trace


def test_another_process_reads_what_one_has_searched(folder, monkeypatch):
    contraction, trace = dear()
    assert torch.isclose(contraction.value(), trace, rtol=1e-12)
    assert len(list(folder.glob("*.json"))) == 1
    contract._planned.cache_clear()  # what a new process does not have
    contract._searched.cache_clear()
    search = ctg.array_contract_tree
    monkeypatch.setattr(
        ctg,
        "array_contract_tree",
        lambda *args, optimize, **kwargs: (
            forbidden() if optimize == "optimal" else search(*args, optimize=optimize, **kwargs)
        ),
    )
    assert torch.isclose(contraction.value(), trace, rtol=1e-12)


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    contract._searched.cache_clear()
    contract._planned.cache_clear()
    dear()[0].value()
    assert not list(tmp_path.iterdir())


FOUND = ((0, 1), (0, 1), (0, 1))
ANOTHER = ((2, 3), (1, 2), (0, 1))  # a path as well


def search():
    return FOUND


def kept(path=FOUND):
    return kept_path(RING, (), (2, 2, 2, 2), lambda: path)


def truncated(content):
    return content[: len(content) // 2]


def of_another_structure(content):
    return content.replace(b'"sizes": [2, 2, 2, 2]', b'"sizes": [2, 2, 2, 3]')


def of_another_path(content):
    assert json.dumps(FOUND).encode() in content
    return content.replace(json.dumps(FOUND).encode(), json.dumps(ANOTHER).encode())


BROKEN = [
    truncated,
    of_another_structure,
    of_another_path,
    lambda content: b"",
    lambda content: b"[]",
    lambda content: b"[" * 10**6,
    lambda content: b'{"path": ' + b"9" * 10**5 + b"}",
    lambda content: b'{"path": [[0, 1]]}',
    lambda content: b"\xff\xfe",
    lambda content: content.replace(b"[0, 1]", b'"ab"'),
    lambda content: content.replace(b"[0, 1]", b"[0, NaN]"),
    lambda content: content.replace(b"[0, 1]", b"[0, 5]"),
    lambda content: content.replace(b"[0, 1]", b"[false, true]"),
    lambda content: content.replace(b'"hash"', b'"crc"'),
]


@pytest.mark.parametrize("change", BROKEN)
def test_a_file_that_is_something_else_is_written_anew(folder, change):
    kept()
    (file,) = folder.glob("*.json")
    content = file.read_bytes()
    file.write_bytes(change(content))
    with pytest.warns(RuntimeWarning, match=file.name) as said:
        assert kept(ANOTHER) == ANOTHER
    assert len(said) == 1
    assert kept_path(RING, (), (2, 2, 2, 2), forbidden) == ANOTHER
    file.write_bytes(change(content))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it was said
        assert kept() == FOUND
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    "path", [((0, 1), (0, 5), (0, 1)), ((0, 1), (0, 1)), ((0, 0), (0, 1), (0, 1)), ((0, True),) * 3]
)
def test_what_is_no_path_is_not_taken_for_one(folder, path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept(path)
    with pytest.warns(RuntimeWarning, match="it is no path"):
        assert kept() == FOUND


def test_a_pipe_and_a_folder_are_passed_over(folder):
    kept()
    (file,) = folder.glob("*.json")
    for make in (os.mkfifo, os.mkdir):
        file.unlink()
        make(file)
        paths._SAID.clear()
        with pytest.warns(RuntimeWarning):
            assert kept() == FOUND
    assert file.is_dir() and [x.name for x in folder.iterdir()] == [file.name]  # nothing half-written stays


@pytest.mark.parametrize("where", ["a file", "in a file", "/dev/full", "/proc/none", "long"])
def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch, where):
    (tmp_path / "a file").write_text("mine")
    place = {"in a file": "a file/paths", "long": "x" * 300}.get(where, where)
    monkeypatch.setenv(FOLDER, place if place.startswith("/") else str(tmp_path / place))
    with pytest.warns(RuntimeWarning, match=FOLDER) as said:
        assert kept() == kept() == FOUND
    assert len(said) == 1 and (tmp_path / "a file").read_text() == "mine"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_stops_nothing(folder, monkeypatch, call, error):
    def fail(*args, **kwargs):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, call, fail)
    contraction, trace = dear()
    with pytest.warns(RuntimeWarning, match=os.strerror(error)) as said:
        assert torch.isclose(contraction.value(), trace, rtol=1e-12)
        assert kept() == FOUND
    assert len(said) == 1 and not list(folder.iterdir())


def test_many_write_at_once(folder):
    with warnings.catch_warnings(), ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("error")
        found = set(pool.map(lambda k: kept_path(RING, (), (2, 2, 2, 2 + k % 3), search), range(300)))
    assert found == {FOUND} and len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_are_as_readable_as_the_umask_says(folder, mask):
    old = os.umask(mask)
    try:
        kept()
    finally:
        os.umask(old)
    assert [x.stat().st_mode & 0o777 for x in folder.iterdir()] == [0o666 & ~mask]


def test_structures_have_a_file_each(folder):
    for sizes in ((2, 2, 2, 2), (2, 2, 2, 3)):
        kept_path(RING, (), sizes, lambda: ((0, 1), (0, 1), (0, 1)))
    assert len(list(folder.glob("*.json"))) == 2
    assert kept_path(RING, (), (2, 2, 2, 2), forbidden) == ((0, 1), (0, 1), (0, 1))
