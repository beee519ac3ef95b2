"""Shares of heads: each is the integral along its gain, and together they are what heads add to the distance."""

import pytest
import torch
from attention import Attention
from oracle import along, nodes
from zoo import network, rand

import tnsim
from tnsim.algebra import Network, poly
from tnsim.analysis.change.head_gains import head_gained, heads

HEADS = {
    "plain": dict(),
    "rotary, residual": dict(rotary=True, residual=0.5),
    "tied": dict(tied=True, residual=0.5),
    "biased": dict(bias=("Q1", "O"), residual=0.5),
    "several biases": dict(bias=("Q1", "K1", "V", "O"), residual=0.5),
}


def scaled(layer, gains, x):
    """The layer with a gain on every head, computed by hand."""
    kept, layer.O = layer.O, layer.O * gains[None, :, None]
    y = layer(x)
    layer.O = kept
    return y


@pytest.mark.parametrize("kind", HEADS)
def test_heads_share_the_integral_along_their_gains(kind):
    layers = [Attention(n=2, **HEADS[kind]) for _ in range(2)]
    tail = rand(2, 2)
    nets = [
        Network(
            (("attn", f.poly()), ("head", poly("U[out@p,in0@p] one[p]", U=tail, one=torch.ones(2).double())))
        )
        for f in layers
    ]
    x, w = nodes(4, 10)
    x = x.reshape(-1, 2, 2)

    def value(gains):
        a, b = (scaled(f, gains, x) @ tail.T for f in layers)
        return w @ (a - b).square()[:, 1].sum(-1)

    shares = tnsim.attribute(*nets, to="heads", layer="attn", output=1)  # of the second position
    torch.testing.assert_close(shares, along(value, 2), rtol=1e-9, atol=1e-9 * shares.abs().max().item())
    gap = value(torch.ones(2).double()) - value(torch.zeros(2).double())
    torch.testing.assert_close(shares.sum(), gap, rtol=1e-9, atol=1e-9)


def test_a_head_that_is_the_same_and_alone_in_its_outputs_shares_nothing():
    a, b = (Attention(n=2, d=2, bias=("Q1",)) for _ in range(2))
    for name in a.w:
        b.w[name][0] = a.w[name][0]
    b.b["Q1"][0] = a.b["Q1"][0]
    b.O[:, 0] = a.O[:, 0]
    for f in (a, b):
        f.O[0, 1] = f.O[1, 0] = 0  # head 0 writes output 0, head 1 output 1
    shares = tnsim.attribute(*(Network((("attn", f.poly()),)) for f in (a, b)), to="heads")
    assert abs(shares[0]) < 1e-12 * shares[1]


def test_heads_below_other_layers_layer_by_layer():
    """Degree five in the gains twice over: the rule of integration is exact there too."""
    nets = [
        Network((("one", Attention(n=2, residual=0.5).poly()), ("two", Attention(residual=0.5).poly())))
        for _ in range(2)
    ]

    def value(gains):
        a, b = (head_gained(net, "one", gains) for net in nets)
        ask = dict(method="layerwise")
        return tnsim.inner(a, **ask) - 2 * tnsim.inner(a, b, **ask) + tnsim.inner(b, **ask)

    shares = tnsim.attribute(*nets, to="heads", layer="one", method="layerwise")
    gap = value(torch.ones(2).double()) - value(torch.zeros(2).double())
    torch.testing.assert_close(shares.sum(), gap, rtol=1e-9, atol=0)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("o", [None, 1])
def test_a_single_head_has_all_that_heads_have(kind, o):
    if o and "residual" in HEADS[kind]:
        pytest.skip("a residual connection keeps the width")
    a, b = (Attention(n=1, o=o, **HEADS[kind]) for _ in range(2))
    nets = [Network((("attn", f.poly()),)) for f in (a, b)]
    x, w = nodes(4, 10)
    x = x.reshape(-1, 2, 2)

    def value(gains):
        return w @ (scaled(a, gains, x) - scaled(b, gains, x)).square().sum((1, 2))

    shares = tnsim.attribute(*nets, to="heads")
    torch.testing.assert_close(shares, along(value, 1), rtol=1e-9, atol=1e-9 * shares.abs().max().item())


def test_layers_without_heads_are_named():
    def net(**kw):
        return Network((("attn", Attention(**kw).poly()),))

    with pytest.raises(ValueError, match=r"blocks\.0 has no heads: it needs attention"):
        tnsim.attribute(network(1), network(1), to="heads", layer="blocks.0")
    with pytest.raises(ValueError, match="no layer has heads"):
        tnsim.attribute(network(1), network(1), to="heads")
    with pytest.raises(ValueError, match="2 heads in a and 3 in b"):
        tnsim.attribute(net(n=2), net(n=3), to="heads")


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("more", [dict(), dict(base=None), dict(tied=True, residual="lerp", norm=True)])
def test_heads_of_a_converted_transformer(more, count):
    ids = torch.tensor([[0, 1]])
    models = [
        tnsim.nn.Transformer(3, 4, count, 2, ("attn",), scale=0.5, **more).double().eval() for _ in "ab"
    ]
    nets = [tnsim.convert(m, ids) for m in models]
    shares = tnsim.attribute(*nets, to="heads")
    total = tnsim.attribute(*nets).sum()
    with torch.no_grad():
        for m in models:
            m.blocks[0].o.weight.zero_()  # no head writes
    rest = tnsim.attribute(*(tnsim.convert(m, ids) for m in models)).sum()
    torch.testing.assert_close(shares.sum(), total - rest, rtol=1e-9, atol=1e-9 * total.item())


@pytest.mark.parametrize(
    "more", [dict(), dict(bias=True), dict(bias="qk", tied=True), dict(mask=None, base=None)]
)
@pytest.mark.parametrize("count", [1, 3])
def test_a_gain_on_a_head_is_one_on_its_output(more, count):
    model = tnsim.nn.Transformer(3, 6, count, 2, ("attn",), scale=0.5, **more).double()
    ids = torch.tensor([[0, 1], [2, 2]])
    net, gains = tnsim.convert(model, ids[:1]), rand(count)
    assert heads(net["blocks.0"]) == count
    found = head_gained(net, "blocks.0", gains)(ids)
    with torch.no_grad():
        model.blocks[0].o.weight *= gains.repeat_interleave(6 // count)
    torch.testing.assert_close(found, model(ids), rtol=1e-10, atol=1e-10)


class Biased(torch.nn.Module):
    """Two heads with biases everywhere, written as people do; flat, positions are a view of the input."""

    def __init__(self, flat):
        super().__init__()
        self.flat = flat
        self.qkv, self.o = torch.nn.Linear(2, 12), torch.nn.Linear(4, 2)

    def forward(self, x):
        z = x.view(len(x), 3, 2)
        q, k, v = (t.view(*t.shape[:2], 2, 2).transpose(1, 2) for t in self.qkv(z).chunk(3, -1))
        y = self.o((q @ k.mT @ v).transpose(1, 2).flatten(2))
        return y.flatten(1) if self.flat else y


@pytest.mark.parametrize("flat", [False, True])
def test_shares_of_heads_are_what_heads_add(flat):
    """Without heads the output is the last bias, at every position."""
    torch.manual_seed(0)
    modules = [Biased(flat).double().requires_grad_(False) for _ in range(2)]
    shape = (6,) if flat else (3, 2)
    a, b = (tnsim.convert(m, torch.zeros(1, *shape).double()) for m in modules)
    without = 3 * (modules[0].o.bias - modules[1].o.bias).square().sum()
    shares = tnsim.attribute(a, b, to="heads")
    assert shares.shape == (2,)
    torch.testing.assert_close(
        shares.sum(), tnsim.inner(tnsim.difference(a, b)) - without, rtol=1e-10, atol=0, check_dtype=False
    )


class OneNumber(torch.nn.Module):
    """Attention whose output is added up."""

    def __init__(self, heads):
        super().__init__()
        self.attention = tnsim.nn.BilinearAttention(4, heads, n_ctx=2)

    def forward(self, x):
        return self.attention(x).sum((1, 2))


@pytest.mark.parametrize("n", [1, 2])
def test_models_of_one_number_have_heads_or_say_that_they_have_none(n):
    torch.manual_seed(0)
    a, b = (tnsim.convert(OneNumber(n).double(), torch.zeros(1, 2, 4).double()) for _ in range(2))
    if n == 1:
        with pytest.raises(ValueError, match="no layer has heads"):
            tnsim.attribute(a, b, to="heads")
    else:
        shares = tnsim.attribute(a, b, to="heads")
        whole = tnsim.inner(tnsim.difference(a, b))
        torch.testing.assert_close(shares.sum(), whole, rtol=1e-10, atol=0, check_dtype=False)
