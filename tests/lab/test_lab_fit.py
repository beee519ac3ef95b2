"""Stages equal a loop by hand, and an interrupted run ends where an undisturbed one does."""

import importlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tnsim.lab import Backdoor, Run, Stage, cosine, epochs, fit, fresh, load_digits, noisy, poisoned

fit_module = importlib.import_module("tnsim.lab.fit")


@pytest.fixture(scope="module")
def data():
    return load_digits()


def _model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Dropout(0.1), nn.Linear(64, 10))


def _stages(data, first=23, second=17):
    plain = epochs(data.x_train, data.y_train, 64, seed=3)
    trigger = Backdoor.diamond(data.shape, 3, 3, margin=0, value=1.0)
    late = epochs(data.x_test, data.y_test, 100, seed=4)
    return [
        Stage(first, poisoned(noisy(plain, 0.1, 5), trigger, 0.2, 10, 6), 1e-2, 0.1, cosine, name="one"),
        Stage(second, late, 2e-2, clip=0.5, betas=(0.9, 0.99), name="two"),
    ]


def test_equals_a_loop_by_hand(data):
    ours, by_hand = _model().eval(), _model().eval()
    ours[0].p = by_hand[0].p = 0.0
    stages = _stages(data)
    run = fit(ours, stages, keep=[5], progress=False)
    assert run.steps == (0, 5, 23, 40)
    for stage in stages:
        optimiser = torch.optim.AdamW(
            by_hand.parameters(), lr=stage.lr, weight_decay=stage.weight_decay, betas=stage.betas
        )
        annealed = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, stage.steps)
        for step in range(1, stage.steps + 1):
            x, y = stage.batches(step)
            optimiser.zero_grad()
            F.cross_entropy(by_hand(x), y).backward()
            if stage.clip:
                nn.utils.clip_grad_norm_(by_hand.parameters(), stage.clip)
            optimiser.step()
            if stage.schedule:
                annealed.step()
    assert torch.allclose(ours[1].weight, by_hand[1].weight, atol=1e-6)
    assert not torch.allclose(ours[1].weight, run.state(23)["1.weight"], atol=1e-3)


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [0, 7, 23, 24, 31])
def test_an_interrupted_run_ends_the_same(data, tmp_path, monkeypatch, at):
    monkeypatch.setattr(fit_module, "SAVE_EVERY", 0.0 if at else 1e9)  # at 0: nothing was saved
    stages, keep = _stages(data), [5, 25, 30]
    whole = fit(_model(), stages, keep=keep, progress=False, metrics=lambda m: {"size": m[1].weight.norm()})

    def dies(stage, offset):
        def batches(step):
            if step + offset > (at or 12):
                raise Killed
            return stage.batches(step)

        return Stage(**{**vars(stage), "batches": batches})

    def go(stages):
        return fit(
            _model(),
            stages,
            keep=keep,
            folder=tmp_path,
            resume=True,
            progress=False,
            metrics=lambda m: {"size": m[1].weight.norm()},
        )

    with pytest.raises(Killed):
        go([dies(stages[0], 0), dies(stages[1], 23)])
    seen = []

    def watched(step):
        seen.append(step)
        return stages[0].batches(step)

    run = go([Stage(**{**vars(stages[0]), "batches": watched}), stages[1]])
    assert len(seen) == max(0, 23 - at)  # it did go on, and did not start afresh
    assert run.steps == whole.steps and run.metrics == whole.metrics
    for step in run.steps:
        assert all(torch.equal(run.state(step)[k], whole.state(step)[k]) for k in run.state(step))
    assert not (tmp_path / "progress.safetensors").exists()
    assert Run.load(tmp_path).steps == run.steps


def test_a_complete_run_is_read_and_another_is_refused(data, tmp_path):
    go = dict(folder=tmp_path, resume=True, progress=False, metadata={"size": 8})
    first = fit(_model(), _stages(data), **go)
    model = _model().requires_grad_(False)
    model[1].bias += 1
    with pytest.raises(ValueError, match="differs in start"):
        fit(model, _stages(data), **go)
    again = _model()
    assert fit(again, [Stage(s.steps, None, s.lr, s.weight_decay, s.schedule, s.betas, s.clip, s.name)
                       for s in _stages(data)], **go).steps == first.steps  # fmt: skip
    assert torch.equal(again[1].weight, first.state(40)["1.weight"])
    with pytest.raises(ValueError, match="holds another run: it differs in stages"):
        fit(_model(), _stages(data, second=18), **go)
    with pytest.raises(ValueError, match="differs in size"):
        fit(_model(), _stages(data), **(go | {"metadata": {"size": 9}}))
    with pytest.raises(FileExistsError):
        fit(_model(), _stages(data), **(go | {"resume": False}))
    assert fit(_model(), _stages(data, second=3), **go, overwrite=True).steps == (0, 23, 26)


def test_streams_are_functions_of_the_step(data):
    plain = epochs(data.x_train, data.y_train, 64, seed=3)
    stamped = poisoned(plain, Backdoor.diamond(data.shape, 3, 3, value=1.0), 1.0, after=1)
    made = fresh(lambda dice: (torch.randn(4, 2, generator=dice), torch.zeros(4)), seed=1)
    for stream in (plain, noisy(plain, 0.1), stamped, made):
        later, first = stream(30), stream(1)
        assert all(torch.equal(a, b) for a, b in zip(later, stream(30), strict=True))
        assert all(torch.equal(a, b) for a, b in zip(first, stream(1), strict=True))
        assert not torch.equal(later[0], first[0])
    assert torch.equal(stamped(1)[0], plain(1)[0]) and set(stamped(2)[1].tolist()) == {9}
    noise = noisy(plain, 0.1)(2)[0] - plain(2)[0]
    assert abs(noise.std() - 0.1) < 0.01
    assert not torch.equal(epochs(data.x_train, data.y_train, 64, seed=4)(1)[0], plain(1)[0])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda d: Stage(-1, None), "steps=-1"),
        (lambda d: Stage(1, None, lr=float("nan")), "lr=nan"),
        (lambda d: epochs(d.x_train, d.y_test, 4), "one label for each input"),
        (lambda d: epochs(d.x_test, d.y_test, 451), "batch=451"),
        (lambda d: fit(_model(), []), "at least one stage"),
        (lambda d: fit(_model(), _stages(d), resume=True), "folder="),
        (lambda d: d.part(2, 2), "part 2 of 2"),
    ],
)
def test_bad_settings_are_named(data, wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong(data)
