"""Images keep their axes where a matrix between all of their entries would be too large."""

import sys

import pytest
import torch
from image_zoo import IMAGES, Square
from modules import Forward, assert_close, fails
from torch import nn

from tnsim import Empirical, Gaussian, similarity
from tnsim.convert import convert

ASSEMBLE = sys.modules["tnsim.convert.layers.assemble"]


def made(name, seed=0):
    make, shape = IMAGES[name]
    torch.manual_seed(seed)
    model = make().double().eval()
    for key, t in model.named_buffers():
        if "running_var" in key:
            t.uniform_(0.5, 2)
    return model, torch.randn(4, *shape, dtype=torch.float64)


@pytest.fixture
def small(monkeypatch):
    """Small images are too large, too."""
    monkeypatch.setattr(ASSEMBLE, "_LARGE", 0)


@pytest.mark.parametrize("name", IMAGES)
def test_equal_values_and_gradients(name, small):
    model, x = made(name)
    net = convert(model, x)
    assert len(net.domain) > 1 and all(s != "s" for s, _ in net.domain), net.domain
    got, want = net(x).flatten(1), model(x).flatten(1)
    assert_close(got, want)
    parameters = list(model.parameters())
    for a, b in zip(*(torch.autograd.grad(y.square().sum(), parameters) for y in (got, want)), strict=True):
        assert (a - b).abs().max() <= 1e-9 * b.abs().max()


@pytest.mark.parametrize("name", IMAGES)
def test_both_forms_have_the_same_similarity(name, monkeypatch):
    models = [made(name, seed)[0] for seed in (0, 1)]
    x = made(name)[1]
    with torch.no_grad():
        flat = [convert(m, x) for m in models]
        monkeypatch.setattr(ASSEMBLE, "_LARGE", 0)
        axes = [convert(m, x) for m in models]
        assert len(axes[0].domain) > len(flat[0].domain) or flat[0].domain[0][0] == "s"
        value = similarity(*axes)
        assert_close(value, similarity(*flat))
        assert_close(similarity(axes[0], flat[1]), value)  # they are brought together
        assert_close(similarity(*axes, under=Empirical(x)), similarity(*flat, under=Empirical(x)))


def test_a_law_of_images(small):
    """Mean and covariance of images, given flat or in their shape, against a model of vectors."""
    model, x = made("convolved, squared, pooled")
    other, _ = made("convolved, squared, pooled", 1)
    generator = torch.Generator().manual_seed(2)
    mean = torch.randn(x[0].numel(), dtype=torch.float64, generator=generator)
    root = torch.randn(len(mean), len(mean), dtype=torch.float64, generator=generator)
    vectors = [nn.Sequential(nn.Unflatten(1, x.shape[1:]), m) for m in (model, other)]
    with torch.no_grad():
        axes = [convert(m, x) for m in (model, other)]
        ASSEMBLE._LARGE = 10**7
        flat = [convert(m, x.flatten(1)) for m in vectors]
        want = similarity(*flat, under=Gaussian(mean, root @ root.T))
        for shaped in (mean, mean.reshape(x.shape[1:])):
            assert_close(similarity(*axes, under=Gaussian(shaped, root @ root.T)), want)


def test_a_large_image_stays_small():
    """3072 by 16384 entries would be a matrix of 5e7 numbers: here the largest array is the weight of the head."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), Square(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4096, 10)
    ).double()
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        net = convert(model, x)
        assert max(a.numel() for f in net.polys for a in f.arrays()) == 10 * 4096
        assert net.domain == (("c", 3), ("y", 32), ("x", 32)) and net.in_shape == (3, 32, 32)
        assert_close(net(x), model(x))
        assert_close(net(x.flatten(1)), model(x))


def test_a_mean_over_a_large_image_is_compared():
    def model():
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), Square(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
        ).double()

    torch.manual_seed(0)
    a, b, x = model(), model(), torch.zeros(1, 3, 32, 32)
    vector = nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), Square(), nn.Linear(8, 10)).double()
    with torch.no_grad():
        a, b, c = (convert(m, x) for m in (a, b, vector))
        assert abs(float(similarity(a, a)) - 1) < 1e-9
        assert abs(float(similarity(a, b))) < 1 and abs(float(similarity(a, c))) < 1


def test_what_has_no_structure_is_refused_before_it_is_a_matrix():
    model = Forward(lambda s, x: torch.fft.rfft(s.c(x).flatten(1)).real ** 2, c=nn.Conv2d(3, 3, 3, padding=1))
    fails(
        model, "rfft would be a dense matrix between all of 12288 entries", example=torch.zeros(1, 3, 64, 64)
    )


def test_windows_and_convolutions_keep_positions():
    parts = dict(c=nn.Conv1d(4, 4, 3, padding=1, groups=2), l=nn.Linear(4, 4))
    for fn in (
        lambda s, x: s.c(x.transpose(1, 2)).transpose(1, 2) * s.l(x),
        lambda s, x: x.unfold(1, 2, 1).prod(-1) @ s.l.weight,
    ):
        torch.manual_seed(0)
        model = Forward(fn, **parts).double()
        x = torch.randn(2, 5, 4, dtype=torch.float64)
        net = convert(model, x)
        assert net.domain == (("s", 5), ("d", 4)) and net.codomain[0][0] == "s"
        assert_close(net(x), model(x))


def test_a_square_of_a_sum_has_three_terms(small):
    net = convert(nn.Sequential(nn.Conv2d(2, 3, 3), Square()), torch.zeros(1, 2, 4, 4))
    assert [t.degree for t in net.polys[0].terms] == [2, 1, 0]
