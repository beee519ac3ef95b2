"""Every idiom, converted, equals itself: in its values and in its gradients, and positions stay wires."""

import pytest
import torch
from idiom_zoo import ANYWHERE, FLAT, FLAT_ONLY, SEQUENCE, SEQUENCES, TOKENS, N, module
from modules import Forward, assert_close
from torch import nn

from tnsim import Gaussian, similarity
from tnsim.algebra import WireError, stack
from tnsim.convert import convert

CASES = {
    **{f"{name}, flat": (entry, FLAT) for name, entry in {**ANYWHERE, **FLAT_ONLY}.items()},
    **{f"{name}, sequence": (entry, SEQUENCE) for name, entry in {**ANYWHERE, **SEQUENCES}.items()},
}
SPREAD = {  # entries of positions and features are mixed at once
    *(
        "conv over positions",
        "FNet",
        "long convolution by fft",
        "weights for every position",
        "windows of positions",
    ),
}


def check(net, model, x):
    want = model(x)
    assert want.abs().max() > 0
    got = net(x)
    assert_close(got.flatten(1) if want.dim() > 1 else got, want.flatten(1) if want.dim() > 1 else want)
    parameters = list(model.parameters())
    if parameters:
        mine, theirs = (
            torch.autograd.grad(y.square().sum(), parameters, allow_unused=True) for y in (got, want)
        )
        for a, b in zip(mine, theirs, strict=True):
            a, b = (torch.zeros(1, dtype=torch.float64) if g is None else g for g in (a, b))
            assert (a - b).abs().max() <= 1e-9 * b.abs().max().clamp(min=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_idioms(name):
    entry, shape = CASES[name]
    model = module(entry)
    x = torch.randn(4, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    net = convert(model, x)
    check(net, model, x)
    assert net.in_shape == shape
    if len(shape) == 2 and name.partition(",")[0] not in SPREAD:
        assert net.domain[0] == ("s", N), "positions became features"


@pytest.mark.parametrize("name", TOKENS)
def test_tokens(name):
    *entry, sizes = TOKENS[name]
    model = module(entry)
    generator = torch.Generator().manual_seed(1)
    ids = torch.stack([torch.randint(n, (6,), generator=generator) for n in sizes], 1)
    net = convert(model, ids[:1])
    assert net.in_shape[0] == len(sizes) and net.in_shape[1] >= max(sizes)
    check(net, model, ids)


def test_ids_that_a_smaller_table_does_not_know_are_refused():
    """Two tables of different size: an id of the larger is none of the smaller, at the positions that this reads."""
    model = Forward(
        lambda s, t: s.a(t[:, 0]) * s.b(t[:, 1]), a=nn.Embedding(5, 3), b=nn.Embedding(7, 3)
    ).double()
    net = convert(model, torch.zeros(1, 2, dtype=torch.long))
    assert_close(net(torch.tensor([[4, 6]])), model(torch.tensor([[4, 6]])))
    for other in (net, net[:1], net.to(dtype="float32"), stack([net, net])):
        with pytest.raises(WireError, match=r"position 0 lie between 0 and 5.*0 … 4"):
            other(torch.tensor([[0, 0], [5, 6]]))
    both = Forward(lambda s, t: s.a(t) * s.b(t), a=nn.Embedding(5, 3), b=nn.Embedding(7, 3)).double()
    net = convert(both, torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(WireError, match=r"the tokens 0 … 4"):
        net(torch.tensor([[0, 5]]))


def test_an_example_says_which_ids_are_legal_where_zero_is_none():
    model = Forward(lambda s, t: s.a(t - 5) ** 2, a=nn.Embedding(5, 3)).double()
    ids = torch.tensor([[5, 9], [7, 6]])
    net = convert(model, ids)
    assert_close(net(ids), model(ids))
    with pytest.raises(WireError, match=r"know the tokens 5 … 9"):
        net(torch.tensor([[4, 6]]))


ASKED = [
    "einsum, a weight and two copies",
    "folded into the batch by reshape",
    "batch norm over batch and positions",
    "folded heads",
    "sum over two axes",
    "flattened and summed",
    "convolution by fft",
    "var",
    "cumprod",
    "index_add",
    "where of two branches",
    "powers by channel",
    "complex weights",
    "a norm, squared",
]


@pytest.mark.parametrize("name", ASKED)
def test_idioms_are_like_themselves(name):
    """Converted networks can be asked, also those whose tensors came about in roundabout ways."""
    entry = {**ANYWHERE, **SEQUENCES}[name]
    shape = SEQUENCE if name in SEQUENCES else FLAT
    with torch.no_grad():
        net = convert(module(entry), torch.zeros(1, *shape))
        law = Gaussian(n_ctx=N) if name in SEQUENCES else Gaussian()
        assert abs(float(similarity(net, net, under=law, method="layerwise")) - 1) < 1e-9
