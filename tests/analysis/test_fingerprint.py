"""What decides a matrix decides the key of its checkpoint file, and nothing else does."""

import functools
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from zoo import network

import tnsim
from tnsim.analysis.grams.fingerprints import fingerprint
from tnsim.measure import Empirical, Frobenius, Gaussian, MarkovChain, Mixture, Symmetric, Tokens

ROOT = Path(__file__).parent.parent
with torch.random.fork_rng(devices=[]):
    torch.manual_seed(0)
    NETS = [network(1), network(1)]


class Tagged(Gaussian):
    """A law with attributes of its own."""

    power = 2

    def __init__(self, **more):
        super().__init__()
        self.__dict__.update(more)


@dataclass(frozen=True, eq=False)
class Pair(Gaussian):
    """A law with a law in it."""

    inner: Gaussian | None = None


def chain():
    p = np.full(3, 1 / 3)
    return p, np.full((3, 3), 1 / 3)


a, b = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 4.0])
g1, g2 = Gaussian(), Gaussian(a)
LAWS = {
    "standard": Gaussian(),
    "mean": Gaussian(mean=a),
    "cov": Gaussian(cov=a),
    "another cov": Gaussian(cov=b),
    "a matrix": Gaussian(cov=a.diag()),
    "in double": Gaussian(mean=a.double()),
    "across": Gaussian(across=a.diag()),
    "positions": Gaussian(n_ctx=3),
    "symmetric": Symmetric(),
    "frobenius": Frobenius(),
    "samples": Empirical(torch.ones(3, 2)),
    "samples of another shape": Empirical(torch.ones(2, 3)),
    "ids": Empirical(torch.ones(2, 3, dtype=torch.long)),
    "tokens": Tokens(chain()[0]),
    "tokens at every position": Tokens(chain()[1]),
    "chain": MarkovChain(*chain()),
    "mixture": Mixture([g1, g2]),
    "mixture in another order": Mixture([g2, g1]),
    "mixture of other weights": Mixture([g1, g2], [0.25, 0.75]),
    "mixture of a mixture": Mixture([g1, Mixture([g2])]),
    "mixture of other laws": Mixture([g1, Gaussian(cov=a)]),
    "one in one": Pair(inner=g1),
    "another in one": Pair(inner=g2),
    "a subclass": Tagged(),
    "a word": Tagged(note="x"),
    "a word under another name": Tagged(tone="x"),
    "bytes": Tagged(note=b"x"),
    "words": Tagged(note=set("abcdefgh")),
    "a set": Tagged(note={1, 2}),
    "another set": Tagged(note={1, 3}),
    "a frozen set": Tagged(note=frozenset({1, 2})),
    "lists": Tagged(note=[[1], [2]]),
    "lists cut elsewhere": Tagged(note=[[1, 2], []]),
    "a tuple": Tagged(note=(1, 2)),
    "an int": Tagged(note=1),
    "a float": Tagged(note=1.0),
    "a truth": Tagged(note=True),
    "zero": Tagged(note=0.0),
    "minus zero": Tagged(note=-0.0),
    "nothing": Tagged(note=None),
    "a mapping": Tagged(note={"a": {"b": a}}),
    "another mapping": Tagged(note={"a": {"b": b}}),
    "half precision": Tagged(note=a.bfloat16()),
    "float16": Tagged(note=a.half()),
    "bits": Tagged(note=a.bfloat16().view(torch.int16)),
    "numpy": Tagged(note=a.numpy()),
    "numpy objects": Tagged(note=np.array([1, "x"], dtype=object)),
    "complex": Tagged(note=torch.tensor([1j])),
    "its conjugate": Tagged(note=torch.tensor([1j]).conj()),
    "no numbers": Tagged(note=torch.zeros(0, 2)),
    "no numbers either": Tagged(note=torch.zeros(2, 0)),
    "a function": Tagged(note=lambda x: x),
    "another function": Tagged(note=lambda x: x + 1),
    "a constant": Tagged(note=lambda x: x + 2),
    "a default": Tagged(note=lambda x, k=1: x),
    "another default": Tagged(note=lambda x, k=2: x),
    "part of one": Tagged(note=functools.partial(torch.add, 1)),
    "part of another": Tagged(note=functools.partial(torch.add, 2)),
    "sin": Tagged(note=torch.sin),
    "cos": Tagged(note=torch.cos),
    "exp": Tagged(note=np.exp),
    "log": Tagged(note=np.log),
    "a generator of numbers": Tagged(note=np.random.default_rng(0)),
    "another generator": Tagged(note=np.random.default_rng(1)),
    "a dtype": Tagged(note=torch.float32),
    "another dtype": Tagged(note=torch.float64),
    "a path": Tagged(note=Path("a")),
    "another path": Tagged(note=Path("b")),
}


def test_laws_that_differ_have_other_keys():
    keys = {name: fingerprint(NETS, law) for name, law in LAWS.items()}
    alike = [(x, y) for x in keys for y in keys if x < y and keys[x] == keys[y]]
    assert not alike
    assert keys == {name: fingerprint(NETS, law) for name, law in LAWS.items()}


def closing_over(value):
    return lambda x: x * value


FACTOR = 1.0


def test_what_a_function_reads_counts(monkeypatch):
    keys = {fingerprint(NETS, Tagged(note=closing_over(k))) for k in (1, 2)}
    assert len(keys) == 2
    law = Tagged(note=lambda x: FACTOR * x)
    before = fingerprint(NETS, law)
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    assert fingerprint(NETS, law) != before


def test_the_code_of_a_class_of_ones_own_counts():
    def made(power, scale):
        class Law(Gaussian):
            exponent = power

            def count(self, factors, sides, exchange=False):
                return super().count(factors, sides, exchange) if scale else 0

        return Law()

    keys = {fingerprint(NETS, made(k, s)) for k in (1, 2) for s in (0, 1)}
    assert len(keys) == 4  # by an attribute of the class, and by what a method closes over
    assert fingerprint(NETS, made(1, 1)) == fingerprint(NETS, made(1, 1))


def test_a_cached_property_does_not_count():
    class Law(Gaussian):
        @functools.cached_property
        def root(self):
            return 2

    law = Law()
    before = fingerprint(NETS, law)
    assert law.root == 2 and "root" in vars(law)
    assert fingerprint(NETS, law) == before


def test_what_contains_itself():
    one, two = [1], [2]
    one.append(one)
    two.append(two)
    assert fingerprint(NETS, Tagged(note=one)) != fingerprint(NETS, Tagged(note=two))


def deep(n):
    x = ()
    for _ in range(n):
        x = (x,)
    return x


@pytest.mark.parametrize(
    ("note", "says"),
    [
        (threading.Lock(), "under.note is a lock"),
        ([1, (x for x in [])], r"under.note\[1\] is a generator"),
        ({"a": threading.Lock()}, r"under.note\['a'\] is a lock"),
        (torch.ones(2).to_sparse(), "under.note is a tensor on cpu, torch.sparse_coo"),
        (torch.ones(2, device="meta"), "under.note is a tensor on meta"),
        (deep(10**5), "nested too deeply"),
    ],
    ids=["lock", "generator", "in a mapping", "sparse", "meta", "deep"],
)
def test_what_has_no_content_is_named(note, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        tnsim.gram(NETS, under=Tagged(note=note), checkpoint=tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_weights_and_wiring_count():
    net = NETS[0]
    keys = {
        fingerprint(nets, Gaussian())
        for nets in (
            [net],
            [net, net],
            [NETS[1]],
            [net.to(dtype="float32")],
            [net.to(dtype="bfloat16")],
            [net.to(dtype="float16")],
            [replace(net, layers=tuple((n, f * 2.0) for n, f in net.layers))],
            [replace(net, layers=tuple((f"{n}'", f) for n, f in net.layers))],
        )
    }
    assert len(keys) == 8
    assert fingerprint([net], Gaussian(), "diagonal") != fingerprint([net], Gaussian(), "sum")


KEY = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from zoo import network
from tnsim.analysis.grams.fingerprints import fingerprint
from tnsim.measure import Gaussian, Mixture

torch.manual_seed(0)
law = Gaussian(torch.ones(3))
vars(law)["words"] = {"a": set("abcdefgh"), "b": [torch.sin, torch.ones(2).bfloat16(), torch.float32, abs]}
key = fingerprint([network(2, bias=True)], Mixture([law, Gaussian()]), "exact", ((0, 1), (2,)))
"""


def test_another_process_finds_the_same_key(monkeypatch):
    """Sets of words come in another order there."""
    monkeypatch.setattr(sys, "argv", ["", str(ROOT)])
    found = subprocess.run(
        [sys.executable, "-c", f"{KEY}\nprint(key)", str(ROOT)],
        env=os.environ | {"PYTHONPATH": f"{ROOT.parent}", "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = {}
    with torch.random.fork_rng(devices=[]):
        exec(KEY, here)
    assert found.stdout.strip() == here["key"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_matrix_in_low_precision_is_kept(tmp_path, dtype):
    nets = [net.to(dtype=dtype) for net in NETS]
    first = tnsim.gram(nets, checkpoint=tmp_path / "g").products
    again = tnsim.gram(nets, checkpoint=tmp_path / "g").products
    assert first.dtype == again.dtype == getattr(torch, dtype) and torch.equal(first, again)


def test_a_matrix_of_numpy_networks_is_kept(tmp_path):
    nets = [
        replace(net, layers=tuple((n, f.mapped(lambda x: x.numpy())) for n, f in net.layers)) for net in NETS
    ]
    first = tnsim.gram(nets, checkpoint=tmp_path / "g").products
    again = tnsim.gram(nets, checkpoint=tmp_path / "g").products
    assert isinstance(again, np.ndarray) and np.array_equal(first, again)


def test_every_law_may_have_a_file_and_no_other_reads_it(tmp_path):
    laws = [
        g2,
        Gaussian(cov=a),
        Mixture([g1, g2]),
        Mixture([g1, g2], [0.25, 0.75]),
        Tagged(note={1}),
        Empirical(a[None]),
    ]
    for k, law in enumerate(laws):
        path = tmp_path / str(k)
        whole = tnsim.gram(NETS, under=law, checkpoint=path).products
        torch.testing.assert_close(whole, tnsim.gram(NETS, under=law).products)
        assert torch.equal(tnsim.gram(NETS, under=law, checkpoint=path).products, whole)
        for other in laws[:k] + laws[k + 1 :]:
            with pytest.raises(ValueError, match="was made from other models or another law"):
                tnsim.gram(NETS, under=other, checkpoint=path)
