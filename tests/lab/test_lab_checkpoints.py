"""A run on disk is complete or shorter, never broken, and gives back the very same weights."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tnsim.lab import Run


def _make():
    return nn.Linear(3, 2)


def _filled(folder, n=3):
    run, models = Run.create(folder, {"note": "x"}), []
    for i in range(n):
        models.append(_make())
        run = run.record(10 * i, models[-1], {"loss": 1.0 / (i + 1)})
    return run, models


def _same(a, b):
    return all(torch.equal(a.state_dict()[name], value) for name, value in b.state_dict().items())


@pytest.mark.parametrize("on_disk", [True, False])
def test_round_trip(tmp_path, on_disk):
    run, models = _filled(tmp_path / "deep" / "run" if on_disk else None)
    if on_disk:
        run = Run.load(tmp_path / "deep" / "run")
    assert run.steps == (0, 10, 20)
    assert run.curve("loss") == [1.0, 0.5, 1 / 3]
    assert dict(run.metadata) == {"note": "x"}
    for model, loaded in zip(models, run.models(_make), strict=True):
        assert _same(loaded, model)
        assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert not _same(run.model(0, _make), run.model(10, _make))


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_checkpoint_is_a_copy(tmp_path, on_disk):
    model = _make()
    run = Run.create(tmp_path if on_disk else None).record(0, model)
    kept = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)
        run.model(0, _make).weight.mul_(0)  # and what is handed out does not reach back
    assert torch.equal(run.model(0, _make).weight, kept)


def test_record_leaves_the_shorter_run_alone():
    first = Run.create().record(0, _make())
    second = first.record(5, _make())
    assert first.steps == (0,) and second.steps == (0, 5) and set(first.states) == {0}


def test_reading_leaves_the_global_generator():
    run = Run.create().record(0, _make())
    state = torch.get_rng_state()
    run.models(_make)
    assert torch.equal(torch.get_rng_state(), state)


def test_save_writes_a_run_kept_in_memory(tmp_path):
    run, models = _filled(None)
    saved = run.save(tmp_path)
    again = Run.load(tmp_path)
    assert saved.steps == again.steps == run.steps and again.metrics == run.metrics
    assert all(_same(a, b) for a, b in zip(again.models(_make), models, strict=True))
    assert saved.save(tmp_path) is saved
    with pytest.raises(FileExistsError, match="overwrite=True"):
        run.save(tmp_path)


def test_tied_and_strided_weights_are_kept(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight
            self.c = nn.Parameter(torch.randn(4, 2).T)

    model = Tied()
    assert _same(Run.create(tmp_path).record(0, model).model(0, Tied), model)


@pytest.mark.parametrize("written", ["step-00000010.safetensors", "run.json"])
@pytest.mark.parametrize("when", ["write", "move"])
def test_an_interrupted_run_is_a_shorter_run(tmp_path, monkeypatch, written, when):
    run = Run.create(tmp_path).record(0, _make())
    real_replace, real_fsync = os.replace, os.fsync
    target = []

    def replace(source, destination):
        if when == "move" and Path(destination).name == written:
            raise KeyboardInterrupt
        real_replace(source, destination)

    def fsync(descriptor):
        target.append(
            os.readlink(f"/proc/self/fd/{descriptor}") if Path("/proc/self/fd").exists() else written
        )
        if when == "write" and written in target[-1]:
            raise KeyboardInterrupt
        real_fsync(descriptor)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(KeyboardInterrupt):
        run.record(10, _make())
    monkeypatch.undo()
    left = Run.load(tmp_path)
    assert left.steps == (0,)
    left.models(_make)
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*.part"))
    again = Run.create(tmp_path, overwrite=True)  # a checkpoint that no list names goes too
    assert again.steps == () and [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_every_state_of_the_folder_is_readable(tmp_path, monkeypatch):
    real, seen = os.replace, []

    def replace(source, destination):
        real(source, destination)
        seen.append(Run.load(tmp_path).steps if (tmp_path / "run.json").exists() else None)

    monkeypatch.setattr(os, "replace", replace)
    _filled(tmp_path)
    assert seen == [(), (), (0,), (0,), (0, 10), (0, 10), (0, 10, 20)]


def test_overwrite_spares_other_files(tmp_path):
    _filled(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds a run already"):
        Run.create(tmp_path)
    assert Run.load(tmp_path).steps == (0, 10, 20)
    Run.create(tmp_path, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "run.json"]


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        Run.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"holds no run: run\.json is missing"):
        Run.load(tmp_path)
    _filled(tmp_path)
    (tmp_path / "step-00000010.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"lists step 10, but step-00000010\.safetensors is missing"):
        Run.load(tmp_path)


def run_of(step, metric=0.0):
    return f'{{"steps": [{step}], "metrics": [{{"loss": {metric}}}], "metadata": {{}}}}'


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"steps": [0]}',
        '{"steps": [0, 10], "metrics": [{}], "metadata": {}}',
        '{"steps": 3, "metrics": 3}',
        "",
        "[" * 10**6,
        '{"steps": ' + "[" * 10**6,
        '{"steps": [], "metrics": [], "metadata": ' + '{"a":' * 10**6,
        run_of("1" + "0" * 400),
        run_of("1" + "0" * 5000),
        run_of(2**63),
        run_of("NaN"),
        run_of("Infinity"),
        run_of("1e400"),
        run_of("-Infinity"),
        run_of("1.5"),
        run_of("-1"),
        run_of("true"),
        run_of("null"),
        run_of('"0"'),
        run_of(0, "1" + "0" * 400),
        run_of(0, '"high"'),
        run_of(0, "[1]"),
        '{"steps": [0], "metrics": ["a"], "metadata": {}}',
        '{"steps": [0], "metrics": [{}], "metadata": 3}',
    ],
    ids=range(26),
)
def test_damaged_list(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    (tmp_path / "step-00000000.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"run\.json is damaged") as caught:
        Run.load(tmp_path)
    assert len(str(caught.value)) < 500


def test_what_a_diverged_run_measured_is_read(tmp_path):
    Run.create(tmp_path).record(0, _make(), {"loss": float("nan"), "best": float("inf")})
    assert math.isnan(Run.load(tmp_path).curve("loss")[0]) and Run.load(tmp_path).curve("best") == [math.inf]


@pytest.mark.parametrize("step", [-1, 2**63])
def test_steps_are_counted_from_zero(tmp_path, step):
    run = Run.create(tmp_path)
    with pytest.raises(ValueError, match="a step is a whole number from 0 on"):
        run.record(step, _make())
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_step_may_be_any_integer(tmp_path):
    Run.create(tmp_path).record(np.int64(3), _make())
    assert Run.load(tmp_path).steps == (3,)


def test_a_pointer_in_place_of_a_checkpoint(tmp_path):
    run, _ = _filled(tmp_path)
    (tmp_path / "step-00000010.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match=r"step-00000010\.safetensors is a pointer of Git LFS"):
        run.model(10, _make)


@pytest.mark.parametrize(
    ("weight", "says"),
    [
        (torch.full((2, 3), 1e60, dtype=torch.float64), r"weight holds 1e\+60, beyond what float32"),
        (torch.ones(2, 3, dtype=torch.complex64), "weight is complex"),
    ],
)
def test_weights_that_the_module_cannot_hold(tmp_path, weight, says):
    run, _ = _filled(tmp_path)
    save_file({"weight": weight, "bias": torch.ones(2)}, tmp_path / "step-00000010.safetensors")
    with pytest.raises(ValueError, match=says):
        run.model(10, _make)


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_damaged_checkpoint(tmp_path, keep):
    run, _ = _filled(tmp_path)
    path = tmp_path / "step-00000010.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"step-00000010\.safetensors is damaged"):
        run.model(10, _make)
    run.model(20, _make)


def test_checkpoint_of_another_model(tmp_path):
    run, _ = _filled(tmp_path)
    for make in (
        lambda: nn.Linear(4, 2),
        lambda: nn.Linear(3, 2, bias=False),
        lambda: nn.Sequential(_make()),
    ):
        with pytest.raises(ValueError, match="step 0 does not fit the module that `make` builds") as caught:
            run.model(0, make)
        assert "weight" in str(caught.value) or "bias" in str(caught.value)


def test_unknown_step_and_metric(tmp_path):
    run, _ = _filled(tmp_path)
    with pytest.raises(KeyError, match="no checkpoint at step 5; the run has steps 0, 10, 20"):
        run.state(5)
    with pytest.raises(KeyError, match="'acc' was not measured at every step; these were: loss"):
        run.curve("acc")
    with pytest.raises(ValueError, match="steps must increase"):
        run.record(20, _make())


def test_list_is_plain_json(tmp_path):
    _filled(tmp_path)
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["steps"] == [0, 10, 20] and content["metrics"][1] == {"loss": 0.5}
