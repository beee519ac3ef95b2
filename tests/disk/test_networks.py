"""A network in a file is the same one when it is read again, anywhere; and a damaged or a lying file is refused."""

import json
import math
import os
import random
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from module_zoo import ZOO, build
from published_zoo import MODULES
from safetensors import safe_open
from safetensors.torch import load, save
from zoo import KINDS, network

import tnsim
from tnsim.algebra.networks.topology import TopologyError, from_plain, to_plain
from tnsim.algebra.polys.claims import ClaimError, check_claims
from tnsim.disk import networks
from tnsim.disk.networks import NetworkFileError, is_network_file


def every_network():
    """The whole zoo, and what does not come straight from a module, with inputs."""
    for name in ZOO:
        model, x = build(name)
        yield tnsim.convert(model, x[:1]), x
    for kind, shape in MODULES:
        torch.manual_seed(0)
        x = torch.randn(4, *shape, dtype=torch.float64)
        yield tnsim.convert(kind().double().eval(), x[:1]), x
    for kind in KINDS.values():
        yield network(**kind), torch.randn(4, 3, dtype=torch.float64)
    models = [tnsim.nn.BilinearClassifier(6, 4, 3) for _ in range(3)]
    yield tnsim.stack([tnsim.convert(m) for m in models]), torch.randn(4, 6, dtype=torch.float64)
    yield tnsim.truncate(build("mlp")[0], rank=2).network, torch.randn(4, 6, dtype=torch.float64)
    yield tnsim.difference(*models[:2]), torch.randn(4, 6, dtype=torch.float64)


CHILD = """
import sys, json, torch
from safetensors.torch import load_file, save_file
import tnsim
assert not {"zoo", "module_zoo", "published_zoo"} & set(sys.modules)
folder, count = sys.argv[1], int(sys.argv[2])
found = {}
for k in range(count):
    net = tnsim.load_network(f"{folder}/{k}.safetensors")
    found[f"y{k}"] = net(load_file(f"{folder}/x{k}.safetensors")["x"]).detach().contiguous().clone()
    try:
        found[f"inner{k}"] = tnsim.inner(net, budget=1e7, progress=False).detach().reshape(-1).clone()
    except tnsim.CostError:
        pass
    tnsim.save(net, f"{folder}/again{k}.safetensors")
save_file(found, f"{folder}/found.safetensors")
"""


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_the_whole_zoo_in_a_process_without_its_classes(tmp_path, every):
    given = list(every_network())[::every]
    for k, (net, x) in enumerate(given):
        tnsim.save(net, tmp_path / f"{k}.safetensors")
        (tmp_path / f"x{k}.safetensors").write_bytes(save({"x": x}))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), str(len(given))],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = load((tmp_path / "found.safetensors").read_bytes())
    asked = 0
    for k, (net, x) in enumerate(given):
        torch.testing.assert_close(found[f"y{k}"], net(x).detach(), rtol=1e-12, atol=1e-12)
        if f"inner{k}" in found:
            mine = tnsim.inner(net, progress=False).detach().reshape(-1)
            torch.testing.assert_close(found[f"inner{k}"], mine, rtol=1e-12, atol=1e-12)
            asked += 1
        # written again it is the same file: weights to the last bit, wiring, names, tags, notes
        assert (tmp_path / f"{k}.safetensors").read_bytes() == (
            tmp_path / f"again{k}.safetensors"
        ).read_bytes()
        with safe_open(tmp_path / f"{k}.safetensors", "pt") as file:
            for name, x in to_plain(net)[1].items():
                assert torch.equal(file.get_tensor(name), x)
    assert asked > len(given) / 2


def kept(net, tmp_path):
    tnsim.save(net, tmp_path / "net")
    return tnsim.load_network(tmp_path / "net")


def test_everything_that_decides_answers_comes_back(tmp_path):
    torch.manual_seed(0)
    net = replace(
        tnsim.convert(tnsim.nn.BilinearLayer(4, 5, 3)), notes=("a norm is a constant",), in_shape=(2, 2)
    )
    again = kept(net, tmp_path)
    assert again.notes == net.notes and again.in_shape == (2, 2) and again.signature() == net.signature()
    assert [t.symmetry for f in again.polys for t in f.terms] == [
        t.symmetry for f in net.polys for t in f.terms
    ]
    for s, t in zip(net[0].terms, again[0].terms, strict=True):
        assert [list(x.tags) for x in s.tensors] == [list(x.tags) for x in t.tensors]
    biased, x = build("bilinear bias")
    mine, other = tnsim.convert(biased, x[:1]), tnsim.convert(build("bilinear bias")[0], x[:1])
    shares = [tnsim.attribute(a, other, to="hidden") for a in (mine, kept(mine, tmp_path))]
    torch.testing.assert_close(torch.as_tensor(shares[0]), torch.as_tensor(shares[1]), rtol=1e-12, atol=1e-12)
    tokens = tnsim.convert(
        torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Flatten(), torch.nn.Linear(6, 2)),
        torch.zeros(1, 2, dtype=torch.long),
    )
    tokens = replace(tokens, ids=(range(3), range(5)))
    assert kept(tokens, tmp_path).ids == tokens.ids


def test_arrays_that_are_shared_stay_shared(tmp_path):
    module, x = build("shared")
    net = tnsim.convert(module, x[:1])
    again = kept(net, tmp_path)
    assert len({id(a) for f in net.polys for a in f.arrays()}) == len(
        {id(a) for f in again.polys for a in f.arrays()}
    )


def test_gradients_come_back_as_leaves_unless_they_are_not_wanted(tmp_path):
    net = tnsim.convert(tnsim.nn.BilinearLayer(4, 5, 3))
    assert all(a.requires_grad and a.is_leaf for f in kept(net, tmp_path).polys for a in f.arrays())
    with torch.no_grad():
        assert not any(a.requires_grad for f in kept(net, tmp_path).polys for a in f.arrays())
        bare = tnsim.convert(tnsim.nn.BilinearLayer(4, 5, 3))
    assert not any(a.requires_grad for f in kept(bare, tmp_path).polys for a in f.arrays())


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_dtype_comes_back_to_the_last_bit(dtype, tmp_path):
    net = tnsim.convert(tnsim.nn.BilinearClassifier(4, 5, 3)).to(dtype=dtype)
    again = kept(net, tmp_path)
    assert again.dtype == dtype
    for f, g in zip(net.polys, again.polys, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(f.arrays(), g.arrays(), strict=True))


def test_a_network_of_numpy_is_one_again(tmp_path):
    f = tnsim.poly("W[out,in0]", W=np.random.default_rng(0).normal(size=(2, 3)).T[::-1]) + np.ones(3)
    again = kept(f, tmp_path)
    assert again.names == ("layer0",) and isinstance(again[0].like, np.ndarray)
    np.testing.assert_array_equal(again(np.ones(2)), f(np.ones(2)))


def test_what_is_no_network_is_not_kept(tmp_path):
    path = tmp_path / "net.safetensors"
    with pytest.raises(NetworkFileError, match=r"write tnsim.save\(tnsim.convert\(model\), path\)"):
        tnsim.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(NetworkFileError, match="a str is not a network; pass a Network"):
        tnsim.save(str(path), network(1))
    with pytest.raises(NetworkFileError, match=r"is a folder; name a file in it"):
        tnsim.save(network(1), tmp_path)
    odd = tnsim.poly("W[out,in0]", W=np.eye(2, dtype=np.longdouble))
    with pytest.raises(NetworkFileError, match='the tensor "layer0/W" cannot be kept in a file'):
        tnsim.save(odd, path)
    empty = network(1).to(device="meta")
    with pytest.raises(NetworkFileError, match="it has no values"):
        tnsim.save(empty, path)
    assert not list(tmp_path.iterdir())


def test_an_interruption_leaves_the_old_file(tmp_path, monkeypatch):
    net = network(1)
    tnsim.save(net, tmp_path / "net")
    before = (tmp_path / "net").read_bytes()

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        tnsim.save(network(2), tmp_path / "net")
    assert [p.name for p in tmp_path.iterdir()] == ["net"] and (tmp_path / "net").read_bytes() == before


# ---------------------------------------------------------------------- files from strangers


def a_network():
    torch.manual_seed(0)
    model, x = build("mlp bias")
    return tnsim.convert(model, x[:1])


def written(content, tensors):
    """A file that says what one likes, with the hash that belongs to it."""
    return save(tensors, {"tnsim": json.dumps({"sha256": networks._hash(content, tensors), **content})})


def taken(data):
    """What a file says, and its tensors."""
    length = int.from_bytes(data[:8], "little")
    content = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["tnsim"])
    del content["sha256"]
    return content, load(data)


def refused(data, path, match):
    path.write_bytes(data)
    with pytest.raises(NetworkFileError, match=match):
        tnsim.load_network(path)


def test_what_a_file_is_instead_is_said(tmp_path):
    path = tmp_path / "net.safetensors"
    tnsim.save(a_network(), path)
    good = path.read_bytes()
    content, tensors = taken(good)
    for cut in (1, 7, 40, len(good) // 2, len(good) - 1):
        refused(good[:cut], path, "is no safetensors file, or is cut off|is damaged")
    refused(b"", path, "it is empty")
    refused(b"version https://git-lfs.github.com/spec/v1\n", path, "git lfs pull")
    refused(save({"w": torch.ones(2)}), path, r"holds tensors and no network; tnsim.load\(MyModel")
    refused(
        written({**content, "format": "tnsim network 2"}, tensors),
        path,
        r"newer tnsim \(format 2, this one reads 1\)",
    )
    refused(
        written({**content, "format": "something"}, tensors),
        path,
        "something else than a network: 'something'",
    )
    refused(good[:-3] + b"abc", path, "it is not what was written")
    torch.save({"w": torch.ones(2)}, path)
    refused(path.read_bytes(), path, r"is an archive, as torch.save writes it; tnsim.load")
    tnsim.gram([tnsim.nn.BilinearLayer(2, 2, 2)]).save(path)
    refused(path.read_bytes(), path, r"'tnsim gram 1'; tnsim.Gram.load reads it")
    assert not is_network_file(path) and not is_network_file(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        tnsim.load_network(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="it is a folder"):
        tnsim.load_network(tmp_path)


def changed(content, key, value):
    """The wiring with one entry changed, wherever it is first found."""
    content = json.loads(json.dumps(content))

    def walk(x):
        if isinstance(x, dict):
            if key in x:
                x[key] = value
                return True
            return any(map(walk, x.values()))
        return isinstance(x, list) and any(map(walk, x))

    assert walk(content)
    return content


LIES = {
    "layers": ([], "there are no layers"),
    "in_shape": ([7], "has not as many entries"),
    "ids": ([[0, 3, 1]], "token ids at 1 positions"),
    "domain": ([["d", 7]], "are not of the axes"),
    "codomain": ([["d", 0]], "an axis has size 0"),
    "tensors": ([["none", ["a"], []]], "there is no tensor 'none'"),
    "legs": ([["nowhere"]], "are not of the axes"),
    "coefficient": (float("inf"), "the coefficient|has the coefficient"),
    "symmetry": ({"free": True, "children": [0, 5]}, "a symmetry of other legs"),
    "notes": ([3], "a text is wanted"),
    "gradients": (["none"], "tensors that are not there"),
    "terms": ([], "a layer has no terms"),
}


@pytest.mark.parametrize("key", LIES)
def test_wiring_must_be_whole(key, tmp_path):
    value, says = LIES[key]
    tnsim.save(a_network(), tmp_path / "net")
    content, tensors = taken((tmp_path / "net").read_bytes())
    refused(written(changed(content, key, value), tensors), tmp_path / "net", says)


def test_what_a_file_claims_is_tried(tmp_path):
    """Exchanges of legs and hidden units decide answers: none is believed."""
    torch.manual_seed(0)
    tnsim.save(tnsim.convert(tnsim.nn.BilinearLayer(4, 5, 3)), tmp_path / "net")
    content, tensors = taken((tmp_path / "net").read_bytes())
    assert content["layers"][0]["poly"]["terms"][0]["symmetry"]["free"] is False
    lie = changed(content, "symmetry", {"free": True, "children": [0, 1]})
    refused(written(lie, tensors), tmp_path / "net", "exchanging legs changes it")
    content["layers"][0]["poly"]["units"]["read"]["terms"][0]["coefficient"] = 2.0
    refused(written(content, tensors), tmp_path / "net", "another polynomial than that of its hidden units")


def test_trying_is_not_fooled_by_rounding():
    """A sum that cancels leaves rounding, which an exchange of legs changes."""
    torch.manual_seed(0)
    w = torch.randn(3, 50, dtype=torch.float64)
    f = tnsim.poly("A[out,in0]", A=w) ** 2
    g = f + (tnsim.poly("A[out,in0]", A=w * (1 + 1e-15)) ** 2) * -1.0
    check_claims(tnsim.Network((("f", f),)), 1e-16, 2**26)
    check_claims(tnsim.Network((("g", g),)), 1e-16, 2**26)


def test_trying_takes_no_more_memory_than_it_may():
    big = tnsim.poly(
        "D[out,hid] L[hid,in0] R[hid,in1]",
        D=torch.ones(1, 2000),
        L=torch.ones(2000, 2),
        R=torch.ones(2000, 2),
    )
    with pytest.raises(ClaimError, match="takes more than"):
        check_claims(
            tnsim.Network((("f", (tnsim.identity((("d", 1),), torch.ones(1)) @ big) ** 2),)), 1e-7, 100
        )


MUTANTS = """
import json, resource, sys
from pathlib import Path
import tnsim
folder, count = Path(sys.argv[1]), int(sys.argv[2])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
tnsim.load_network(folder / "good")
before, outcomes = peak(), []
for k in range(count):
    try:
        tnsim.load_network(folder / str(k))
        outcomes.append("read")
    except tnsim.NetworkFileError as error:
        outcomes.append(str(error))
print(json.dumps([peak() - before, outcomes]))
"""


def mutants(good, rng):
    """Flipped bits, cuts, pieces twice or elsewhere; and wirings that were changed with care, and hashed again."""
    content, tensors = taken(good)
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.choice([1, 1, 2, 9])):
            data[int(rng.random() ** 2 * len(data))] = rng.randrange(256)
        yield bytes(data)
    for _ in range(30):
        at, size = rng.randrange(len(good)), rng.randrange(1, 200)
        yield rng.choice([good[:at], good[:at] + good[at + size :], good[: at + size] + good[at:]])
    huge = (2**40, -1, 0, 10**30, 1e308, "", None, [], {}, True, "model:m", "sample:b", [[]] * 9)
    for _ in range(100):
        new = json.loads(json.dumps(content))
        for _ in range(rng.choice([1, 1, 3])):
            where = new
            while isinstance(where, dict | list) and where:
                key = rng.choice(list(where)) if isinstance(where, dict) else rng.randrange(len(where))
                if not isinstance(where[key], dict | list) or not where[key] or rng.random() < 0.1:
                    where[key] = json.loads(json.dumps(rng.choice(huge)))
                    break
                where = where[key]
        yield written(new, tensors)
    for _ in range(17):
        name = rng.choice(list(tensors))
        shape = rng.choice([(0,), (1,), (2, 3), ()])
        yield written(
            content, {**tensors, name: torch.ones(shape, dtype=rng.choice([torch.float64, torch.int8]))}
        )
    head = json.loads(good[8 : 8 + int.from_bytes(good[:8], "little")])
    for shape in ([2**62], [2**31, 2**31]):
        lie = json.dumps({**head, "w": {"dtype": "F64", "shape": shape, "data_offsets": [0, 8]}}).encode()
        yield struct.pack("<Q", len(lie)) + lie + bytes(8)
    yield struct.pack("<Q", 2**20) + b"[" * 2**20


def test_no_file_does_harm(tmp_path):
    """300 mutants: read as what they say, or refused with the one error; and little memory is taken."""
    tnsim.save(a_network(), tmp_path / "good")
    good = (tmp_path / "good").read_bytes()
    files = list(mutants(good, random.Random(0)))
    assert len(files) == 300
    for k, data in enumerate(files):
        (tmp_path / str(k)).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", MUTANTS, str(tmp_path), str(len(files))],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    memory, outcomes = json.loads(done.stdout)
    assert memory < 8 * max(map(len, files)) + 2**25
    assert all(o == "read" or len(o) < 600 for o in outcomes)
    same = [k for k, o in enumerate(outcomes[:180]) if o == "read"]
    for k in same:  # what was not hashed again is what it was
        a, b = tnsim.load_network(tmp_path / str(k)), tnsim.load_network(tmp_path / "good")
        assert repr(a) == repr(b) and a.signature() == b.signature()
    assert sum(o != "read" for o in outcomes) > 250


def test_plain_data_are_checked():
    plain, arrays = to_plain(a_network())
    assert math.prod(from_plain(plain, arrays).in_shape) == 6
    with pytest.raises(TopologyError, match="a part is missing"):
        from_plain({}, arrays)
    with pytest.raises(TopologyError, match=r"cannot feed|domain"):
        from_plain({**plain, "layers": plain["layers"][::-1], "in_shape": [4]}, arrays)
