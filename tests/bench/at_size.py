"""Sampled similarity of transformers at real size: ``python tests/bench/at_size.py --n_ctx 256 --width 512``.

Two models of attention and bilinear MLPs, the second a mixture of the first and of another one, under independent tokens
with Zipf's frequencies, in float32. What is printed stands in docs/sampled.md.
"""

import argparse
import resource
import time

import torch

import tnsim
from tnsim.sampling.forward import Forward
from tnsim.sampling.sources import plain_source


def models(args):
    """Two modules that share 70 % of their weights."""
    torch.manual_seed(0)
    kinds = ("attn", "mlp") * args.layers
    a, b = (
        tnsim.nn.Transformer(args.vocabulary, args.width, args.heads, args.n_ctx, kinds)
        .eval()
        .requires_grad_(False)
        for _ in range(2)
    )
    for p, q in zip(b.parameters(), a.parameters(), strict=True):
        p.lerp_(q, 0.7)
    return a, b


def main():
    parser = argparse.ArgumentParser()
    for name, value in (("n_ctx", 32), ("width", 64), ("vocabulary", 1000), ("heads", 4), ("layers", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--error", type=float, default=0.01)
    args = parser.parse_args()
    modules = models(args)
    ids = torch.zeros(1, args.n_ctx, dtype=torch.long)
    start = time.perf_counter()
    nets = [tnsim.convert(m, ids, dtype=torch.float32) for m in modules]
    print(f"{sum(p.numel() for p in modules[0].parameters()):.3g} weights each")
    print(f"converted both in {time.perf_counter() - start:.0f} s", flush=True)
    p = 1 / torch.arange(1, args.vocabulary + 1, dtype=torch.float64)
    law = tnsim.Tokens(p / p.sum())
    x, _ = plain_source(law, nets[0].domain, nets[0].polys[0].like, (0,)).draw(0, 1, 0)
    forward = Forward(tuple(nets), True)
    flops, size = forward.price(x)
    start = time.perf_counter()
    with torch.no_grad():
        forward(x[:16])
    each = (time.perf_counter() - start) / 16
    print(f"a draw: {flops:.2g} flops, {size / 2**20:.2g} MiB, {each:.3g} s", flush=True)
    start = time.perf_counter()
    found = tnsim.similarity(
        *nets, under=law, error=args.error, budget=1e18, memory=4 * 2**30, progress=False
    )
    print(f"{found}: {time.perf_counter() - start:.0f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
