"""Contraction paths on disk."""

import json

import cotengra as ctg
import pytest
import quimb.tensor as qtn
import torch
from zoo import rand

from tnsim.algebra import contract
from tnsim.algebra.contract import Contraction
from tnsim.algebra.paths import FOLDER, kept_path

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


@pytest.mark.parametrize(
    "content",
    [
        "half of a fi",
        "[]",
        json.dumps({"path": [[0, 1]]}),
        "PATH [[0, 1], [0, 5], [0, 1]]",
        "PATH [[0, 1], [0, 1]]",
        "PATH [[0, 0], [0, 1], [0, 1]]",
        'PATH ["ab"]',
    ],
)
def test_a_file_that_is_something_else_is_named(folder, content):
    structure = {"inputs": [list(i) for i in RING], "output": [], "sizes": [2, 2, 2, 2]}
    kept_path(RING, (), (2, 2, 2, 2), lambda: ((0, 1), (0, 1), (0, 1)))
    (file,) = folder.glob("*.json")
    if content.startswith("PATH "):
        content = json.dumps(structure | {"path": json.loads(content[5:])})
    file.write_text(content)
    with pytest.raises(ValueError, match=file.name):
        kept_path(RING, (), (2, 2, 2, 2), forbidden)


def test_structures_have_a_file_each(folder):
    for sizes in ((2, 2, 2, 2), (2, 2, 2, 3)):
        kept_path(RING, (), sizes, lambda: ((0, 1), (0, 1), (0, 1)))
    assert len(list(folder.glob("*.json"))) == 2
    assert kept_path(RING, (), (2, 2, 2, 2), forbidden) == ((0, 1), (0, 1), (0, 1))
