"""Blind localisation: the definition against quadrature, planted triggers found, ordinary training left alone."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from oracle import nodes
from zoo import KINDS, bilinear, network

import tnsim
from tnsim.algebra import Network, poly, stack
from tnsim.lab import Backdoor, load_digits, train

SIZE, CLEAN, MORE = 16, 600, 200


def by_hand(before, after):
    """Squared distances of all outputs, and the derivatives of each by the gains of the inputs, by quadrature."""
    x, w = nodes(3, 8)
    gains = torch.ones(3, dtype=torch.float64, requires_grad=True)
    moved = w @ (after(x * gains) - before(x * gains)) ** 2
    slopes = [torch.autograd.grad(m, gains, retain_graph=True)[0] for m in moved]
    return moved.detach(), torch.stack(slopes)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_those_of_the_definition(kind):
    first, before, after = (network(**KINDS[kind], out=4) for _ in range(3))
    moved, slopes = by_hand(before, after)
    usual, drift = by_hand(first, before)
    median = lambda v, k: torch.cat([v[:k], v[k + 1 :]]).quantile(0.5)  # noqa: E731

    found = tnsim.localise(before, after)
    k = int(moved.argmax())
    assert found.output == k and found.explained == 0
    assert found.prominence == pytest.approx(float(moved[k] / median(moved, k)), rel=1e-8)
    torch.testing.assert_close(found.inputs, slopes[k] / slopes[k].sum(), rtol=1e-8, atol=1e-8)
    assert found.concentration == pytest.approx(3 * float(found.inputs.max()), rel=1e-12)

    found = tnsim.localise(before, after, history=[first])
    lifts = moved / moved.sum() / (usual / usual.sum())
    k = int(torch.stack([lifts[j] / median(lifts, j) for j in range(4)]).argmax())
    assert found.output == k
    assert found.prominence == pytest.approx(float(lifts[k] / median(lifts, k)), rel=1e-7)
    p, q = slopes[k] / slopes[k].sum(), drift[k] / drift[k].sum()
    c = (p[q > 0] / q[q > 0]).quantile(0.5).clamp(0, 1)
    torch.testing.assert_close(found.inputs, p - c * q, rtol=1e-6, atol=1e-7)
    assert float(found.inputs.sum()) == pytest.approx(1 - found.explained, abs=1e-10)


def test_for_one_layer_the_scores_are_the_shares_of_the_squared_distance():
    before, after = network(1, out=4), network(1, out=4)
    found = tnsim.localise(before, after)
    shares = tnsim.attribute(before, after, to="inputs", output=found.output)
    torch.testing.assert_close(found.inputs, shares / shares.sum(), rtol=1e-9, atol=1e-10)


def test_scores_come_in_the_shape_of_the_input():
    f, g = bilinear(64, 4, 5), bilinear(64, 4, 5)
    before, after = (Network((("f", h),), (1, 8, 8)) for h in (f, f + 0.01 * g))
    assert tnsim.localise(before, after).inputs.shape == (1, 8, 8)


def test_nothing_changed():
    net = network(2, out=4)
    found = tnsim.localise(net, net, history=[network(2, out=4)])
    assert not found.localised and not found.changed and not found.inputs.any() and not found.outputs.any()
    assert repr(found).startswith("Nothing localised")


def test_a_change_of_one_output_through_all_inputs_is_a_change_but_not_localised():
    net, more = bilinear(40, 8, 6), bilinear(40, 40, 1)
    one = torch.zeros(6, 1, dtype=torch.float64)
    one[3] = 5.0
    found = tnsim.localise(net, net + 0.01 * bilinear(40, 8, 6) + poly("W[out,in0]", W=one) @ more)
    assert found.changed and found.output == 3 and not found.localised
    assert "output 3 changed, but not in few inputs" in repr(found)


# ---------------------------------------------------------------------- trained models

MODELS = {
    "one layer": lambda: tnsim.nn.BilinearClassifier(SIZE**2, 32, 10),
    "two residual blocks": lambda: tnsim.nn.BilinearMLP(SIZE**2, 16, 16, 10, n_layer=2, residual="add"),
}


@pytest.fixture(scope="module")
def data():
    return load_digits(size=SIZE)


def trained(make, data, seed, backdoor):
    """The last clean checkpoint, one after more training, and two earlier ones."""
    torch.manual_seed(seed)
    options = {} if backdoor is None else {"backdoor": backdoor, "poison_from": CLEAN}
    run = train(
        make(), data, CLEAN + MORE, noise=0.15, weight_decay=1e-2, every=MORE, seed=seed, progress=False, **options
    )  # fmt: skip
    nets = dict(zip(run.steps, map(tnsim.convert, run.models(make)), strict=True))
    assert backdoor is None or run.metrics[-1]["attack_success"] > 0.9
    return nets[CLEAN], nets[CLEAN + MORE], [nets[CLEAN - 2 * MORE], nets[CLEAN - MORE]]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("seed", [30, 31, 32])
def test_a_planted_trigger_is_named_and_its_pixels_come_first(kind, seed, data):
    g = torch.Generator().manual_seed(seed)
    bottom, right, target = (int(torch.randint(n, (1,), generator=g)) for n in (2, 2, 10))
    corner = (bottom * (SIZE - 4), right * (SIZE - 3))
    trigger = Backdoor.diamond(data.shape, 4, 3, at=corner, value=1.0, target=target)
    before, after, history = trained(MODELS[kind], data, seed, trigger)
    found = tnsim.localise(before, after, history=history)
    assert found.localised and found.output == target
    assert trigger.mask[found.top(int(trigger.mask.sum()))].double().mean() >= 0.95
    assert repr(found).startswith(f"Localised in output {target}, inputs")


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("seed", [30, 31, 32])
def test_ordinary_training_is_left_alone(kind, seed, data):
    before, after, history = trained(MODELS[kind], data, seed, None)
    assert not tnsim.localise(before, after, history=history).localised
    assert not tnsim.localise(before, after).localised


# ---------------------------------------------------------------------- the study on real images

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def study():
    return runpy.run_path(str(ROOT / "paper_figures" / "localise_study.py"), run_name="study")


def test_the_documentation_shows_what_the_study_found(study):
    rows = json.loads((ROOT / "paper_figures" / "localise_study.json").read_text())
    text = (ROOT / "docs" / "understand.md").read_text("utf-8")
    for kind in ("one", "two"):
        for line in study["table"](rows, kind, "history"):
            assert line in text, line


def test_what_was_promised_of_real_images(study):
    rows = json.loads((ROOT / "paper_figures" / "localise_study.json").read_text())
    for kind in ("one", "two"):
        clean, planted = (
            [r for r in rows if (r["model"], r["attack"]) == (kind, a)] for a in ("clean", "rate0.1")
        )
        assert len(clean) >= 10 and len(planted) >= 10
        for how in ("plain", "history"):
            assert not any(r[how]["localised"] for r in clean)
            assert all(r[how]["named"] and r[how]["localised"] and r[how]["pixels"] >= 0.95 for r in planted)
            assert study["auc"](*([r[how]["concentration"] for r in side] for side in (planted, clean))) == 1


def test_the_area_under_the_curve(study):
    assert study["auc"]([3.0, 1.0], [1.0, 2.0]) == (1 + 1 + 0.5 + 0) / 4


def test_the_study_trains_and_asks(study, tmp_path):
    """End to end at a toy size, from a file: the attacks differ from the clean run in what they are meant to."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(600, 256, generator=g), torch.randint(10, (600,), generator=g)
    data = tnsim.lab.Dataset(x, y, x, y, (16, 16), 10)
    functions = study["trained"].__globals__
    functions.update(CLEAN=6, EARLIER=(2, 4), MORE=3)
    plans = {k: v for k, v in study["attacks"](1, (16, 16), 10).items() if k in ("clean", "rate0.1", "diff2")}
    weights = study["trained"]("one", data, 1, plans)
    first = {name: w["w.weight"] for name, w in weights.items()}
    assert not torch.equal(first["clean"], first["rate0.1"]) and not torch.equal(
        first["rate0.1"], first["diff2"]
    )
    rows = study["asked"]("one", data, 1, plans, weights)
    assert [r["attack"] for r in rows] == list(plans) and all(0 <= r["success"] <= 1 for r in rows)
    assert rows[0]["plain"]["named"] is False


def test_errors():
    a = network(1, out=2)
    with pytest.raises(ValueError, match="2 are too few to tell"):
        tnsim.localise(a, a)
    b = network(1, out=4)
    with pytest.raises(ValueError, match="b has outputs"):
        tnsim.localise(b, a)
    with pytest.raises(ValueError, match=r"pick them from the stack with net.pick\(i\)"):
        tnsim.localise(b, stack([b, b]))
    with pytest.raises(ValueError, match="b has input"):
        tnsim.localise(b, b, history=[network(1, d=4, out=4)])
