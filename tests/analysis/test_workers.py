"""Blocks made by executors: the same matrix to the last bit, and nothing is lost with a worker."""

import importlib
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import textwrap
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch
from dying import Locked, dying
from zoo import KINDS, network, rand

import tnsim
from tnsim.algebra.networks.stacking import stack
from tnsim.analysis.grams.resume import Saved
from tnsim.analysis.grams.tasks import Packed, Parcel
from tnsim.analysis.tracing.recipes import Stages
from tnsim.analysis.tracing.survey import Survey

SPAWN = multiprocessing.get_context("spawn")


def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def processes():
    """Two processes that know nothing but what they are sent."""
    with ProcessPoolExecutor(2, mp_context=SPAWN, initializer=one_thread) as pool:
        yield pool


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(3) as pool:
        yield pool


def modules(n=6):
    return [tnsim.nn.BilinearMLP(4, 4, 4, 3, 2, residual="add") for _ in range(n)]


def talking(n=3):
    made = [tnsim.nn.Transformer(4, 2, 1, 2, ("attn",)).double().eval() for _ in range(n)]
    return [tnsim.convert(m.requires_grad_(False), torch.zeros(1, 2, dtype=torch.long)) for m in made]


def single(n=6):
    return [network(2, bias=True).to(dtype="float32") for _ in range(n)]


def scaled(by):
    made = modules(1)[0].double().requires_grad_(False)
    made.head.weight.mul_(by)
    return made


CASES = {
    "exactly": lambda: (([network(2, bias=True) for _ in range(6)],), {}),
    "layer by layer": lambda: (([network(3, bias=True) for _ in range(6)],), {"method": "layerwise"}),
    "under data": lambda: (([network(2) for _ in range(6)],), {"under": tnsim.Empirical(rand(7, 3))}),
    "under a covariance": lambda: (
        ([network(2) for _ in range(6)],),
        {"under": tnsim.Gaussian(rand(3), rand(3) ** 2 + 0.1)},
    ),
    "under a mixture": lambda: (
        ([network(1) for _ in range(6)],),
        {"under": tnsim.Mixture([tnsim.Gaussian(), tnsim.Gaussian(mean=rand(3))])},
    ),
    "of tensors": lambda: (([network(2) for _ in range(6)],), {"under": tnsim.Symmetric()}),
    "of tokens": lambda: (
        (talking(),),
        {"method": "layerwise", "under": tnsim.Tokens(torch.tensor([0.1, 0.2, 0.3, 0.4]))},
    ),
    "in single precision": lambda: ((single(),), {}),
    "of modules that train": lambda: ((modules(),), {}),
    "of different structures": lambda: (([network(1 + k % 2, hidden=4 + k % 3) for k in range(7)],), {}),
    "outputs together": lambda: (([network(2) for _ in range(6)],), {"slices": False}),
    "in little memory": lambda: (([network(2) for _ in range(5)],), {"memory": 6e4}),
    "of one": lambda: (([network(1)],), {}),
    "of a stack": lambda: ((stack([network(1) for _ in range(5)]),), {"labels": list("abcde")}),
    "of large and small": lambda: (([scaled(10.0**k) for k in (-60, 0, 60)],), {}),
}


def test_blocks_that_share_models_travel_together(threads, tmp_path):
    """A model is sent with a tile of blocks and not with each."""
    nets, sent = [network(1, hidden=3 + k) for k in range(14)], []  # of one structure they would be stacked

    class Counting:
        def submit(self, fn, task, attempt):
            sent.append((len(task.parts), len(task.pairs)))
            return threads.submit(fn, task, attempt)

    found = tnsim.gram(nets, executor=Counting(), checkpoint=tmp_path / "a", progress=False)
    alone = tnsim.gram(nets, checkpoint=tmp_path / "b", progress=False)
    assert torch.equal(found.mantissas, alone.mantissas)
    parts, pairs = map(sum, zip(*sent, strict=True))
    assert pairs == 105 and parts < 80 and len(sent) > 12, sent


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_the_same_to_the_last_bit(name, kind, tmp_path, request):
    pool = request.getfixturevalue(kind)
    args, options = CASES[name]()
    options.setdefault("progress", False)
    for kept in (False, True) if kind == "threads" else (True,):
        paths = [{"checkpoint": tmp_path / f"{kept}{k}"} if kept else {} for k in range(2)]
        alone = tnsim.gram(*args, **options, **paths[0])
        found = tnsim.gram(*args, **options, **paths[1], executor=pool)
        assert torch.equal(found.mantissas, alone.mantissas) and torch.equal(found.units, alone.units)
        assert found.labels == alone.labels and found.method == alone.method
        assert not found.mantissas.requires_grad
        if kept:
            assert (tmp_path / "True0").stat().st_size == (tmp_path / "True1").stat().st_size
            assert torch.equal(tnsim.gram(*args, **options, **paths[1]).mantissas, alone.mantissas)


class Elsewhere:
    """An executor of one's own: calls are made at once, and some workers die.

    Args:
        dead: for numbers of calls what they end with.
        back: whether futures call back.
    """

    def __init__(self, dead=(), back=True):
        self.dead, self.back, self.calls = dict(dead), back, 0

    def submit(self, fn, *args):
        future, number = Future(), self.calls
        self.calls += 1
        if number in self.dead:
            future.set_exception(self.dead[number])
        else:
            future.set_result(fn(*args))
        return future if self.back else type("Job", (), {"result": staticmethod(future.result)})()


def eight():
    torch.manual_seed(3)
    return [network(2, bias=True) for _ in range(8)]


class KilledWorker(Exception):
    """As dask says it."""


@pytest.mark.parametrize(
    "error",
    [BrokenProcessPool("gone"), ConnectionResetError(), EOFError(), KilledWorker("a", 1)],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("back", [True, False])
def test_a_block_is_made_again_where_the_executor_lives(error, back, tmp_path):
    alone = tnsim.gram(eight(), checkpoint=tmp_path / "a", progress=False)
    pool = Elsewhere({3: error, 20: error, 36: error}, back)
    found = tnsim.gram(eight(), checkpoint=tmp_path / "b", executor=pool, progress=False)
    assert torch.equal(found.mantissas, alone.mantissas)
    assert pool.calls == 36 + 3


def test_a_block_that_is_lost_again_and_again_is_given_up(tmp_path):
    alone = tnsim.gram(eight(), checkpoint=tmp_path / "a", progress=False)

    class Fatal(Elsewhere):
        def submit(self, fn, task, attempt):
            self.dead = {self.calls: KilledWorker("memory")} if (1, 4) in task.pairs else {}
            return super().submit(fn, task, attempt)

    path = tmp_path / "b"
    said = r"block \(1, 4\) was lost 3 times .*KilledWorker.* 35 of 36 blocks .* kept in .*b: call again"
    with pytest.raises(tnsim.WorkerError, match=said):
        tnsim.gram(eight(), checkpoint=path, executor=Fatal(), progress=False)
    assert torch.equal(tnsim.gram(eight(), checkpoint=path, progress=False).mantissas, alone.mantissas)


class Mortal:
    """A pool of processes one of whose calls kills its process; where it is alive again, with another pool.

    Args:
        fatal: the number of that call.
        again: whether another pool follows.
    """

    def __init__(self, fatal, again):
        self.fatal, self.again, self.calls = fatal, again, 0
        self.pool = self.new()

    @staticmethod
    def new():
        return ProcessPoolExecutor(1, mp_context=SPAWN, initializer=one_thread)

    def submit(self, fn, *args):
        self.calls += 1
        made = (dying, fn, *args) if self.calls == self.fatal else (fn, *args)
        try:
            return self.pool.submit(*made)
        except BrokenProcessPool:
            if not self.again:
                raise
            self.pool = self.new()
            return self.pool.submit(fn, *args)


@pytest.mark.parametrize("again", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_worker_killed_half_way_loses_nothing(again, tmp_path, monkeypatch):
    alone = tnsim.gram(eight(), checkpoint=tmp_path / "a", progress=False)
    pool, path = Mortal(18, again), tmp_path / "b"
    kept, put = [], Saved.put
    monkeypatch.setattr(Saved, "put", lambda self, *a: kept.append(a[0]) or put(self, *a))
    try:
        if again:
            found = tnsim.gram(eight(), checkpoint=path, executor=pool, progress=False)
            assert len(kept) == 36
        else:
            with pytest.raises(tnsim.WorkerError, match=r"BrokenProcessPool.* kept in .* call again") as info:
                tnsim.gram(eight(), checkpoint=path, executor=pool, progress=False)
            count = int(re.search(r"(\d+) of 36 blocks", str(info.value))[1])
            assert count == len(kept) == 17
            found = tnsim.gram(eight(), checkpoint=path, progress=False)
            assert len(kept) == 36
        assert sorted(kept) == sorted(set(kept))
        assert torch.equal(found.mantissas, alone.mantissas)
    finally:
        pool.pool.shutdown()


def test_without_a_file_it_says_what_would_have_been_kept():
    pool = Elsewhere({k: BrokenProcessPool("gone") for k in range(99)})
    with pytest.raises(tnsim.WorkerError, match=r"0 of 1 blocks .* name a file in checkpoint=.*__main__"):
        tnsim.gram(eight(), executor=pool, progress=False)


def test_an_executor_that_was_shut_down(tmp_path):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(tnsim.WorkerError, match="takes no more tasks"):
        tnsim.gram(eight(), executor=pool, checkpoint=tmp_path / "g", progress=False)
    assert not os.listdir(tmp_path)


def test_the_error_of_a_block_is_said_as_it_is(tmp_path):
    pool, path = Elsewhere({7: ArithmeticError("this block fails")}), tmp_path / "g"
    with pytest.raises(ArithmeticError, match="this block fails"):
        tnsim.gram(eight(), executor=pool, checkpoint=path, progress=False)
    assert torch.equal(
        tnsim.gram(eight(), checkpoint=path, progress=False).mantissas,
        tnsim.gram(eight(), checkpoint=tmp_path / "h", progress=False).mantissas,
    )


def test_what_cannot_be_sent_is_said(processes):
    with pytest.raises(TypeError, match=r"cannot be sent to workers .* a class in a module"):
        tnsim.gram(eight(), under=Locked(), executor=processes, progress=False)


def test_a_client_that_answers_later():
    class Later(Elsewhere):
        def submit(self, fn, *args):
            async def result():
                return None

            waiting = result()
            waiting.close()
            return type("Job", (), {"result": lambda self: waiting})()

    with pytest.raises(TypeError, match="not asynchronous"):
        tnsim.gram(eight(), executor=Later(), progress=False)


@pytest.mark.parametrize(
    "odd",
    [2, "threads", ThreadPoolExecutor, object(), [ThreadPoolExecutor(1)]],
    ids=lambda odd: type(odd).__name__,
)
def test_what_is_no_executor_is_refused(odd):
    with pytest.raises(TypeError, match=r"write executor=concurrent\.futures\.ProcessPoolExecutor\(2\)"):
        tnsim.gram(eight(), executor=odd)


def test_where_draws_are_wanted_they_are_made_here(threads):
    nets = [network(1, d=16, hidden=30) for _ in range(3)]
    found = tnsim.gram(nets, error=0.05, budget=10.0, executor=threads, progress=False)
    assert found.method == "sampled"
    exact = tnsim.gram(nets, error=0.05, executor=threads, progress=False)
    assert exact.method == "exact" and torch.equal(exact.mantissas, tnsim.gram(nets).mantissas)


def test_what_one_part_decides_is_made_once_in_a_worker(tmp_path, monkeypatch):
    made, piece = [], Stages.piece
    monkeypatch.setattr(Stages, "piece", lambda self, k, part: made.append(k) or piece(self, k, part))
    nets = [network(3, bias=True) for _ in range(8)]
    tnsim.gram(nets, method="layerwise", executor=Elsewhere(), checkpoint=tmp_path / "g", progress=False)
    assert sorted(made) == [0] * 7 + [1] * 7  # and not for each of 28 pairs


FORKED = """
import multiprocessing, sys
sys.path.insert(0, sys.argv[1])
from concurrent.futures import ProcessPoolExecutor
import torch
import tnsim
torch.set_num_threads(2)
torch.randn(1000, 1000) @ torch.randn(1000, 1000), torch.randn(10**6).exp().sum()  # now there are threads
nets = [tnsim.convert(tnsim.nn.BilinearLayer(200, 128, 3).requires_grad_(False)) for _ in range(4)]
with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
    found = tnsim.gram(nets, executor=pool, progress=False)
torch.testing.assert_close(found.matrix, tnsim.gram(nets).matrix)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_forked_processes_do_not_wait_for_threads_that_they_do_not_have():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORKED), "."], timeout=100, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_a_cluster_of_dask(tmp_path):
    try:
        distributed = importlib.import_module("distributed")
    except ImportError:
        pytest.skip("dask is not installed; pip install '.[dask]'")
    alone = tnsim.gram(eight(), checkpoint=tmp_path / "a", progress=False)
    with (
        distributed.LocalCluster(2, processes=False, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        for k, pool in enumerate((client, client.get_executor())):
            found = tnsim.gram(eight(), checkpoint=tmp_path / f"b{k}", executor=pool, progress=False)
            assert torch.equal(found.mantissas, alone.mantissas)
        with pytest.raises(TypeError, match="or a Client of"):
            tnsim.gram(eight(), executor=cluster)
    with pytest.raises(tnsim.WorkerError, match="takes no more tasks"):
        tnsim.gram(eight(), executor=client, progress=False)


# ---------------------------------------------------------------------- what is sent


@pytest.mark.parametrize("kind", KINDS)
def test_networks_can_be_pickled(kind):
    net = network(**KINDS[kind])
    again = pickle.loads(pickle.dumps(net))
    x = rand(4, 3)
    assert again.signature() == net.signature() and torch.equal(again(x), net(x))
    assert tnsim.similarity(again, net) == tnsim.similarity(net, net)


@pytest.mark.parametrize(
    "law",
    [
        tnsim.Gaussian(rand(3), rand(3) ** 2),
        tnsim.Empirical(rand(4, 3)),
        tnsim.Symmetric(),
        tnsim.Frobenius(),
        tnsim.Mixture([tnsim.Gaussian(), tnsim.Symmetric()]),
    ],
    ids=repr,
)
def test_laws_can_be_pickled(law):
    net = network(1)
    again = pickle.loads(pickle.dumps(law))
    assert type(again) is type(law)
    assert torch.equal(tnsim.inner(net, under=again), tnsim.inner(net, under=law))


@pytest.mark.parametrize(
    "x",
    [
        torch.tensor(2.0),
        torch.ones(2, 3, dtype=torch.bfloat16),
        torch.empty(0, 3),
        torch.ones(4, 6)[::2, 1::2],
        torch.arange(3),
        torch.tensor([True, False]),
        torch.ones(2, 2, dtype=torch.complex64).conj(),
        torch.ones(2, requires_grad=True),
    ],
    ids=lambda x: f"{x.dtype} {tuple(x.shape)}",
)
def test_tensors_are_packed_as_they_are(x):
    again = pickle.loads(pickle.dumps(Packed.of(x))).tensor()
    assert again.dtype == x.dtype and again.shape == x.shape and torch.equal(again, x.detach())


def test_what_is_shared_is_shared_where_it_is_opened():
    nets = (network(2),) * 2
    parcel = pickle.loads(pickle.dumps(Parcel.of((nets, tnsim.Gaussian(rand(3))), {})))
    opened, _ = parcel.open()
    assert Survey(opened).key == Survey(nets).key
    assert len(Survey(opened).arrays) == len(Survey(nets[0]).arrays)
