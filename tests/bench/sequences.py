"""Rows on attention: small and large pairs, a Gram matrix of checkpoints, long sequences."""

import torch
from harness import Matter, agree, elsewhere, row

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
        "≤ 0.4",
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
