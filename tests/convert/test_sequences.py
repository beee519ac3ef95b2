"""Models of sequences other than attention keep their positions too; the networks of sequences as one network."""

import pytest
import quimb.tensor as qtn
import torch
import torch.nn.functional as F
from modules import Forward, assert_close, fails, p, seeded
from torch import nn

from tnsim.algebra import WireError, lift
from tnsim.convert import convert
from tnsim.nn import BilinearAttention, BilinearBlock, Transformer

D, N = 6, 4  # features, positions


def lin(n=D, m=D, bias=True):
    return nn.Linear(n, m, bias=bias)


SEQUENCES = {
    "each position": (lambda: lin(D, 3), (("s", N), ("d", 3))),
    "learned positions": (
        lambda: Forward(lambda s, x: s.w(x + s.place[: x.shape[1]]) ** 2, w=lin(), place=p(N, D)),
        (("s", N), ("d", D)),
    ),
    "last position": (lambda: Forward(lambda s, x: s.w(x)[:, -1] ** 2, w=lin()), (("d", D),)),
    "mean over positions": (
        lambda: Forward(lambda s, x: s.b(s.a(x) ** 2).mean(1), a=lin(), b=lin(D, 3)),
        (("d", 3),),
    ),
    "sum of shifts": (
        lambda: Forward(lambda s, x: s.w(x) * x.roll(1, 1) - x.flip(1), w=lin()),
        (("s", N), ("d", D)),
    ),
    "running sum": (lambda: Forward(lambda s, x: s.w(x) * x.cumsum(1) + 1, w=lin()), (("s", N), ("d", D))),
    "a gain for every head": (
        lambda: Forward(
            lambda s, x: (s.w(x).unflatten(-1, (2, 3)) * s.gain[:, None]).flatten(-2) / s.size,
            w=lin(),
            gain=p(2),
            size=torch.tensor(3.0),
        ),
        (("s", N), ("d", D)),
    ),
    "a matrix over positions": (
        lambda: Forward(
            lambda s, x: (s.mix @ s.w(x)) * torch.einsum("st,btd->bsd", s.mix, x), w=lin(), mix=p(N, N)
        ),
        (("s", N), ("d", D)),
    ),
    "heads without projection": (
        lambda: Forward(lambda s, x: heads(s, x, x, x), w=lin()),
        (("s", N), ("d", D)),
    ),
    "heads one by one": (
        lambda: Forward(
            lambda s, x: s.o(torch.cat([f(x) * g(x) for f, g in zip(s.f, s.g, strict=True)], -1)),
            f=nn.ModuleList(lin(D, 2) for _ in range(2)),
            g=nn.ModuleList(lin(D, 2) for _ in range(2)),
            o=lin(4),
        ),
        (("s", N), ("d", D)),
    ),
    "stacked heads": (
        lambda: Forward(
            lambda s, x: torch.stack([f(x) for f in s.f], 1).square().sum(1),
            f=nn.ModuleList(lin() for _ in range(2)),
        ),
        (("s", N), ("d", D)),
    ),
    "torch bilinear": (
        lambda: Forward(lambda s, x: s.b(x, s.w(x)), w=lin(), b=nn.Bilinear(D, D, 3)),
        (("s", N), ("d", 3)),
    ),
    "batch norm over channels": (
        lambda: Forward(
            lambda s, x: s.n(s.w(x).transpose(1, 2)).transpose(1, 2), w=lin(), n=nn.BatchNorm1d(D)
        ).eval(),
        (("s", N), ("d", D)),
    ),
    "a prefix": (
        lambda: Forward(
            lambda s, x: torch.cat((s.first.expand(len(x), 1, D), s.w(x)), 1) ** 2, w=lin(), first=p(1, D)
        ),
        (("s", N + 1), ("d", D)),
    ),
    "masks by where and triu": (
        lambda: Forward(
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
    "features first": (lambda: Forward(lambda s, x: s.w(x).transpose(1, 2), w=lin(D, 3)), (("d", 3 * N),)),
    "one number for each position": (
        lambda: Forward(lambda s, x: s.w(x).square().sum(-1), w=lin()),
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
        lambda: Forward(lambda s, x: s.w(x.reshape(-1, N * D)), w=lin(N * D, 3)),
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
        Forward(lambda s, x: s.w(F.embedding(x, s.table)), table=p(7, D), w=lin(D, 3)),
        Forward(lambda s, x: s.w(F.one_hot(x.long(), 7).to(s.w.weight.dtype)), w=lin(7, 3)),
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
            Forward(lambda s, x: s.e(x) * x[..., None], e=nn.Embedding(5, 4)),
            torch.zeros(1, 3, dtype=torch.long),
            ["token ids, which are names and not numbers"],
        ),
        (
            Forward(lambda s, x: s.e(x) ** 2, e=nn.Embedding(5, 4, max_norm=1.0)),
            torch.zeros(1, 3, dtype=torch.long),
            ["max_norm"],
        ),
        (
            Forward(lambda s, x: torch.softmax(s.w(x) @ x.mT, -1) @ x, w=lin(4, 4)),
            torch.zeros(1, 3, 4),
            ["no polynomial form for torch.softmax", "exponentials"],
        ),
        (
            Forward(lambda s, x: s.w(x - x.mean(0, keepdim=True)), w=lin(4, 4)),
            torch.zeros(1, 3, 4),
            ["mixes the samples"],
        ),
        (
            Forward(lambda s, x: torch.einsum("bsd,bsd", x, x), w=lin(4, 4)),
            torch.zeros(1, 3, 4),
            ["einsum"],
        ),
        (Transformer(5, 4, 2, 3, norm=True).train(), torch.zeros(1, 3, dtype=torch.long), ["eval()"]),
    ],
)
def test_refusals(model, example, parts):
    fails(model, *parts, example=example)


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
