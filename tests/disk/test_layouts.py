"""Checkpoints in the layouts in which other people's training writes them, each read as it is, none run."""

import argparse
import collections
import copy
import json
import logging
import pathlib
import pickle
import re

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file, save_model
from torch import nn

import tnsim


class Config:
    """A class that the reader does not know."""

    def __init__(self):
        self.width, self.more = 3, {"lr": 0.1}


class Model(nn.Module):
    """As strangers write them: an embedding tied to the head, a block, a buffer."""

    def __init__(self, d=4, tied=True):
        super().__init__()
        self.embed = nn.Linear(d, 3, bias=False)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"fc": nn.Linear(3, 5), "proj": nn.Linear(5, 3)}) for _ in range(2)
        )
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(d, 3, bias=False)
        if tied:
            self.head.weight = self.embed.weight


class Lightning(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net


def trained(**options):
    torch.manual_seed(3)
    model = Model(**options)
    model.norm.running_mean += torch.randn(3)
    return model


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


def plain(folder, model):
    torch.save(model.state_dict(), folder / "m.pt")
    return folder / "m.pt"


def loop(folder, model):
    optimizer = torch.optim.AdamW(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "iter_num": 7}, folder / "m.pt"
    )
    return folder / "m.pt"


def compiled(folder, model):
    torch.save({"net": torch.compile(model).state_dict(), "epoch": 3}, folder / "m.pth")
    return folder / "m.pth"


def parallel(folder, model):
    torch.save(prefixed(prefixed(model.state_dict(), "_orig_mod."), "module."), folder / "m.pt")
    return folder / "m.pt"


def wrapped_inside(folder, model):
    state = {
        n.replace("fc.", "_fsdp_wrapped_module._checkpoint_wrapped_module.fc."): x
        for n, x in model.state_dict().items()
    }
    torch.save({"module": state}, folder / "m.pt")
    return folder / "m.pt"


def lightning(folder, model):
    content = {
        "epoch": 3,
        "global_step": 1200,
        "pytorch-lightning_version": "2.2.0",
        "state_dict": Lightning(model).state_dict(),
        "optimizer_states": [torch.optim.SGD(model.parameters(), 0.1).state_dict()],
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_path": pathlib.Path("best.ckpt")}},
        "hyper_parameters": argparse.Namespace(lr=0.1, config=Config()),
    }
    torch.save(content, folder / "m.ckpt")
    return folder / "m.ckpt"


def foreign(folder, model):
    content = {
        "config": Config(),
        "args": argparse.Namespace(device=torch.device("cpu"), dtype=torch.float32),
        "best": np.float64(0.5),
        "losses": np.arange(4.0),
        "counts": collections.Counter("aab"),
        "model": model.state_dict(),
    }
    torch.save(content, folder / "m.pt")
    return folder / "m.pt"


def old(folder, model):
    torch.save(
        {"config": Config(), "model": model.state_dict()},
        folder / "m.pt",
        _use_new_zipfile_serialization=False,
    )
    return folder / "m.pt"


def whole(folder, model):
    torch.save(model, folder / "m.pt")
    return folder / "m.pt"


def pickled(folder, model):
    with open(folder / "m.pkl", "wb") as file:
        pickle.dump(
            {"params": {n: x.numpy() for n, x in model.state_dict().items()}, "config": Config()}, file
        )
    return folder / "m.pkl"


def scripted(folder, model):
    torch.jit.save(torch.jit.script(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))), folder / "m.pt")
    return folder / "m.pt"


def one_file(folder, model):
    save_model(model, str(folder / "m.safetensors"))  # tied weights once
    return folder / "m.safetensors"


def hugging_face(folder, model):
    (folder / "config.json").write_text("{}")
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def sharded(folder, model):
    state, where = {n: x.clone() for n, x in model.state_dict().items() if n != "head.weight"}, {}
    for k, names in enumerate((list(state)[:3], list(state)[3:])):
        file = f"model-0000{k + 1}-of-00002.safetensors"
        save_file({n: state[n] for n in names}, folder / file)
        where |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def distributed(folder, model):
    dcp.save({"model": model.state_dict(), "step": torch.tensor(5)}, checkpoint_id=folder, no_dist=True)
    return folder


LAYOUTS = [
    plain, loop, compiled, parallel, wrapped_inside, lightning, foreign, old, whole, pickled, one_file, hugging_face,
    sharded, distributed,
]  # fmt: skip


def same(a, b):
    mine, other = a.state_dict(), b.state_dict()
    return list(mine) == list(other) and all(torch.equal(mine[n], other[n]) for n in mine)


def test_there_are_fourteen():
    assert len(LAYOUTS) >= 14


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_read_as_it_is(layout, tmp_path):
    model, fresh = trained(), Model()
    where = layout(tmp_path, model)
    assert not same(fresh, model)
    assert tnsim.load(fresh, where) is fresh and same(fresh, model) and not fresh.training
    run = tnsim.checkpoints(where, Model)
    assert len(run) == 1 and same(run[0], model)
    assert not any(p.requires_grad for p in run[0].parameters())


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("how", ["archive", "old", "pickle"])
def test_every_protocol_of_pickles(protocol, how, tmp_path):
    content = {
        "config": Config(),
        "model": trained().state_dict(),
        "half": torch.ones(3, dtype=torch.bfloat16)[1:],
    }
    if how == "pickle":
        (tmp_path / "m.pt").write_bytes(pickle.dumps(content, protocol))
    else:
        torch.save(
            content,
            tmp_path / "m.pt",
            pickle_protocol=max(2, protocol),
            _use_new_zipfile_serialization=how != "old",
        )
    assert same(tnsim.load(Model(), tmp_path / "m.pt", key="model"), trained())


def test_a_script_is_its_weights(tmp_path):
    fresh = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    tnsim.load(fresh, scripted(tmp_path, None))
    assert same(fresh, torch.jit.load(tmp_path / "m.pt"))


def test_what_was_taken_off_is_said(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "tnsim"):
        tnsim.load(Model(), parallel(tmp_path, trained()))
    assert "'_orig_mod.' and 'module.' taken off" in caplog.text
    run = tnsim.checkpoints(lightning(tmp_path, trained()), Model)
    assert run.notes == [] and run[0] is not None and run.notes == ["'net.' taken off"]
    assert "'net.' taken off" in repr(run)


def test_the_model_may_be_the_one_that_is_wrapped(tmp_path):
    model = Lightning(Model())
    tnsim.load(model, plain(tmp_path, trained()))
    assert same(model.net, trained())


# ------------------------------------------------------------------------------------------- nothing is ever run


class Payload:
    """Unpickled, this writes a file."""

    def __init__(self, flag):
        self.flag = flag

    def __reduce__(self):
        return pathlib.Path.touch, (self.flag,)


def _written(content, path, how):
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    elif how == "whole":
        torch.save(content["payload"], path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "archive")


@pytest.mark.parametrize("how", ["archive", "old", "pickle", "whole"])
def test_a_payload_is_not_run(how, tmp_path):
    path, flag = tmp_path / "m.pt", tmp_path / "ran"
    _written({"payload": Payload(flag), "model": trained().state_dict()}, path, how)
    if how == "whole":
        with pytest.raises(ValueError, match="holds no weights by name"):
            tnsim.load(Model(), path)
    else:
        assert same(tnsim.load(Model(), path), trained())
    assert not flag.exists()
    if how == "pickle":  # the payload is one
        pickle.loads(path.read_bytes())
        assert flag.exists()


def test_a_payload_among_what_describes_a_folder(tmp_path):
    flag = tmp_path / "ran"
    distributed(tmp_path, trained())
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Payload(flag)))
    with pytest.raises(ValueError, match=r"\.metadata is damaged"):
        tnsim.load(Model(), tmp_path)
    assert not flag.exists()


@pytest.mark.parametrize("how", ["archive", "old", "pickle"])
def test_no_part_of_a_file_is_enough(how, tmp_path):
    """Cut anywhere, or with any byte changed: a clear error or other numbers, and no other exception."""
    path = tmp_path / "m.pt"
    _written({"payload": Config(), "model": nn.Linear(3, 2).state_dict()}, path, how)
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    for k in range(150):
        at = int(generator.integers(len(content)))
        changed = content[:at] + (bytes([int(generator.integers(256))]) + content[at + 1 :] if k % 3 else b"")
        path.write_bytes(changed)
        try:
            tnsim.load(nn.Linear(3, 2), path)
        except ValueError as error:
            assert str(path) in str(error) and "\x1b" not in str(error) and "\n" not in str(error)


@pytest.mark.slow  # files of networks that claim too much are always tried
def test_what_says_that_it_holds_more_than_any_memory(tmp_path):
    content = [torch.ones(1)]
    for _ in range(60):
        content = [content, content]
    torch.save({"config": Config(), "model": content}, tmp_path / "m.pt")
    with pytest.raises(ValueError, match="collections"):
        tnsim.load(Model(), tmp_path / "m.pt")


# --------------------------------------------------------------------------------- what does not fit says what to write


def option(error, name):
    """The option that a message says to write."""
    found = re.search(rf"{name}=(\{{.*?\}}|\[.*?\]|'[^']*')", str(error))
    assert found, str(error)
    return eval(found[1], {"torch": torch})


def test_several_that_fit(tmp_path):
    ema = copy.deepcopy(trained()).requires_grad_(False)
    ema.embed.weight.mul_(0.5)
    torch.save({"model": trained().state_dict(), "ema": ema.state_dict()}, tmp_path / "m.pt")
    with pytest.raises(
        ValueError, match=r"several sets of weights that fit Model; write key='model' or key='ema'"
    ):
        tnsim.load(Model(), tmp_path / "m.pt")
    assert same(tnsim.load(Model(), tmp_path / "m.pt", key="ema"), ema)
    with pytest.raises(
        ValueError, match="has no weights under 'teacher'; there are some under 'model', 'ema'"
    ):
        tnsim.load(Model(), tmp_path / "m.pt", key="teacher")


def test_a_teacher_of_another_size_is_not_taken_for_it(tmp_path):
    torch.save({"teacher": Model(9).state_dict(), "student": trained().state_dict()}, tmp_path / "m.pt")
    assert same(tnsim.load(Model(), tmp_path / "m.pt"), trained())


def test_weights_beside_the_model(tmp_path):
    state = Lightning(trained()).state_dict() | {"criterion.weight": torch.ones(10)}
    torch.save({"state_dict": state}, tmp_path / "m.ckpt")
    with pytest.raises(ValueError, match="The weights under 'net' fit") as caught:
        tnsim.load(Model(), tmp_path / "m.ckpt")
    assert same(tnsim.load(Model(), tmp_path / "m.ckpt", key=option(caught.value, "key")), trained())


def renames():
    swap = {
        "embed": "tok_emb",
        "blocks": "transformer.h",
        "fc": "c_fc",
        "proj": "c_proj",
        "norm": "ln_f",
        "head": "lm_head",
    }
    return lambda name: ".".join(swap.get(part, part) for part in name.split("."))


CHANGES = {
    "other words": lambda state: {renames()(n): x for n, x in state.items()},
    "behind a prefix": lambda state: {
        "model." + (renames()(n) if "blocks" in n else n): x for n, x in state.items()
    },
    "transposed": lambda state: {
        (n.replace("fc.weight", "w1") if "fc.w" in n else n): (x.T if "fc.w" in n else x)
        for n, x in state.items()
    },
    "one word": lambda state: {n.replace("blocks", "layers"): x for n, x in state.items()},
    "flat": lambda state: {n.replace(".", "_"): x for n, x in state.items()},
}


@pytest.mark.parametrize("change", CHANGES)
def test_names_that_do_not_fit(change):
    state = CHANGES[change](trained().state_dict())
    with pytest.raises(ValueError, match="names=") as caught:
        tnsim.load(Model(), state)
    names = option(caught.value, "names")
    assert same(tnsim.load(Model(), state, names), trained())
    assert len(names) < len(state)  # stars stand for numbers


def test_more_than_the_model_has():
    state = trained().state_dict() | {f"blocks.{k}.attn.mask": torch.ones(2) for k in range(2)}
    with pytest.raises(ValueError, match=r"Model has no blocks.\(0…1\).attn.mask") as caught:
        tnsim.load(Model(), state)
    assert same(tnsim.load(Model(), state, ignore=option(caught.value, "ignore")), trained())


def test_fewer_than_the_model_has():
    state = trained(tied=False).state_dict()
    del state["head.weight"]
    with pytest.raises(ValueError, match=r"the checkpoint has no head\.weight\. Build it as it was trained"):
        tnsim.load(Model(tied=False), state)


def test_tied_weights_that_differ():
    with pytest.raises(
        ValueError, match=r"has one tensor as head.weight and embed.weight, and the checkpoint two"
    ):
        tnsim.load(Model(), trained(tied=False).state_dict())


def test_no_message_is_cut_off_or_speaks_to_the_terminal():
    state = {f"layers.{k}.{'w' * (k % 3 + 1)}": torch.ones(7) for k in range(60)} | {
        "\x1b[31mred\n": torch.ones(7)
    }
    with pytest.raises(ValueError) as caught:
        tnsim.load(Model(), state)
    text = str(caught.value)
    assert "…" not in text.replace("(0…1)", "") and "\x1b" not in text and "\n" not in text
    for k in range(3):
        assert f".{'w' * (k + 1)}" in text


def test_an_index_that_names_what_is_not_there(tmp_path):
    sharded(tmp_path, trained())
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"names model-00002-of-00002.safetensors, which is missing"):
        tnsim.load(Model(), tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"w": "../m.safetensors"}}')
    with pytest.raises(ValueError, match="a file elsewhere"):
        tnsim.load(Model(), tmp_path)


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"no checkpoint as .*it holds notes.txt"):
        tnsim.load(Model(), tmp_path)
