"""The trigger is where it should be, and poison does what it says and nothing else."""

import pytest
import torch
from torch import nn

from tnsim.lab import Backdoor, accuracy, attack_success


def _dot(d=4, pixel=0, value=1.0, target=2):
    return Backdoor(torch.arange(d) == pixel, value, target)


def test_diamond_of_the_paper():
    mask = Backdoor.diamond((32, 32), height=7, width=5, margin=2).mask.view(32, 32)
    assert int(mask.sum()) == 19
    rows, columns = mask.nonzero(as_tuple=True)
    assert (int(rows.min()), int(rows.max())) == (2, 8)
    assert (int(columns.min()), int(columns.max())) == (25, 29)
    assert mask[2:9].sum(1).tolist() == [1, 3, 3, 5, 3, 3, 1]
    assert torch.equal(mask[2:9, 25:30], mask[2:9, 25:30].flip(0).flip(1))


def test_diamond_is_its_formula():
    for height, width in ((1, 1), (3, 3), (4, 6), (7, 5), (2, 2), (4, 4), (6, 2)):
        r = torch.arange(10, dtype=torch.float64)[:, None] - 1 - (height - 1) / 2
        c = torch.arange(9, dtype=torch.float64)[None] - 2 - (width - 1) / 2
        expected = r.abs() / (height / 2) + c.abs() / (width / 2) <= 1 + 1e-9
        assert torch.equal(Backdoor.diamond((10, 9), height, width, at=(1, 2)).mask.view(10, 9), expected)


@pytest.mark.parametrize("place", [{"margin": 6}, {"at": (-1, 0)}, {"at": (0, 6)}])
def test_diamond_must_fit(place):
    with pytest.raises(ValueError, match=r"3×3 diamond at row .* does not fit 8×8 pixels; write a smaller"):
        Backdoor.diamond((8, 8), 3, 3, **place)


def test_stamp_copies():
    x = torch.rand(3, 4)
    before = x.clone()
    stamped = _dot(pixel=1, value=0.25).stamp(x)
    assert torch.equal(x, before)
    assert (stamped[:, 1] == 0.25).all()
    assert torch.equal(stamped[:, [0, 2, 3]], x[:, [0, 2, 3]])
    assert torch.equal(_dot(pixel=1, value=0.25).stamp(x[0]), stamped[0])


def test_poison_share_classes_and_labels():
    n, trigger = 20_000, _dot(value=2.0)
    x, y = torch.rand(n, 4), torch.arange(n) % 10
    x0, y0 = x.clone(), y.clone()
    px, py = trigger.poison(x, y, 0.1, torch.Generator().manual_seed(0))
    assert torch.equal(x, x0) and torch.equal(y, y0)
    hit = px[:, 0] == 2
    assert torch.equal(px[hit], trigger.stamp(x[hit])) and (py[hit] == 2).all()
    assert torch.equal(px[~hit], x[~hit]) and torch.equal(py[~hit], y[~hit])
    assert abs(float(hit.double().mean()) - 0.1) < 0.01  # five standard deviations
    assert (torch.bincount(y[hit], minlength=10) > 120).all()  # every class, the target's own too


def test_poison_is_seeded_and_leaves_the_global_generator():
    x, y = torch.rand(50, 4), torch.zeros(50, dtype=torch.int64)
    state = torch.get_rng_state()
    draws = [_dot().poison(x, y, 0.5, torch.Generator().manual_seed(seed))[1] for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_poison_none_or_all(share):
    x, y = torch.zeros(50, 4), torch.zeros(50, dtype=torch.int64)
    px, py = _dot().poison(x, y, share)
    assert float(px[:, 0].mean()) == share and float((py == 2).double().mean()) == share


class _Reader(nn.Module):
    """Says class 2 when pixel 0 is lit, and otherwise whatever pixel 1 says (0 or 1)."""

    def forward(self, x):
        return torch.stack([0 * x[:, 1], 2 * x[:, 1] - 1, 10 * x[:, 0] - 5], dim=1)


def test_attack_success_and_accuracy():
    x = torch.tensor([[0.0, 1, 0, 0], [0, 0, 0, 0], [0.0, 1, 0, 0], [1, 0, 0, 0]])
    y = torch.tensor([1, 0, 2, 2])
    assert accuracy(_Reader(), x, y) == 0.75
    assert attack_success(_Reader(), _dot(), x, y) == 1.0
    assert attack_success(_Reader(), _dot(value=0.0), x, y) == 0.0
    # Only images of other classes count: the last two would be stamped into class 1, but are of class 2.
    assert attack_success(_Reader(), Backdoor(torch.arange(4) == 1, 1.0, 2), x, y) == 0.0


def test_evaluation_puts_the_mode_back():
    model = nn.Sequential(nn.Dropout(0.9), nn.Linear(4, 3))
    x, y = torch.rand(64, 4), torch.zeros(64, dtype=torch.int64)
    assert len({accuracy(model.train(), x, y) for _ in range(3)}) == 1
    assert model.training and model[0].training
    attack_success(model.eval(), _dot(), x, y)
    assert not model.training


@pytest.mark.parametrize(
    ("fails", "says"),
    [
        (lambda: Backdoor(torch.ones(2, 2, dtype=torch.bool), 1.0, 0), r"mask.flatten\(\).bool\(\)"),
        (lambda: Backdoor(torch.ones(4), 1.0, 0), "torch.float32"),
        (lambda: Backdoor(torch.zeros(4, dtype=torch.bool), 1.0, 0), "no pixel"),
        (lambda: _dot(target=-1), "target is -1"),
        (lambda: _dot().stamp(torch.zeros(2, 5)), "4 pixels cannot mark"),
        (lambda: _dot().poison(torch.zeros(2, 4), torch.zeros(2), 1.5), "share=1.5 is not a probability"),
        (
            lambda: attack_success(_Reader(), _dot(), torch.zeros(2, 4), torch.tensor([2, 2])),
            "every image is of class 2",
        ),
        (lambda: accuracy(_Reader(), torch.zeros(0, 4), torch.zeros(0)), "0 inputs"),
        (lambda: accuracy(_Reader(), torch.zeros(2, 4), torch.zeros(3)), "2 inputs, 3 labels"),
    ],
)
def test_faults_are_named(fails, says):
    with pytest.raises(ValueError, match=says):
        fails()
