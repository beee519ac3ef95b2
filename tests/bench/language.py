"""Language models of growing size compared by draws of sequences: seconds, errors, and what the rest would take.

Usage: python tests/bench/language.py [--minutes 10]

Sizes are measured from small to large as long as the next one, by its flops, fits into the minutes; the others get the
seconds that their flops say, at the speed of the last that was measured. The table is written into docs/sampled.md.
"""

import argparse
import time
import warnings
from dataclasses import dataclass

import torch
from harness import ROOT, machine, written

import tnsim
from tnsim.analysis.asking import sampled
from tnsim.analysis.asking.statistics import COSINE

PAGE = ROOT / "docs" / "sampled.md"
MARKS = ("<!-- language -->", "<!-- /language -->")
ERROR, LEAST = 0.01, 2048  # the fewest draws there are
F32 = torch.float32


@dataclass(frozen=True)
class Size:
    """Of a model with attention, a bilinear layer, and attention again."""

    n_ctx: int
    width: int
    vocabulary: int

    def network(self, seed):
        """Its first embedding is shared by both seeds, but for noise."""
        torch.manual_seed(seed)
        heads = max(1, self.width // 64)
        blocks = ("attn", "mlp", "attn")
        model = tnsim.nn.Transformer(self.vocabulary, self.width, heads, self.n_ctx, blocks, scale=0.5)
        noise = torch.randn(self.vocabulary, self.width)
        torch.manual_seed(100)
        model.embed.weight.data = (torch.randn(self.vocabulary, self.width) + 0.3 * noise).reshape(
            model.embed.weight.shape
        )
        ids = torch.zeros(1, self.n_ctx, dtype=torch.long)
        return tnsim.convert(model.requires_grad_(False), ids, dtype=F32)

    @property
    def flops(self):
        """Of the passes of two models over one sequence: products of matrices, with two flops for each of them.

        Five maps of d × d, three of them 2d × d, for every position; scores and sums for every pair of positions.
        """
        n, d = self.n_ctx, self.width
        attention = 2 * n * 6 * d * d + 2 * n * n * 3 * d
        return 2 * (2 * attention + 2 * n * 6 * d * d)


SIZES = (
    Size(16, 64, 1_000),
    Size(32, 128, 5_000),
    Size(64, 256, 20_000),
    Size(128, 512, 50_000),
    Size(256, 512, 50_000),
)


def measured(size):
    """The estimate and its seconds, conversion left out."""
    a, b = (size.network(seed) for seed in (0, 1))
    p = 1 / torch.arange(1, size.vocabulary + 1, dtype=torch.float64)  # as Zipf has it
    law = tnsim.Tokens((p / p.sum()).float())
    start = time.perf_counter()
    models = sampled.Models((a, b), law, narrow=True)
    options = sampled.Options(law, None, ERROR, 0, 1e14, 2.0**31)
    found = models.run(options.asked(*COSINE.asked)).estimate(COSINE.of)
    return found, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    head = (
        "positions",
        "width",
        "vocabulary",
        "flops a draw",
        "similarity",
        "draws",
        "seconds",
        "flops a second",
    )
    rows, rate, draws = [head, ("---",) * len(head)], 3e10, LEAST
    for size in SIZES:
        told = (f"{size.n_ctx}", f"{size.width}", f"{size.vocabulary:,}", f"{size.flops:.1e}")
        expected = size.flops * draws / rate
        if expected > 60 * asked.minutes:
            rows.append((*told, "", f"{draws:,}", f"about {expected:,.0f}", ""))
            continue
        found, seconds = measured(size)
        rate, draws = size.flops * found.samples / seconds, found.samples
        value = f"{float(found):.4f} ± {float(found.error):.4f}"
        rows.append((*told, value, f"{draws:,}", f"{seconds:.0f}", f"{rate:.1e}"))
        print(" | ".join(rows[-1]), flush=True)
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
    PAGE.write_text(written(PAGE.read_text("utf-8"), f"{machine()}\n\n{text}", MARKS), "utf-8")


if __name__ == "__main__":
    main()
