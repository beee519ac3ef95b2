"""Rows on sampled answers: against plain sampling to the same true error, and a Gram matrix of many checkpoints."""

import warnings
from functools import cache

import torch
from errors import drawn, trained
from harness import Matter, row

import tnsim

ERROR = 0.005
PLAIN, TURNS = 2**15, 24  # plain draws at once, and how often they are tried


def plain(nets, count, seed):
    """Cosines of all pairs from inputs that follow N(0, I), without more ado: shape ``(n, n)``."""
    generator = torch.Generator().manual_seed(seed)
    total = 0.0
    with torch.no_grad():
        for _ in range(count // 2048):
            x = torch.randn(2048, *nets[0].in_shape, dtype=torch.float64, generator=generator)
            values = torch.stack([net(x).flatten() for net in nets])
            total = total + values @ values.T
    size = total.diagonal().sqrt()
    return total / size / size[:, None]


def needed(nets, ours, error):
    """Plain draws for the true error of ``ours``: both from runs with other seeds, against one that is much finer."""
    value = tnsim.draws(None, nets, error=error / 10, seed=99, budget=1e16, progress=False)
    truth = tnsim.gram(nets, under=value, progress=False).similarity()

    def off(found):
        return float(torch.stack([(x - truth).square().max() for x in found]).mean().sqrt())

    away = off([ours(seed) for seed in range(4)])
    rough = off([plain(nets, PLAIN, seed) for seed in range(TURNS)])
    return PLAIN * (rough / away) ** 2, away


@cache
def checkpoints(count, depth, width, seed=0):
    """Of one run on handwritten digits."""
    torch.manual_seed(seed)

    def make():
        return tnsim.nn.BilinearMLP(64, width, width, 10, depth, residual="add")

    options = dict(every=4, lr=3e-3, noise=0.3, seed=seed, progress=False)
    run = tnsim.lab.train(make(), tnsim.lab.load_digits(), 4 * (count - 1), **options)
    return [tnsim.convert(run.model(step, make).requires_grad_(False).double()) for step in run.steps]


@row("sampled")
def sampled_similarities(small):
    warnings.filterwarnings("ignore")
    depth, width = (2, 8) if small else (3, 32)
    a, b = (trained(depth, width, False, 30 if small else 300, seed) for seed in (0, 1))
    error = 0.05 if small else ERROR
    plain_draws, away = needed([a, b], lambda seed: matrix(drawn(a, b, None, error, seed)), error)
    found = drawn(a, b, None, error, 0)
    yield Matter(
        f"sampled: {depth} residual layers of width {width}, digits, to ± {error:g}",
        lambda: drawn(a, b, None, error, 0),
        "plain sampling to the same true error",
        lambda: plain([a, b], PLAIN, 0),
        share=PLAIN / plain_draws,
        same=lambda ours, theirs: None,  # compared above, with as many draws as both need
        most=3,
        note=f"{found.samples:,} draws, true error {away:.1g}; plainly {plain_draws:.1e} draws, "
        f"{plain_draws / found.samples:.0f} times as many (≥ 20)",
    )
    if not small:
        for depth in (2, 3, 4):
            for width in (16, 32, 64):
                x, y = (trained(depth, width, False, 300, seed) for seed in (0, 1))
                yield Matter(
                    f"sampled: {depth} layers of width {width}, to ± {ERROR:g}",
                    lambda x=x, y=y: drawn(x, y, None, ERROR, 0),
                    target="≤ 10 s",
                    most=3,
                )
    count = 6 if small else 100
    nets = checkpoints(count, depth if small else 3, width if small else 32)
    yield Matter(
        f"sampled: Gram of {count} checkpoints, every similarity to ± {error:g}",
        lambda: tnsim.gram(nets, error=error, budget=1e13, progress=False).similarity(),
        "plain sampling of as many draws as the pair above needs",
        lambda: plain(nets, PLAIN, 0),
        "≤ 60 s",
        share=PLAIN / plain_draws,
        same=lambda ours, theirs: None,
        once=True,
    )


def matrix(found):
    value = float(found)
    return torch.tensor([[1.0, value], [value, 1.0]], dtype=torch.float64)
