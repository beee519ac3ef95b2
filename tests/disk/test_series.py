"""A folder is a run: its checkpoints in the order of training, read one at a time, with their labels."""

import gc
import weakref

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

import tnsim
from tnsim.disk.steps import order


def make():
    return tnsim.nn.BilinearLayer(4, 6, 3)


def models(n):
    torch.manual_seed(0)
    return [make() for _ in range(n)]


def same(a, b):
    return all(torch.equal(x, b.state_dict()[n]) for n, x in a.state_dict().items())


@pytest.fixture
def folder(tmp_path):
    """Ten checkpoints, named as a loop would, and others beside them."""
    for k, model in enumerate(models(10)):
        torch.save(model.state_dict(), tmp_path / f"step_{k * 1500}.pt")
    torch.save(make().state_dict(), tmp_path / "best.pt")
    torch.save({"state": {}}, tmp_path / "optimizer.pt")
    (tmp_path / "log.txt").write_text("")
    return tmp_path


def test_a_folder_is_a_run(folder):
    for source in (
        folder,
        str(folder),
        f"{folder}/*_*.pt",
        [folder / f"step_{k * 1500}.pt" for k in (9, *range(9))],
    ):
        run = tnsim.checkpoints(source, make)
        assert run.labels == run.steps == tuple(range(0, 15000, 1500))
        assert all(same(a, b) for a, b in zip(run, models(10), strict=True))
    run = tnsim.checkpoints(folder, make)
    assert list(run.apart) == ["best.pt"] and isinstance(run.apart["best"], nn.Module)
    assert same(run.at(3000), run[2]) and same(run[-1], run[9]) and run[2:4].labels == (3000, 4500)
    assert repr(run) == "Checkpoints(10: 0, 1500, 3000, 4500, …, 10500, 12000, 13500; apart: best.pt)"
    with pytest.raises(KeyError, match="no checkpoint 7; the run has 0, 1500"):
        run.at(7)
    with pytest.raises(IndexError):
        run[10]


def test_other_sources(folder):
    given = models(3)
    for source in (given, dict(enumerate(given)), [m.state_dict() for m in given]):
        run = tnsim.checkpoints(source, make)
        assert run.labels == (0, 1, 2) and all(same(a, b) for a, b in zip(run, given, strict=True))
    assert tnsim.checkpoints({"before": given[0], "after": given[1]}).labels == ("before", "after")
    kept = tnsim.lab.Run()
    for k, model in enumerate(given):
        kept = kept.record(10 * k, model)
    assert tnsim.checkpoints(kept, make).steps == (0, 10, 20)
    assert same(tnsim.checkpoints(kept, make())[1], given[1])  # a module to copy
    kept.save(folder / "run")
    assert tnsim.checkpoints(folder / "run", make).steps == (0, 10, 20)


def test_steps_from_inside(tmp_path):
    for name, step in (("a", 2000), ("b", 10000), ("c", 0)):
        torch.save({"global_step": step, "epoch": 1, "model": make().state_dict()}, tmp_path / f"{name}.pt")
    assert tnsim.checkpoints(tmp_path, make).labels == (0, 2000, 10000)


def test_folders_of_one_checkpoint_each(tmp_path):
    for step in (500, 1500):
        (tmp_path / f"checkpoint-{step}").mkdir()
        torch.save(make().state_dict(), tmp_path / f"checkpoint-{step}" / "pytorch_model.bin")
    for source in (tmp_path, f"{tmp_path}/checkpoint-*", f"{tmp_path}/*/*.bin"):
        assert tnsim.checkpoints(source, make).labels == (500, 1500)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["step_10000", "step_2000", "final", "best"], [2000, 10000, "final"]),
        (["epoch=3-step=2000", "epoch=4-step=2500", "last"], [2000, 2500, "last"]),
        (["model_ep1_loss0.5", "model_ep2_loss0.25"], [1, 2]),
        (["global_step143000", "global_step0"], [0, 143000]),
        (["checkpoint-500/model", "checkpoint-1500/model"], [500, 1500]),
        (["1k", "2k", "500"], [500, 1000, 2000]),
        (["gpt2-10", "gpt2-9"], [9, 10]),
        (["init", "iter10", "iter2"], ["init", 2, 10]),
        (["b", "a"], ["a", "b"]),
        (["seed2_step5", "seed1_step10", "seed1_step5"], ["seed1_step5", "seed1_step10", "seed2_step5"]),
        (["bert_best_2", "bert_best_1"], [1, 2]),
        (["best-epoch=3", "epoch=1", "epoch=2"], [1, 2]),
    ],
)
def test_order(names, wanted):
    found = order(names)
    assert [names[i] if s is None else s for i, s in zip(found.positions, found.steps, strict=True)] == wanted


def test_one_model_in_memory_at_a_time(folder, monkeypatch):
    """nearest reads one checkpoint after the other; a Gram matrix keeps networks, and not the modules beside them."""
    alive = weakref.WeakSet()

    def counted():
        gc.collect()  # of what came since the beginning
        most.append(len(alive))
        alive.add(model := make())
        return model

    gc.freeze()
    try:
        for ask in (lambda run: tnsim.nearest(make(), run), tnsim.gram):
            most = []
            ask(tnsim.checkpoints(folder, counted))
            assert len(most) == 10 and max(most) <= 1
    finally:
        gc.unfreeze()


def test_questions_take_a_run_as_it_is(folder):
    run, given = tnsim.checkpoints(folder, make), models(10)
    gram = tnsim.gram(run)
    wanted = tnsim.gram(given, labels=run.steps)
    assert gram.labels == run.steps and torch.equal(gram.matrix, wanted.matrix)
    path = tnsim.trajectory(run)
    assert path.labels == run.steps and torch.allclose(path.points, tnsim.trajectory(wanted).points)
    assert len(path.speed) == 9
    assert repr(tnsim.segment(run, 2)) == repr(tnsim.segment(wanted, 2))
    assert tnsim.nearest(given[4], run).index == 4
    ours = tnsim.localise(run[8], run[9], history=run[:8])
    assert repr(ours) == repr(tnsim.localise(given[8], given[9], history=given[:8]))
    for what in (run, gram):
        _, ax = tnsim.heatmap(what)
        assert torch.allclose(torch.tensor(ax.images[0].get_array().data), gram.similarity())
        assert ax.xaxis.get_major_formatter()(9) == "13500"
        plt.close("all")


@pytest.mark.parametrize(
    ("source", "options", "kind", "says"),
    [
        (
            "{}/*.bin",
            {"make": make},
            FileNotFoundError,
            r"there is no file .*\*\.bin\. .* holds best.pt, log.txt",
        ),
        ("{}/none", {"make": make}, FileNotFoundError, "there is no file"),
        ("{}", {}, ValueError, r"write make=, the class of the module"),
        ([], {"make": make}, ValueError, "the list is empty"),
        (make().state_dict(), {"make": make}, ValueError, "this is one state dict; tnsim.load"),
        (make(), {"make": make}, ValueError, "this is one module"),
    ],
)
def test_what_is_no_run(folder, source, options, kind, says):
    with pytest.raises(kind, match=says):
        tnsim.checkpoints(source.format(folder) if isinstance(source, str) else source, **options)


def test_an_error_names_the_file(folder):
    (folder / "step_3000.pt").write_bytes(b"")
    torch.save(nn.Linear(2, 2).state_dict(), folder / "step_4500.pt")
    run = tnsim.checkpoints(folder, make)
    with pytest.raises(ValueError, match=r"step_3000.pt is damaged: it is empty"):
        run[2]
    with pytest.raises(ValueError, match=r"step_4500.pt does not fit BilinearLayer"):
        run[3]
    with pytest.raises(TypeError, match="make= builds a int; it is to build a"):
        tnsim.checkpoints(folder, lambda: 3)[0]
    with pytest.raises(ValueError, match="not every checkpoint has a step"):
        _ = tnsim.checkpoints({"a": make()}).steps
