"""Exact, layer by layer and sampled similarities side by side; the table in docs/maths.md.

Usage: python tests/bench/sampling.py [--small]

Models: random ones at d = h = 64, and residual ones trained on handwritten digits from two seeds. Sampling draws
standard normal inputs; its standard error is that of a ratio of means, from batches (the delta method).
"""

import sys
from dataclasses import dataclass

import torch
from byhand import net
from harness import ROOT, written
from tqdm import tqdm

import tnsim

PAGE = ROOT / "docs" / "maths.md"
MARKS = ("<!-- sampled -->", "<!-- /sampled -->")
BATCH = 20_000


@dataclass(frozen=True)
class Case:
    """Two models, and how many batches to sample."""

    name: str
    pair: tuple[tnsim.Network, tnsim.Network]
    batches: int


def trained(depth, width, steps):
    """Two seeds of embed → residual bilinear blocks → head, trained on digits."""
    nets = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = tnsim.nn.BilinearMLP(64, width, width, 10, depth, residual="add")
        data = tnsim.lab.load_digits()
        tnsim.lab.train(model, data, steps, every=steps, lr=3e-3, noise=0.3, seed=seed, progress=False)
        nets.append(tnsim.convert(model.eval().requires_grad_(False)))
    return tuple(nets)


def random_pair(d):
    a, b = (net([d, d, 10], d, seed) for seed in (0, 1))
    return a, tnsim.Network((a.layers[0], ("layer1", b[1] + 0.7 * a[1])))  # a cosine that is not zero


def sampled(a, b, batches, generator):
    """The cosine under N(0, I), and its standard error."""
    sums = []
    with torch.no_grad():
        for _ in tqdm(range(batches), "sampling", leave=False):
            x = torch.randn(BATCH, a.in_shape[0], dtype=torch.float64, generator=generator)
            f, g = a(x), b(x)
            sums.append(torch.stack([(f * g).sum(), (f * f).sum(), (g * g).sum()]) / BATCH)
    sums = torch.stack(sums)
    ab, aa, bb = sums.mean(0)
    value = ab / (aa * bb).sqrt()
    slope = torch.stack([1 / (aa * bb).sqrt(), -value / (2 * aa), -value / (2 * bb)])
    return value.item(), (((sums - sums.mean(0)) @ slope).std() / batches**0.5).item()


def main(arguments):
    small = "--small" in arguments
    steps, few, many = (20, 3, 3) if small else (600, 50, 200)
    cases = [
        Case("random, 2 layers, d = h = 64", random_pair(8 if small else 64), few),
        Case("digits, 2 residual layers of width 16", trained(2, 4 if small else 16, steps), few),
        Case("digits, 2 residual layers of width 32", trained(2, 5 if small else 32, steps), few),
        Case("digits, 3 residual layers of width 8", trained(3, 3 if small else 8, steps), many),
    ]
    generator = torch.Generator().manual_seed(0)
    rows = [
        "| models | exact | layer by layer | sampled | exact − sampled, in standard errors |",
        "|" + "---|" * 5,
    ]
    for case in cases:
        exact, layerwise = (
            tnsim.similarity(*case.pair, method=m, budget=1e16).item() for m in ("exact", "layerwise")
        )
        value, error = sampled(*case.pair, case.batches, generator)
        away = (exact - value) / error
        rows.append(
            f"| {case.name} | {exact:.4f} | {layerwise:.4f} | {value:.4f} ± {error:.4f} | {away:+.1f} |"
        )
        print(rows[-1], flush=True)
        assert small or abs(away) < 4, "exact and sampled values differ"
    text = "\n".join(rows)
    if not small:
        PAGE.write_text(written(PAGE.read_text("utf-8"), text, MARKS), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
