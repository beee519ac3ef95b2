"""Rows on attention: small and large pairs, a Gram matrix of checkpoints, long sequences."""

import torch
from harness import Matter, agree, elsewhere, row
from torch import nn

import tnsim

__all__ = ["language_model", "transformer"]

LAYERWISE = dict(method="layerwise", budget=1e15, memory=2.0**32)


def converted(model, n_ctx):
    """A model without gradients as a network of so many positions."""
    return tnsim.convert(model.double().eval().requires_grad_(False), torch.zeros(1, n_ctx, dtype=torch.long))


def transformer(seed, vocab=16, width=16, heads=2, n_ctx=4, hidden=32, layers=2):
    """Attention and MLP in turns."""
    torch.manual_seed(seed)
    blocks = ("attn", "mlp") * layers
    model = tnsim.nn.Transformer(vocab, width, heads, n_ctx, blocks, d_hidden=hidden, scale=0.5)
    return converted(model, n_ctx)


def language_model(seed, vocab, width, heads, n_ctx):
    """Two layers of attention between an embedding and an unembedding."""
    torch.manual_seed(seed)
    return converted(tnsim.nn.Transformer(vocab, width, heads, n_ctx, scale=0.35), n_ctx)


def with_zero_biases(seed, vocab, width, heads, n_ctx):
    """The same function, of a model that has biases on queries and keys."""
    torch.manual_seed(seed)
    plain = tnsim.nn.Transformer(vocab, width, heads, n_ctx, scale=0.35)
    model = tnsim.nn.Transformer(vocab, width, heads, n_ctx, scale=0.35, bias="qk")
    zeros = {name: torch.zeros_like(x) for name, x in model.state_dict().items()}
    model.load_state_dict(zeros | plain.state_dict())
    return converted(model, n_ctx)


FIRST = """
from time import perf_counter
from sequences import transformer
import tnsim
a, b = transformer(0), transformer(1)
start = perf_counter()
tnsim.similarity(a, b, method="layerwise")
print("first", perf_counter() - start)
"""

PAIR = """
from time import perf_counter
from sequences import LAYERWISE, language_model
import tnsim
a, b = (language_model(seed, {vocab}, {width}, {heads}, {n_ctx}) for seed in (0, 1))
start = perf_counter()
tnsim.similarity(a, b, **LAYERWISE)
print("first", perf_counter() - start)
"""


@row("attention")
def small_transformers(small):
    a, b = transformer(0), transformer(1)
    first = elsewhere(FIRST)["first"]
    yield Matter(
        "layer by layer, pair of transformers: vocabulary 16, d 16, 2 heads, 4 positions, MLP 32, two layers",
        lambda: tnsim.similarity(a, b, method="layerwise"),
        target="≤ 0.05 s",
        flops=tnsim.cost(a, b, method="layerwise").flops,
        note=f"first in a fresh process {first:.1f} s (≤ 20); published code: 1.5 s, first 925 s",
    )


@row("language")
def language_models(small):
    vocab, width, heads, n_ctx, n = (64, 16, 2, 3, 4) if small else (4096, 256, 8, 4, 10)
    a, b = (language_model(seed, vocab, width, heads, n_ctx) for seed in (0, 1))
    alone = elsewhere(PAIR.format(vocab=vocab, width=width, heads=heads, n_ctx=n_ctx))
    yield Matter(
        f"layer by layer, pair, attention only: vocabulary {vocab}, d {width}, {heads} heads, {n_ctx} positions, 2 layers",
        lambda: tnsim.similarity(a, b, **LAYERWISE),
        target="≤ 15 s",
        flops=tnsim.cost(a, b, method="layerwise").flops,
        most=3,
        note=f"first in a fresh process {alone['first']:.1f} s, peak memory {alone['peak']:.2f} GiB (< 4)",
    )
    nets = [a, b, *(language_model(seed, vocab, width, heads, n_ctx) for seed in range(2, n))]
    pairs = n * (n + 1) // 2
    options = dict(slices=False, progress=False, **LAYERWISE)
    yield Matter(
        f"layer by layer, Gram of {n} of them",
        lambda: tnsim.gram(nets, **options).similarity(),
        f"{pairs} such pairs",
        lambda: tnsim.similarity(a, b, **LAYERWISE),
        "≤ 0.45",
        share=1 / pairs,
        same=lambda g, p: agree(g[0, 1], p),
        once=True,
        warm=lambda: tnsim.gram(nets[:3], **options),
    )


@row("positions")
def long_sequences(small):
    vocab, width, heads, n_ctx = (8, 8, 2, 5) if small else (64, 64, 4, 16)
    a, b = (language_model(seed, vocab, width, heads, n_ctx) for seed in (0, 1))
    yield Matter(
        f"layer by layer, pair, attention only: d {width}, {heads} heads, {n_ctx} positions, 2 layers",
        lambda: tnsim.similarity(a, b, **LAYERWISE),
        target="runs",
        flops=tnsim.cost(a, b, method="layerwise").flops,
        most=1,
    )


@row("tokens")
def laws_of_tokens(small):
    vocab, width, heads, n_ctx = (8, 8, 2, 3) if small else (64, 16, 2, 4)
    a, b = (with_zero_biases(seed, vocab, width, heads, n_ctx) for seed in (0, 1))
    plain = [language_model(seed, vocab, width, heads, n_ctx) for seed in (0, 1)]
    options = dict(
        under=tnsim.Tokens(torch.full((vocab,), 1 / vocab, dtype=torch.float64)), method="layerwise"
    )
    yield Matter(
        f"layer by layer, pair with biases under Tokens: vocabulary {vocab}, d {width}, {heads} heads, "
        f"{n_ctx} positions, 2 layers",
        lambda: tnsim.similarity(a, b, **options),
        "models without biases",
        lambda: tnsim.similarity(*plain, **options),
        "≤ 2",
        flops=tnsim.cost(a, b, **options).flops,
    )


class Attention(nn.Module):
    """Products of scores behind a gain per channel, with rotary embedding and a causal mask."""

    def __init__(self, d, heads, n):
        super().__init__()
        self.heads, self.gain = heads, nn.Parameter(torch.rand(d) + 0.5)
        self.q1, self.k1, self.q2, self.k2, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(6))
        angle = torch.arange(n)[:, None] / 100 ** (torch.arange(0, d // heads, 2) / (d // heads))
        self.register_buffer("cos", angle.cos().repeat(1, 2))
        self.register_buffer("sin", angle.sin().repeat(1, 2))

    def turned(self, x):
        b, n, _ = x.shape
        x = x.view(b, n, self.heads, -1).transpose(1, 2)
        first, second = x.chunk(2, -1)
        return x * self.cos[:n] + torch.cat([-second, first], -1) * self.sin[:n]

    def forward(self, x):
        b, n, d = x.shape
        y = x * self.gain
        first, second = (
            self.turned(q(y)) @ self.turned(k(y)).mT for q, k in ((self.q1, self.k1), (self.q2, self.k2))
        )
        z = (first * second).tril() / d @ self.v(y).view(b, n, self.heads, -1).transpose(1, 2)
        return self.o(z.transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    """Attention and an MLP in one module, as nearly everybody writes it."""

    def __init__(self, d, heads, n):
        super().__init__()
        self.attn, self.gain = Attention(d, heads, n), nn.Parameter(torch.rand(d) + 0.5)
        self.up, self.gate, self.down = (
            nn.Linear(*s, bias=False) for s in ((d, 2 * d), (d, 2 * d), (2 * d, d))
        )

    def forward(self, x):
        x = x + self.attn(x)
        y = x * self.gain
        return x + self.down(self.up(y) * self.gate(y))


def blocks_with_gains(seed, vocab, d, heads, n_ctx):
    torch.manual_seed(seed)
    blocks = (Block(d, heads, n_ctx) for _ in range(2))
    return converted(nn.Sequential(nn.Embedding(vocab, d), *blocks, nn.Linear(d, vocab, bias=False)), n_ctx)


FIRST_BLOCKS = """
from time import perf_counter
from sequences import LAYERWISE, blocks_with_gains
import tnsim
a, b = (blocks_with_gains(seed, {vocab}, {d}, {heads}, {n_ctx}) for seed in (0, 1))
start = perf_counter()
tnsim.similarity(a, b, **LAYERWISE)
print("first", perf_counter() - start)
"""


@row("blocks")
def whole_blocks(small):
    sizes = dict(vocab=8, d=8, heads=2, n_ctx=3) if small else dict(vocab=64, d=64, heads=1, n_ctx=4)
    a, b = (blocks_with_gains(seed, **sizes) for seed in (0, 1))
    first = elsewhere(FIRST_BLOCKS.format(**sizes))["first"]
    yield Matter(
        f"layer by layer, pair of two blocks with gains and rotary embedding: {sizes['vocab']} tokens, d {sizes['d']}, "
        f"{sizes['heads']} heads, {sizes['n_ctx']} positions",
        lambda: tnsim.similarity(a, b, **LAYERWISE),
        target="≤ 1 s",
        flops=tnsim.cost(a, b, method="layerwise").flops,
        most=5,
        note=f"first in a fresh process {first:.1f} s (≤ 10)",
    )


@row("first2")
def first_transformer(small):
    yield Matter(
        "first call: similarity of the small transformers of the row attention",
        lambda: elsewhere(FIRST)["first"],
        target="≤ 0.6 s",
        most=5,
        told=True,
    )
