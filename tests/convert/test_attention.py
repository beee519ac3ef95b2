"""Attention as users write it keeps its positions and its heads: converted without a rule, and as its equation."""

import pytest
import torch
import torch.nn.functional as F
from modules import assert_close, seeded
from torch import nn

from tnsim.algebra import Network
from tnsim.common.wires import WIRE, role_of
from tnsim.convert import convert
from tnsim.nn import BilinearAttention, Transformer

D, N, H, A = 6, 4, 2, 4  # features, positions, heads, features of a head


class Einsum(nn.Module):
    """Parameters of several axes, einsum for everything, tril by the function."""

    def __init__(self, bias=False, rotary=False):
        super().__init__()
        self.q1, self.k1, self.q2, self.k2, self.v = (nn.Parameter(torch.randn(H, A, D)) for _ in range(5))
        self.o = nn.Parameter(torch.randn(D, H, A))
        self.b = nn.Parameter(torch.randn(5, H, A)) if bias else None
        self.register_buffer("turn", rotation(N, A) if rotary else None)

    def heads(self, x, w, i):
        y = torch.einsum("bsd,had->bsha", x, w)
        return y if self.b is None else y + self.b[i]

    def forward(self, x):
        q1, k1, q2, k2, v = (
            self.heads(x, w, i) for i, w in enumerate((self.q1, self.k1, self.q2, self.k2, self.v))
        )
        if self.turn is not None:
            q1, k1, q2, k2 = (torch.einsum("sca,bsha->bshc", self.turn, t) for t in (q1, k1, q2, k2))
        pattern = torch.einsum("bqha,bkha->bhqk", q1, k1) * torch.einsum("bqha,bkha->bhqk", q2, k2)
        return x + torch.einsum(
            "dha,bqha->bqd",
            self.o,
            torch.einsum("...qk,...ka->...qa", pattern.tril() / A**2, v.transpose(1, 2)).transpose(1, 2),
        )


class Transposes(nn.Module):
    """One matrix for all projections, chunk, matmul with transposes, masked_fill; rotary by cat and chunk."""

    def __init__(self, bias=False, rotary=False):
        super().__init__()
        self.qkv = nn.Linear(D, 5 * H * A, bias=bias)
        self.out = nn.Linear(H * A, D, bias=bias)
        self.register_buffer("mask", torch.ones(N, N).tril())
        cos, sin = angles(N, A)
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)
        self.rotary = rotary

    def turn(self, x):
        if not self.rotary:
            return x
        a, b = x.chunk(2, dim=-1)
        return x * self.cos[None, None] + torch.cat([-b, a], dim=-1) * self.sin[None, None]

    def forward(self, x):
        b, n, _ = x.shape
        parts = self.qkv(x).chunk(5, dim=-1)
        q1, k1, q2, k2, v = (t.view(b, n, H, A).transpose(1, 2) for t in parts)
        one = torch.matmul(self.turn(q1), self.turn(k1).transpose(-2, -1)) / A
        two = torch.matmul(self.turn(q2), self.turn(k2).transpose(-2, -1)) / A
        pattern = (one * two).masked_fill(self.mask[:n, :n] == 0, 0.0)
        y = torch.matmul(pattern, v).transpose(1, 2).contiguous().view(b, n, H * A)
        return torch.lerp(x, self.out(y), 0.3)


class Views(nn.Module):
    """Heads in the batch axis of bmm-like products, permute, where; rotary with interleaved pairs."""

    def __init__(self, bias=False, rotary=False):
        super().__init__()
        self.q1, self.k1, self.q2, self.k2, self.v = (nn.Linear(D, H * A, bias=bias) for _ in range(5))
        self.o = nn.Linear(H * A, D, bias=bias)
        cos, sin = angles(N, A)
        self.register_buffer("cos", cos[:, : A // 2])
        self.register_buffer("sin", sin[:, : A // 2])
        self.rotary = rotary
        self.register_buffer("allowed", torch.ones(N, N, dtype=torch.bool).tril())

    def turn(self, x):
        if not self.rotary:
            return x
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * self.cos - odd * self.sin, odd * self.cos + even * self.sin), -1).flatten(
            -2
        )

    def heads(self, x):
        return self.turn(x.unflatten(-1, (H, A)).permute(0, 2, 1, 3))

    def forward(self, x):
        q1, k1, q2, k2 = (self.heads(f(x)) for f in (self.q1, self.k1, self.q2, self.k2))
        v = self.v(x).view(x.size(0), -1, H, A).permute(0, 2, 1, 3)
        pattern = (q1 @ k1.permute(0, 1, 3, 2)) * (q2 @ k2.mT)
        pattern = torch.where(self.allowed, pattern, 0.0)
        return 0.5 * x + 0.1 * self.o((pattern @ v).permute(0, 2, 1, 3).reshape(x.shape[0], x.shape[1], -1))


def angles(n, a):
    angle = torch.outer(
        torch.arange(n, dtype=torch.float64), 10.0 ** -torch.arange(0, 1, 2 / a, dtype=torch.float64)
    )
    angle = torch.cat((angle, angle), -1)
    return angle.cos(), angle.sin()


def rotation(n, a):
    cos, sin = angles(n, a)
    half = torch.eye(a, dtype=torch.float64).roll(a // 2, 0) * torch.tensor(
        [1.0] * (a // 2) + [-1.0] * (a // 2)
    )
    return torch.eye(a) * cos[:, None, :] + half * sin[:, :, None]


STYLES = {"einsum": Einsum, "transposes": Transposes, "views": Views}


@pytest.mark.parametrize("rotary", [False, True], ids=["plain", "rotary"])
@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("style", STYLES)
def test_attention_as_users_write_it(style, bias, rotary):
    model = seeded(STYLES[style], bias, rotary)
    x = torch.randn(5, N, D, dtype=torch.float64)
    net = convert(model, x)
    assert isinstance(net, Network) and net.domain == net.codomain == (("s", N), ("d", D))
    assert_close(net(x), model(x))
    (layer,) = net.polys
    term = layer.terms[0]
    q, k = "out:s", "k:s"
    assert sorted(leg[0] for leg in term.legs) == sorted([q, q, k, k, k])
    assert term.out == (q, "out:d")
    for t in layer.terms:
        for leg in t.legs:
            holders = [x for x in t.tensors if leg[1] in x.inds]
            assert (
                len(holders) == 1 and leg[0] not in holders[0].inds
            )  # one weight a leg, the same at every position
    biases = {False: 0, True: 4 + 1 if style == "views" else 5}[bias]
    degrees = [t.degree for t in layer.terms]
    assert degrees.count(5) == 1 and degrees.count(4) == (5 if biases else 0)
    turns = [x for x in term.tensors if q in x.inds or k in x.inds]
    assert len(turns) == 1 + 4 * rotary  # the mask, and one rotation for each query and key
    assert all(x.shape == (N, A, A) for x in turns if len(x.inds) == 3)


def test_the_layer_is_its_equation():
    model = seeded(BilinearAttention, 8, 2, 3, base=None)
    (term,) = convert(model, torch.zeros(1, 3, 8)).polys[0].terms
    found = {(role_of(x.tags), x.inds) for x in term.tensors}
    assert found == {
        ("Q1", ("hid:h", "hid1:h", "in0:d")),
        ("K1", ("hid:h", "hid1:h", "in1:d")),
        ("Q2", ("hid:h", "hid2:h", "in2:d")),
        ("K2", ("hid:h", "hid2:h", "in3:d")),
        ("MASK", ("out:s", "k:s")),
        ("V", ("hid:h", "hid3:h", "in4:d")),
        ("O", ("out:d", "hid:h", "hid3:h")),
    }
    assert term.legs == tuple(
        zip(("out:s", "k:s", "out:s", "k:s", "k:s"), (f"in{i}:d" for i in range(5)), strict=True)
    )
    memory = {x.data.untyped_storage().data_ptr() for x in term.tensors if "Q1" in x.tags}
    assert memory == {model.q1.weight.untyped_storage().data_ptr()}  # a view, not a copy


def test_terms_of_lower_degree_share_the_arrays_of_the_top_one():
    model = seeded(BilinearAttention, 8, 2, 3, base=10.0, bias="qk", residual="add", scale=0.35)
    terms = convert(model, torch.zeros(1, 3, 8)).polys[0].terms
    assert [t.degree for t in terms] == [5, *[4] * 4, *[3] * 6, *[2] * 4, 1, 1]
    arrays = {id(x.data) for x in terms[0].tensors}
    biases = {id(x.data) for t in terms for x in t.tensors} - arrays
    ones = {id(x.data) for t in terms for x in t.tensors if WIRE in x.tags}
    assert len(biases - ones) == 4


OPTIONS = {
    "one head": dict(n_head=1, d_head=4),
    "tied": dict(tied=True, bias=True),
    "diagonal": dict(mask="diagonal", base=None),
    "no mask": dict(mask=None, residual="lerp", scale=0.2),
    "biased": dict(bias=True, residual="add", scale=0.35),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_attention_layers(name):
    model = seeded(BilinearAttention, D, n_ctx=N, **{"n_head": 3, **OPTIONS[name]})
    x = torch.randn(5, N, D, dtype=torch.float64)
    net = convert(model, x)
    assert_close(net(x), model(x))
    assert_close(convert(model, x[:, :2])(x[:, :2]), model(x[:, :2]))  # a shorter sequence


@pytest.mark.parametrize("blocks", [("attn", "attn"), ("attn", "mlp"), ("mlp", "attn", "mlp")])
def test_transformers(blocks):
    model = seeded(Transformer, 7, D, 2, N, blocks, norm=True, d_head=A, scale=0.5, bias="qk").eval()
    model.unembed.energy.fill_(2.3)
    ids = torch.randint(7, (5, N))
    one_hot = F.one_hot(ids, 7).double()
    net = convert(model, ids)
    assert net.names == ("embed", *(f"blocks.{i}" for i in range(len(blocks))), "unembed")
    assert net.in_shape == (N, 7) and net.codomain == (("s", N), ("d", 7))
    assert_close(net(ids), model(ids))
    assert_close(net(one_hot), model(ids))
    assert_close(net(ids[0]), model(ids[:1])[0])
    x = torch.randn(3, N, 7, dtype=torch.float64)
    assert_close(net(x), model(x))  # on vectors too
    assert convert(model, one_hot).signature() == net.signature()
    stream = model.embed(ids)
    for i, block in enumerate(model.blocks):
        assert_close(net[f"blocks.{i}"](stream), block(stream))
        stream = block(stream)
    tensors = net["unembed"].terms[0].tensors
    assert len([t for t in tensors if WIRE not in t.tags]) == 1  # the norm is in the matrix


def test_gradients_reach_the_parameters():
    model = seeded(Transformer, 5, 4, 2, 3, ("attn", "mlp"))
    ids = torch.randint(5, (4, 3))
    convert(model, ids)(ids).square().mean().backward()
    got = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model(ids).square().mean().backward()
    for name, p in model.named_parameters():
        assert_close(got[name], p.grad, 1e-8)
