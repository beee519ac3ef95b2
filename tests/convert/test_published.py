"""Modules as people publish them: each converts as it is, equals itself, and is cut where all data passes one tensor."""

import pytest
import torch
from modules import assert_close
from published_zoo import CIN, GCN, GPT2, MODULES, TOKENS, Hyena, Mixer, PiNet, UNet

from tnsim.convert import convert


def made(kind):
    torch.manual_seed(0)
    return kind().double().eval()


def check(model, x):
    net = convert(model, x[:1])
    want = model(x)
    assert_close(net(x).reshape(want.shape), want)
    return net


@pytest.mark.parametrize(("kind", "shape"), MODULES, ids=lambda v: getattr(v, "__name__", str(v)))
def test_modules(kind, shape):
    x = torch.randn(4, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    check(made(kind), x)


@pytest.mark.parametrize(("kind", "sizes"), TOKENS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_tokens(kind, sizes):
    generator = torch.Generator().manual_seed(1)
    check(made(kind), torch.stack([torch.randint(n, (4,), generator=generator) for n in sizes], 1))


@pytest.mark.parametrize(
    ("kind", "shape", "degrees"),
    [
        (Mixer, (3, 4), [2, 2]),
        (GPT2, (3, 4), [3, 1]),
        (CIN, (3, 4), [3, 1]),
        (PiNet, (4,), [3, 1]),
        (UNet, (1, 4, 4), [1, 2, 1]),
        (Hyena, (3, 4), [1, 1, 3]),
        (GCN, (3, 4), [1, 2, 1]),
    ],
)
def test_cuts(kind, shape, degrees):
    net = convert(made(kind), torch.zeros(1, *shape))
    assert [f.degree for f in net.polys] == degrees
