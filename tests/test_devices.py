"""Every public question on a device of its own, with and without float64; and what goes to and fro meanwhile."""

import warnings
from inspect import isfunction
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from pretend import DEVICE, NAME, counting, lacking
from questions import (
    LAWS,
    QUESTIONS,
    TOKENS,
    Place,
    attention,
    bilinear,
    checkpoints,
    numbers,
    rand,
    sequences,
)

import tnsim

CPU = Place(torch.device("cpu"))
HERE = Place(DEVICE)
SINGLE = Place(DEVICE, torch.float32)


def agree(got, want, tolerance):
    assert len(got) == len(want) > 0
    for x, y in zip(got, want, strict=True):
        assert x.shape == y.shape
        size = y.abs().max() if y.numel() else 1.0
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance * float(size))


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_has_the_answer_of_the_cpu(name):
    want = numbers(QUESTIONS[name](CPU))
    agree(numbers(QUESTIONS[name](HERE)), want, 1e-10)
    with lacking(torch.float64):
        got = numbers(QUESTIONS[name](SINGLE))
    agree(got, want, 2e-3)


def test_no_question_is_left_out():
    functions = {n for n in tnsim.__all__ if n.islower() and isfunction(getattr(tnsim, n))}
    written = "".join(
        (Path(__file__).parent / name).read_text() for name in ("questions.py", "test_devices.py")
    )
    missing = {n for n in functions if f"tnsim.{n}(" not in written}
    assert len(functions) > 30 and missing == set()


# ---------------------------------------------------------------------- what goes to and fro

WARM = {
    **{
        f"similarity, {law}, {method}, {depth} layers": (law, method, depth)
        for law, method, depth in [
            ("standard", "exact", 1),
            ("standard", "exact", 2),
            ("mean and cov", "exact", 2),
            ("mean and cov", "layerwise", 3),
            ("symmetric", "exact", 2),
            ("samples", "exact", 2),
        ]
    },
}


@pytest.mark.parametrize("name", WARM)
def test_a_warm_similarity_moves_nothing_and_waits_once(name):
    law, method, depth = WARM[name]
    a, b = (HERE.net(seed, bilinear, depth, True) for seed in (1, 2))
    under = LAWS[law](HERE)
    first = tnsim.similarity(a, b, under=under, method=method)
    with counting() as counts:
        again = tnsim.similarity(a, b, under=under, method=method)
    # one copy of both squared norms, when all else is under way: whether a model is zero
    assert (counts.to, counts.back, counts.reads.total()) == (0, 1, 0), counts
    assert counts.last in ("_to_copy", "copy")
    assert torch.equal(first.cpu(), again.cpu())


def test_the_next_checkpoint_moves_nothing_either():
    tnsim.similarity(*(HERE.net(seed, bilinear, 2, True) for seed in (1, 2)))
    a, b = (HERE.net(seed, bilinear, 2, True) for seed in (3, 4))
    with counting() as counts:
        tnsim.similarity(a, b)
    assert (counts.to, counts.back, counts.reads.total()) == (0, 1, 0), counts


@pytest.mark.parametrize("law", TOKENS)
def test_sequences_move_nothing_and_wait_once(law):
    a, b = sequences(HERE)
    under = TOKENS[law](HERE)
    tnsim.similarity(a, b, under=under, method="layerwise")
    with counting() as counts:
        tnsim.similarity(a, b, under=under, method="layerwise")
    own = 2 if law == "chain of numpy" else 0  # arrays of the user's that lie in main memory
    assert (counts.to, counts.back, counts.reads.total()) == (own, 1, 0), counts


@pytest.mark.parametrize("method", ["exact", "layerwise"])
def test_a_warm_gram_matrix_moves_nothing_and_waits_once(method):
    nets = checkpoints(HERE, 4, 2)
    nets = [
        *nets,
        HERE.net(9, bilinear, 2, False),
        *checkpoints(HERE, 2, 2),
    ]  # of two kinds, so that they are sorted
    want = tnsim.gram(nets, method=method, progress=False).similarity()
    with counting() as counts:
        got = tnsim.gram(nets, method=method, progress=False)
    # one copy of the squared norms, when all else is under way: whether they are in range
    assert (counts.to, counts.back, counts.reads.total()) == (0, 1, 0), counts
    assert counts.last in ("_to_copy", "copy")
    assert torch.equal(got.similarity().cpu(), want.cpu())
    on_cpu = tnsim.gram([net.to("cpu") for net in nets], method=method, progress=False).similarity()
    torch.testing.assert_close(want.cpu(), on_cpu, rtol=1e-10, atol=1e-10)


def test_a_gram_matrix_of_sequences_waits_once():
    nets = [*sequences(HERE), *sequences(HERE)]
    under = TOKENS["tokens"](HERE)
    tnsim.gram(nets, under=under, method="layerwise", progress=False)
    with counting() as counts:
        tnsim.gram(nets, under=under, method="layerwise", progress=False)
    assert (counts.to, counts.back, counts.reads.total()) == (0, 1, 0), counts


def test_a_mask_that_is_changed_in_place_is_read_again():
    with torch.no_grad():
        net = HERE.net(0, attention, example=HERE(torch.zeros(1, 2, 3)))
        masks = [x.data for f in net.polys for t in f.terms for x in t.tensors if "MASK." in x.tags]
        masked = float(tnsim.inner(net))
        for mask in masks:
            mask.fill_(1.0)
        assert float(tnsim.inner(net)) == pytest.approx(float(tnsim.inner(net.to("cpu"))), rel=1e-10)
        assert float(tnsim.inner(net)) != pytest.approx(masked)


def test_a_fit_of_powers_waits_once_an_iteration():
    net = HERE.net(0, tnsim.nn.BilinearLayer, 3, 4, 2)
    calls = []
    tied = __import__("tnsim.analysis.explain.symmetric_cp", fromlist=["minimize"])
    real = tied.minimize

    def watched(loss, *args, **options):
        def one(w):
            with counting() as counts:
                value = loss(w)
            calls.append(counts)
            return value

        return real(one, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tied, "minimize", watched)
        tnsim.decompose(net, "symmetric-cp", 2, progress=False)
    assert calls and all((c.to, c.waits) == (1, 1) for c in calls[1:])


# ---------------------------------------------------------------------- conversion, devices, random numbers


def test_without_float64_conversion_says_what_to_write():
    module = SINGLE.module(0, bilinear, 1, True)
    with lacking(torch.float64):
        with pytest.raises(tnsim.ConvertError, match=rf"{NAME}.*no float64.*dtype=torch\.float32"):
            tnsim.convert(module)
        with pytest.raises(tnsim.ConvertError, match=r"dtype=torch\.float32"):
            tnsim.similarity(module, module)
        with pytest.raises(tnsim.ConvertError, match=r"dtype=torch\.float32"):
            tnsim.entk(module)
        with pytest.raises(tnsim.WireError, match='dtype="float32"'):
            CPU.net(0, bilinear, 1, True).to(DEVICE)
        net = CPU.net(0, bilinear, 1, True).to(DEVICE, torch.float32)
        back = net.to("cpu", torch.float64)
    assert net.dtype == "float32" and back.dtype == "float64"


def test_a_law_may_lie_elsewhere():
    a, b = (SINGLE.net(seed, bilinear, 1, True) for seed in (1, 2))
    law = LAWS["mean and cov"]
    with lacking(torch.float64):
        got = tnsim.similarity(a, b, under=law(CPU))
    on_cpu = tnsim.similarity(a.to("cpu", torch.float64), b.to("cpu", torch.float64), under=law(SINGLE))
    torch.testing.assert_close(got.cpu().double(), on_cpu, rtol=1e-3, atol=1e-4)


def test_networks_of_two_devices_are_refused():
    with pytest.raises(ValueError, match=NAME):
        tnsim.similarity(CPU.net(0), HERE.net(0))


def test_a_module_stays_where_it_is():
    module = HERE.module(0, bilinear, 1, True)
    before = list(module.parameters())
    net = tnsim.convert(module)
    assert all(x.device == DEVICE for f in net.polys for x in f.arrays())
    assert all(p is q and p.device == DEVICE for p, q in zip(module.parameters(), before, strict=True))


class Careful(Place):
    """One who says on which device a model or a tensor is made."""

    def module(self, *args, **options):
        with torch.device("cpu"):
            return super().module(*args, **options)

    def __call__(self, x):
        with torch.device("cpu"):
            return super().__call__(x)


@pytest.mark.parametrize("device", ["meta", NAME])
@pytest.mark.parametrize(
    "name",
    [
        "similarity, standard, exact",
        "similarity, cov of numpy, layerwise",
        "similarity, mean of lists, exact",
        "tokens, chain of numpy, exact",
        "tokens, ids, exact",
        "decompose, symmetric-cp",
        "decompose, cp",
        "weights",
        "nearest",
        "trajectory",
        "segment",
        "localise",
        "entk, top",
        "unfold",
    ],
)
def test_the_default_device_changes_nothing(name, device):
    """Models and laws are made on the CPU by their user; only what tnsim makes by itself could go astray."""
    want = numbers(QUESTIONS[name](CPU))
    with torch.device(device):
        got = QUESTIONS[name](Careful(CPU.device))
    agree(numbers(got), want, 1e-12)


# ---------------------------------------------------------------------- what is seen and kept


@pytest.mark.parametrize("lacks", [(), (torch.float64,)])
def test_pictures(lacks):
    at = SINGLE if lacks else HERE
    with lacking(*lacks), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nets = checkpoints(at)
        run = tnsim.gram(nets, progress=False)
        tnsim.draw(nets[0])
        assert "srcdoc" in tnsim.report(nets, progress=False)._repr_html_()
        tnsim.heatmap(run.similarity())
        tnsim.heatmap(run.similarity(), phases=("a", "b"), boundaries=[2])
        tnsim.heatmaps(run.slices())
        tnsim.scree(tnsim.spectrum(at.net(0, bilinear, 1, False)).values)
        tnsim.curves(range(4), {"similarity": run.similarity()[0]})
        tnsim.image(at(rand(4)), (2, 2))
        repr(nets[0]), repr(run), repr(tnsim.trajectory(run)), repr(LAWS["mean and cov"](at))
    plt.close("all")


def test_attention_is_drawn():
    tnsim.draw(HERE.net(0, attention, example=HERE(torch.zeros(1, 2, 3))))
    plt.close("all")


@pytest.mark.parametrize("lacks", [(), (torch.float64,)])
def test_blocks_are_kept_in_a_file(tmp_path, lacks):
    at = SINGLE if lacks else HERE
    with lacking(*lacks):
        nets = checkpoints(at)
        first = tnsim.gram(nets, checkpoint=tmp_path / "blocks.safetensors", progress=False)
        again = tnsim.gram(nets, checkpoint=tmp_path / "blocks.safetensors", progress=False)
    assert again.products.device == DEVICE
    assert torch.equal(first.products.cpu(), again.products.cpu())
