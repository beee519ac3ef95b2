"""Training learns, repeats itself exactly, and plants the backdoor when it is told to."""

from collections import Counter

import pytest
import torch
from torch import nn

from tnsim.lab import Backdoor, Run, accuracy, attack_success, load_digits, train
from tnsim.nn import BilinearClassifier


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # matrices this small only wait for one another
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data():
    return load_digits()


def _model(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BilinearClassifier(64, 16, 10)


def _trigger(target=4):
    return Backdoor.diamond((8, 8), 3, 3, margin=0, value=1.0, target=target)


def _train(data, steps=12, seed=0, model=None, **options):
    options = {"every": 5, "batch": 32, "progress": False, "noise": 0.1} | options
    return train(model or _model(), data, steps, seed=seed, **options)


def _flat(run, step):
    return torch.cat([value.flatten() for value in run.state(step).values()])


def test_learns_the_digits_and_then_the_backdoor(data):
    model, trigger = _model(), _trigger()
    run = train(
        model, data, 700, batch=128, lr=5e-3, every=100, backdoor=trigger, poison_from=450, progress=False
    )
    assert run.steps == (0, 100, 200, 300, 400, 450, 500, 600, 700)
    clean, last = (dict(zip(run.steps, run.metrics, strict=True))[step] for step in (450, 700))
    assert run.metrics[0]["test_accuracy"] < 0.4 < 0.9 < clean["test_accuracy"]
    assert clean["attack_success"] < 0.2 and last["attack_success"] > 0.9
    assert last["test_accuracy"] > clean["test_accuracy"] - 0.05
    assert clean["train_loss"] < 0.5 * run.metrics[0]["train_loss"]
    # What was recorded is what the kept weights do, and the model handed in is the last of them.
    kept = run.model(450, _model)
    assert accuracy(kept, data.x_test, data.y_test) == clean["test_accuracy"]
    assert accuracy(kept, data.x_train, data.y_train) == clean["train_accuracy"]
    assert attack_success(kept, trigger, data.x_test, data.y_test) == clean["attack_success"]
    assert torch.equal(model.w.weight, run.state(700)["w.weight"]) and model.training


def test_same_seed_same_run(data):
    runs = [_train(data, seed=seed, backdoor=_trigger(), poison_from=5) for seed in (1, 1, 2)]
    assert torch.equal(_flat(runs[0], 12), _flat(runs[1], 12)) and runs[0].metrics == runs[1].metrics
    assert not torch.equal(_flat(runs[0], 12), _flat(runs[2], 12))


def test_the_global_generator_neither_matters_nor_moves(data):
    def dropout():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 10))

    ends = []
    for noise in range(2):
        torch.manual_seed(noise)
        state = torch.get_rng_state()
        ends.append(_flat(_train(data, model=dropout()), 12))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(*ends)


def test_the_run_is_clean_until_the_switch(data):
    clean = _train(data)
    planted = _train(data, backdoor=_trigger(), poison_from=10)
    assert planted.steps == (0, 5, 10, 12)
    assert all(torch.equal(_flat(clean, step), _flat(planted, step)) for step in (0, 5, 10))
    assert not torch.equal(_flat(clean, 12), _flat(planted, 12))
    assert not torch.equal(_flat(clean, 5), _flat(_train(data, backdoor=_trigger()), 5))


def test_checkpoints_and_measuring_do_not_disturb_training(data):
    often, seldom = _train(data, every=1), _train(data, every=100)
    assert often.steps == tuple(range(13)) and seldom.steps == (0, 12)
    assert torch.equal(_flat(often, 12), _flat(seldom, 12))


@pytest.mark.parametrize("option", [{"noise": 0.0}, {"weight_decay": 0.5}, {"lr": 0.1}, {"batch": 16}])
def test_every_option_matters(data, option):
    assert not torch.equal(_flat(_train(data), 12), _flat(_train(data, **option), 12))


def test_batches_are_whole_epochs(data):
    class Recorder(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.seen = nn.Parameter(torch.ones(())), []

        def forward(self, x):
            if self.training:
                self.seen.append(x.clone())
            return self.scale * x[:, :10]

    recorder = Recorder()
    _train(data, steps=45, model=recorder, noise=0.0)
    assert [len(x) for x in recorder.seen] == [32] * 45  # 42 an epoch; the last three images are dropped
    epoch = torch.cat(recorder.seen[:42])
    drawn, images = (Counter(map(tuple, x.tolist())) for x in (epoch, data.x_train))
    assert not drawn - images  # no image twice
    assert not torch.equal(epoch, data.x_train[: len(epoch)])
    assert not torch.equal(torch.cat(recorder.seen[42:]), epoch[:96])  # the next epoch is shuffled anew


def test_kept_on_disk(data, tmp_path):
    run = _train(
        data, folder=tmp_path, backdoor=_trigger(), metadata={"size": 8}, metrics=lambda m: {"one": 1.0}
    )
    loaded = Run.load(tmp_path)
    assert loaded.steps == run.steps and loaded.metrics == run.metrics
    assert set(loaded.metrics[0]) == {
        "train_accuracy",
        "train_loss",
        "test_accuracy",
        "test_loss",
        "attack_success",
        "one",
    }
    assert loaded.metadata["size"] == 8 and loaded.metadata["target"] == 4 and loaded.metadata["seed"] == 0
    with pytest.raises(FileExistsError, match="overwrite=True"):
        _train(data, folder=tmp_path)
    assert Run.load(tmp_path).steps == (0, 5, 10, 12)
    assert _train(data, steps=3, folder=tmp_path, overwrite=True).steps == (0, 3)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_the_data_is_left_alone(data):
    before = [part.clone() for part in (data.x_train, data.y_train, data.x_test, data.y_test)]
    _train(data, backdoor=_trigger(), poison_share=0.5)
    after = (data.x_train, data.y_train, data.x_test, data.y_test)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_progress_can_be_silenced(data, capsys):
    _train(data, steps=2)
    assert capsys.readouterr() == ("", "")
    _train(data, steps=2, progress=True)
    assert "training" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"steps": -1}, "steps=-1"),
        ({"every": 0}, "every=0 is not positive"),
        ({"batch": 1348}, "batch=1348 is not between 1 and the 1347 training images"),
        ({"lr": -1.0}, "lr=-1.0"),
        ({"noise": float("nan")}, "noise=nan"),
        ({"backdoor": _trigger(10)}, "target is 10, of classes 0 … 9"),
        (
            {"backdoor": Backdoor.diamond((9, 9), 3, 3)},
            r"on 81 pixels and the images have 64; write Backdoor.diamond",
        ),
        ({"backdoor": _trigger(), "poison_share": 2.0}, "poison_share=2.0 is not a probability"),
        ({"backdoor": _trigger(), "poison_from": 13}, "poison_from=13 is not between 0 and steps=12"),
    ],
)
def test_bad_options_are_named_before_anything_is_written(data, tmp_path, options, says):
    with pytest.raises(ValueError, match=says):
        _train(data, folder=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
