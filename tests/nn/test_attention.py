"""Attention and transformer are the formulas they claim to be, and they learn."""

import math

import pytest
import torch
from torch.nn import functional as F

from tnsim.nn import BilinearAttention, BilinearBlock, Rotary, TokenEmbedding, Transformer, Unembedding

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _close(a, b, tol=1e-12):
    torch.testing.assert_close(a, b, rtol=tol, atol=tol)


def turned(x, s, base):
    """One vector at position s, pair by pair as complex numbers."""
    half = len(x) // 2
    pairs = torch.complex(x[:half], x[half:])
    angle = torch.tensor([s * base ** (-2 * i / len(x)) for i in range(half)], dtype=torch.float64)
    pairs = pairs * torch.polar(torch.ones_like(angle), angle)
    return torch.cat((pairs.real, pairs.imag))


def by_loops(layer, x, base):
    """The formula, one head, one pair of positions and one sample at a time."""
    w = dict(layer.named_parameters())
    n, d = layer.n_head, layer.d_head

    def head(name, h, x_s):
        if layer.tied:
            name = name.replace("2", "1")
        rows = slice(h * d, (h + 1) * d)
        out = w[f"{name}.weight"][rows] @ x_s
        return out + w[f"{name}.bias"][rows] if f"{name}.bias" in w else out

    def dot(q, k, s, t):
        if base is not None:
            q, k = turned(q, s, base), turned(k, t, base)
        return q @ k

    out = torch.zeros_like(x)
    for b in range(len(x)):
        for s in range(x.shape[1]):
            read = []
            for h in range(n):
                total = torch.zeros(d, dtype=x.dtype)
                for t in range(x.shape[1]):
                    if layer.mask is not None and not layer.mask[s, t]:
                        continue
                    one = dot(head("q1", h, x[b, s]), head("k1", h, x[b, t]), s, t)
                    two = dot(head("q2", h, x[b, s]), head("k2", h, x[b, t]), s, t)
                    total = total + one * two / d**2 * head("v", h, x[b, t])
                read.append(total)
            out[b, s] = w["o.weight"] @ torch.cat(read) + w.get("o.bias", 0.0)
    carried = {None: 0.0, "add": 1.0, "lerp": 1.0 - layer.scale}[layer.residual]
    return carried * x + (layer.scale if layer.residual else 1.0) * out


OPTIONS = {
    "plain": dict(base=None, mask=None),
    "rotary": dict(base=50.0),
    "diagonal": dict(mask="diagonal"),
    "bias": dict(bias=True, base=None),
    "bias on queries and keys": dict(bias="qk", residual="add", scale=0.35),
    "lerp": dict(residual="lerp", scale=0.3, mask=None),
    "tied": dict(tied=True, bias=True, residual="add", scale=0.5, base=7.0),
    "wide heads": dict(d_head=4),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_attention_is_its_formula(name):
    options = OPTIONS[name]
    layer = BilinearAttention(4, 2, 5, **options).double()
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    base = options.get("base", 10000.0)
    _close(layer(x), by_loops(layer, x, base))


def test_rotary_depends_on_the_distance_only():
    rotary = Rotary(6, 8, base=30.0).double()
    q, k = torch.randn(2, 6, dtype=torch.float64)
    scores = rotary(q.expand(8, 6)) @ rotary(k.expand(8, 6)).T
    for shift in range(-7, 8):
        diagonal = scores.diagonal(shift)
        _close(diagonal, diagonal[:1].expand_as(diagonal))
    assert scores[0].std() > 0.1


def test_the_future_is_not_seen():
    x = torch.randn(1, 4, 4)
    y = torch.cat((x[:, :2], torch.randn(1, 2, 4)), 1)
    causal, open_ = BilinearAttention(4, 2, 4), BilinearAttention(4, 2, 4, mask=None)
    assert torch.equal(causal(x)[:, :2], causal(y)[:, :2])
    assert not torch.allclose(open_(x)[:, :2], open_(y)[:, :2])


def test_transformer_is_its_parts():
    model = Transformer(
        7, 4, 2, 5, ("attn", "mlp", "attn"), d_hidden=6, d_out=3, residual="lerp", scale=0.5
    ).double()
    ids = torch.randint(7, (3, 5))
    x = model.embed.weight[ids]
    first, mlp, last = model.blocks
    assert isinstance(first, BilinearAttention) and isinstance(mlp, BilinearBlock)
    for block in (first, mlp, last):
        x = 0.5 * x + 0.5 * block.g(x)
    _close(model(ids), x @ model.unembed.weight.T)
    _close(model(F.one_hot(ids, 7).double()), model(ids))
    assert mlp.g.l.weight.shape == (6, 4)


def test_the_norm_is_a_number_at_evaluation():
    model = Transformer(7, 4, 2, 5, norm=True).double()
    ids = torch.randint(7, (3, 5))
    seen = []
    model.unembed.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    out = model(ids)
    energy = seen[0].square().mean()
    _close(out, seen[0] @ model.unembed.weight.T / (energy + 1e-6).sqrt())
    kept = model.unembed.energy
    _close(kept, 0.9 + 0.1 * energy.detach())
    model.eval()
    _close(model(ids), seen[0] @ model.unembed.weight.T / (kept + 1e-6).sqrt())
    _close(model.unembed.energy, 0.9 + 0.1 * energy.detach())  # evaluation changes nothing


def test_states_hold_weights_only():
    names = set(Transformer(7, 4, 2, 5, ("attn",), bias="qk", norm=True).state_dict())
    qk = {f"blocks.0.{m}.{p}" for m in ("q1", "k1", "q2", "k2") for p in ("weight", "bias")}
    assert (
        names
        == {"embed.weight", "unembed.weight", "unembed.energy", "blocks.0.v.weight", "blocks.0.o.weight"} | qk
    )


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: BilinearAttention(6, 4, 3), ValueError, "4 heads do not divide d_model=6"),
        (lambda: BilinearAttention(6, 3, 0), ValueError, "n_ctx=0 is not positive"),
        (lambda: BilinearAttention(6, 2, 3), ValueError, "d_head=3 is odd"),
        (
            lambda: BilinearAttention(6, 3, 3, mask="past"),
            ValueError,
            'write mask="causal", "diagonal" or None',
        ),
        (lambda: BilinearAttention(6, 3, 3, bias="kv"), ValueError, 'write bias=False, True or "qk"'),
        (lambda: BilinearAttention(6, 3, 3, residual="plus"), ValueError, "unknown residual 'plus'"),
        (
            lambda: BilinearAttention(4, 2, 3)(torch.zeros(1, 4, 4)),
            ValueError,
            "4 positions, the layer n_ctx=3",
        ),
        (lambda: Rotary(4, 3, base=-1.0), ValueError, "base=-1.0 is not positive"),
        (lambda: Transformer(5, 4, 2, 3, "attn"), ValueError, 'write a tuple of "attn" and "mlp"'),
        (lambda: Transformer(5, 4, 2, 3, ("attention",)), ValueError, 'write a tuple of "attn" and "mlp"'),
        (lambda: Transformer(5.0, 4, 2, 3), TypeError, "n_vocab=5.0 is not an integer"),
        (lambda: TokenEmbedding(5, 0), ValueError, "d_model=0"),
        (lambda: Unembedding(0, 5), ValueError, "d_model=0"),
    ],
)
def test_bad_values_are_named(make, error, says):
    with pytest.raises(error) as caught:
        make()
    assert says in str(caught.value)


def test_a_transformer_learns_to_continue_a_repeated_sequence():
    """Induction: the second half repeats the first, so it can be told only by looking back."""
    torch.manual_seed(1)
    model = Transformer(8, 32, 4, 12, ("attn", "attn"), base=100.0, norm=True)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(100):
        half = torch.randint(8, (64, 6))
        ids = torch.cat((half, half), 1)
        loss = F.cross_entropy(model(ids)[:, 6:-1].flatten(0, 1), ids[:, 7:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1 < math.log(8)
