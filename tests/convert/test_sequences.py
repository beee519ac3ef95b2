"""Models of sequences keep their positions: attention as users write it, converted without a rule."""

import pytest
import quimb.tensor as qtn
import torch
import torch.nn.functional as F
from torch import nn

from tnsim.algebra import Network, WireError, lift
from tnsim.convert import ConvertError, convert
from tnsim.nn import BilinearAttention, BilinearBlock, Transformer

torch.set_num_threads(1)

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


def assert_close(got, want, rtol=1e-10):
    assert got.shape == want.shape, (got.shape, want.shape)
    error = (got - want).abs().max() / want.abs().max().clamp(min=1e-30)
    assert error < rtol, f"relative error {float(error):.1e}"


def seeded(make, *args, **options):
    torch.manual_seed(0)
    return make(*args, **options).double()


def top(net, layer=-1):
    return net.polys[layer].terms[0]


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
    found = {(next(iter(x.tags)), x.inds) for x in term.tensors}
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
    ones = {id(x.data) for t in terms for x in t.tensors if "I" in x.tags}
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
    assert len([t for t in tensors if "I" not in t.tags]) == 1  # the norm is in the matrix


def test_gradients_reach_the_parameters():
    model = seeded(Transformer, 5, 4, 2, 3, ("attn", "mlp"))
    ids = torch.randint(5, (4, 3))
    convert(model, ids)(ids).square().mean().backward()
    got = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model(ids).square().mean().backward()
    for name, p in model.named_parameters():
        assert_close(got[name], p.grad, 1e-8)


# ---------------------------------------------------------------------- one explicit network


def closed(net, x):
    """The value at one sequence, contracted by quimb alone, with x (or (1, x)) on every leg."""
    tn = net.to_quimb()
    single = all(len(f.terms) == 1 for f in net.polys)
    legs = net.collapse().terms[0].legs if single else [(f"in{k}:s", f"in{k}:d") for k in range(net.degree)]
    if not single:
        x = torch.cat((torch.ones(len(x), 1, dtype=x.dtype), x), 1)
    inputs = [qtn.Tensor(x, leg) for leg in legs]
    whole = qtn.TensorNetwork([*tn.tensors, *inputs], check_collisions=False)
    return whole.contract(output_inds=("out:s", "out:d"), optimize="greedy").data


@pytest.mark.parametrize(
    ("blocks", "residual", "bias"),
    [
        (("attn", "mlp"), None, False),
        (("mlp",), "add", True),
        (("mlp", "mlp"), "lerp", False),
        (("attn",), "add", False),
    ],
)
def test_the_explicit_network_says_the_same(blocks, residual, bias):
    model = seeded(Transformer, 2, 2, 1, 2, blocks, d_hidden=2, residual=residual, bias=bias, scale=0.5)
    with torch.no_grad():
        net = convert(model, torch.zeros(1, 2, dtype=torch.long))
        x = torch.randn(2, 2, dtype=torch.float64)
        assert_close(closed(net, x), model(x[None])[0])


@pytest.mark.parametrize("bias", [False, True])
def test_lift_has_a_constant_at_every_position(bias):
    model = seeded(BilinearBlock, 3, 2, "lerp", 0.3, bias)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    (f,) = convert(model, x).polys
    for row in (True, False):
        g = lift(f, constant_row=row)
        assert len(g.terms) == 1 and g.domain == (("s", 2), ("d", 4))
        y = g(torch.cat((torch.ones(4, 2, 1, dtype=torch.float64), x), -1))
        assert_close(y[..., row:], model(x))
        assert not row or torch.allclose(y[..., 0], torch.ones(4, 2, dtype=torch.float64))


# ---------------------------------------------------------------------- other models of sequences


class Module(nn.Module):
    """A module with the given children, buffers and forward."""

    def __init__(self, fn, **parts):
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)
        self.fn = fn

    def forward(self, x):
        return self.fn(self, x)


def lin(n=D, m=D, bias=True):
    return nn.Linear(n, m, bias=bias)


def p(*shape):
    return nn.Parameter(torch.randn(shape))


SEQUENCES = {
    "each position": (lambda: lin(D, 3), (("s", N), ("d", 3))),
    "learned positions": (
        lambda: Module(lambda s, x: s.w(x + s.place[: x.shape[1]]) ** 2, w=lin(), place=p(N, D)),
        (("s", N), ("d", D)),
    ),
    "last position": (lambda: Module(lambda s, x: s.w(x)[:, -1] ** 2, w=lin()), (("d", D),)),
    "mean over positions": (
        lambda: Module(lambda s, x: s.b(s.a(x) ** 2).mean(1), a=lin(), b=lin(D, 3)),
        (("d", 3),),
    ),
    "sum of shifts": (
        lambda: Module(lambda s, x: s.w(x) * x.roll(1, 1) - x.flip(1), w=lin()),
        (("s", N), ("d", D)),
    ),
    "running sum": (lambda: Module(lambda s, x: s.w(x) * x.cumsum(1) + 1, w=lin()), (("s", N), ("d", D))),
    "a gain for every head": (
        lambda: Module(
            lambda s, x: (s.w(x).unflatten(-1, (2, 3)) * s.gain[:, None]).flatten(-2) / s.size,
            w=lin(),
            gain=p(2),
            size=torch.tensor(3.0),
        ),
        (("s", N), ("d", D)),
    ),
    "a matrix over positions": (
        lambda: Module(
            lambda s, x: (s.mix @ s.w(x)) * torch.einsum("st,btd->bsd", s.mix, x), w=lin(), mix=p(N, N)
        ),
        (("s", N), ("d", D)),
    ),
    "heads without projection": (
        lambda: Module(lambda s, x: heads(s, x, x, x), w=lin()),
        (("s", N), ("d", D)),
    ),
    "heads one by one": (
        lambda: Module(
            lambda s, x: s.o(torch.cat([f(x) * g(x) for f, g in zip(s.f, s.g, strict=True)], -1)),
            f=nn.ModuleList(lin(D, 2) for _ in range(2)),
            g=nn.ModuleList(lin(D, 2) for _ in range(2)),
            o=lin(4),
        ),
        (("s", N), ("d", D)),
    ),
    "stacked heads": (
        lambda: Module(
            lambda s, x: torch.stack([f(x) for f in s.f], 1).square().sum(1),
            f=nn.ModuleList(lin() for _ in range(2)),
        ),
        (("s", N), ("d", D)),
    ),
    "torch bilinear": (
        lambda: Module(lambda s, x: s.b(x, s.w(x)), w=lin(), b=nn.Bilinear(D, D, 3)),
        (("s", N), ("d", 3)),
    ),
    "batch norm over channels": (
        lambda: Module(
            lambda s, x: s.n(s.w(x).transpose(1, 2)).transpose(1, 2), w=lin(), n=nn.BatchNorm1d(D)
        ).eval(),
        (("s", N), ("d", D)),
    ),
    "a prefix": (
        lambda: Module(
            lambda s, x: torch.cat((s.first.expand(len(x), 1, D), s.w(x)), 1) ** 2, w=lin(), first=p(1, D)
        ),
        (("s", N + 1), ("d", D)),
    ),
    "masks by where and triu": (
        lambda: Module(
            lambda s, x: torch.where(s.on, s.w(x), 2.0) + (x @ s.w(x).mT).triu(1) @ x,
            w=lin(),
            on=torch.arange(N * D).view(N, D) % 3 == 0,
        ),
        (("s", N), ("d", D)),
    ),
    "flattened in the end": (
        lambda: nn.Sequential(lin(D, 2), nn.Flatten(), lin(2 * N, 3)),
        (("d", 3),),
    ),
    "features first": (lambda: Module(lambda s, x: s.w(x).transpose(1, 2), w=lin(D, 3)), (("d", 3 * N),)),
    "one number for each position": (
        lambda: Module(lambda s, x: s.w(x).square().sum(-1), w=lin()),
        (("d", N),),
    ),
}


def heads(self, q, k, v):
    q, k, v = (t.view(*t.shape[:2], 2, 3).transpose(1, 2) for t in (q, k, self.w(v)))
    return (q @ k.mT @ v).transpose(1, 2).reshape(v.shape[0], N, D)


@pytest.mark.parametrize("name", SEQUENCES)
def test_models_of_sequences(name):
    make, codomain = SEQUENCES[name]
    model = seeded(make)
    x = torch.randn(5, N, D, dtype=torch.float64)
    net = convert(model, x)
    assert net.domain == (("s", N), ("d", D)) and net.codomain == codomain
    assert_close(net(x).flatten(1), model(x).flatten(1))
    assert len(codomain) == 1 or net(x).shape == model(x).shape
    for term in net.polys[0].terms:
        assert not any(set(leg) <= set(x.inds) for leg in term.legs for x in term.tensors)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Flatten(), lin(N * D, 3)),
        lambda: nn.Sequential(nn.Conv1d(N, 2, 3), nn.Flatten()),
        lambda: Module(lambda s, x: s.w(x.reshape(-1, N * D)), w=lin(N * D, 3)),
    ],
)
def test_inputs_of_two_axes_that_are_no_sequence_stay_flat(make):
    model, x = seeded(make), torch.randn(5, N, D, dtype=torch.float64)
    net = convert(model, x)
    assert net.domain == (("d", N * D),) and net.in_shape == (N, D)
    assert_close(net(x), model(x))


def test_token_ids():
    table = nn.Embedding(7, D)
    models = [
        nn.Sequential(table, lin(D, 3)),
        Module(lambda s, x: s.w(F.embedding(x, s.table)), table=p(7, D), w=lin(D, 3)),
        Module(lambda s, x: s.w(F.one_hot(x.long(), 7).to(s.w.weight.dtype)), w=lin(7, 3)),
    ]
    ids = torch.randint(7, (5, N))
    for model in models:
        net = convert(model.double(), ids)
        assert net.in_shape == (N, 7)
        assert_close(net(ids), model(ids))
        assert_close(net(F.one_hot(ids, 7).double()), model(ids))
    with pytest.raises(WireError, match="lie between 0 and 7; this network knows the tokens 0 … 6"):
        net(torch.tensor([[0, 1, 2, 7]]))
    with pytest.raises(WireError, match=r"integers are token ids of shape \(n, 4\)"):
        net(torch.zeros(2, 3, dtype=torch.long))
    images = torch.zeros(2, 2 * 3, dtype=torch.uint8)  # whole numbers that are no tokens
    assert convert(nn.Linear(6, 2), images).in_shape == (6,)


@pytest.mark.parametrize(
    ("model", "example", "parts"),
    [
        (
            Transformer(5, 4, 2, 3),
            None,
            ["Transformer reads sequences", "torch.zeros(1, n_ctx, dtype=torch.long)"],
        ),
        (BilinearAttention(4, 2, 3), None, ["BilinearAttention reads sequences", "torch.zeros(1, n_ctx, d)"]),
        (
            nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2)),
            torch.zeros(1, 3, 5),
            ["Embedding", "dtype=torch.long"],
        ),
        (
            Module(lambda s, x: s.e(x) * x[..., None], e=nn.Embedding(5, 4)),
            torch.zeros(1, 3, dtype=torch.long),
            ["token ids, which are names and not numbers"],
        ),
        (
            Module(lambda s, x: s.e(x) ** 2, e=nn.Embedding(5, 4, max_norm=1.0)),
            torch.zeros(1, 3, dtype=torch.long),
            ["max_norm"],
        ),
        (
            Module(lambda s, x: torch.softmax(s.w(x) @ x.mT, -1) @ x, w=lin(4, 4)),
            torch.zeros(1, 3, 4),
            ["no polynomial form for torch.softmax", "exponentials"],
        ),
        (
            Module(lambda s, x: s.w(x - x.mean(0, keepdim=True)), w=lin(4, 4)),
            torch.zeros(1, 3, 4),
            ["mixes the samples"],
        ),
        (
            Module(lambda s, x: torch.einsum("bsd,bsd", x, x), w=lin(4, 4)),
            torch.zeros(1, 3, 4),
            ["einsum"],
        ),
        (Transformer(5, 4, 2, 3, norm=True).train(), torch.zeros(1, 3, dtype=torch.long), ["eval()"]),
    ],
)
def test_refusals(model, example, parts):
    with pytest.raises(ConvertError) as info:
        convert(model, example)
    for part in parts:
        assert part in str(info.value), str(info.value)
