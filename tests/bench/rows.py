"""What `make bench` measures. A row is a generator of matters, registered under its name."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import torch
from byhand import layerwise, net, one_layer, square_with_slices
from harness import Matter, agree, elsewhere, row

import tnsim

PLENTY = dict(budget=1e16, memory=2.0**33)


@row("a")
def one_layer_pair(small):
    d, h, o = (64, 16, 8) if small else (1024, 256, 128)
    a, b = (net([d, o], h, seed) for seed in (0, 1))
    yield Matter(
        f"one layer, pair {d}→{o}, h {h}",
        lambda: tnsim.similarity(a, b),
        "closed form",
        lambda: one_layer(a, b),
        "≤ 1.5",
        flops=tnsim.cost(a, b).flops,
    )


@row("b")
def gram_of_one_layer(small):
    n, d, h, o = (9, 64, 8, 3) if small else (41, 1024, 64, 10)
    nets = [net([d, o], h, seed) for seed in range(n)]
    pairs = [(i, j) for i in range(n) for j in range(i, n)]
    some = pairs[:: max(1, len(pairs) // 20)]

    def gram():
        return tnsim.gram(nets, progress=False).products

    def asked(i, j):
        whole = tnsim.similarity(nets[i], nets[j])
        return torch.stack([whole, *(tnsim.similarity(nets[i], nets[j], output=k) for k in range(o))])

    def with_moments():
        alone = [tnsim.moments(x).diagonal() for x in nets[: max(1, len(nets) * len(some) // len(pairs))]]
        return alone, [tnsim.moments(nets[i], nets[j]).diagonal() for i, j in some]

    def same_cosines(products, values):
        g = tnsim.Gram(products, tuple(range(n)), tnsim.Gaussian(), "exact")
        for (i, j), value in zip(some, values, strict=True):
            agree(torch.stack([g.similarity()[i, j], *g.slices()[:, i, j]]), value)

    def same_products(products, values):
        for (i, j), value in zip(some, values[1], strict=True):
            agree(products[:, i, j], value)

    what = f"Gram with slices, {n} models {d}→{h}→{o}"
    yield Matter(what, gram, "batched einsum by hand", lambda: square_with_slices(nets), "≤ 1.5")
    share = len(some) / len(pairs)
    yield Matter(
        what,
        gram,
        "`similarity` for every pair and output",
        lambda: [asked(i, j) for i, j in some],
        "≥ 10",
        upside_down=True,
        share=share,
        same=same_cosines,
        note=f"other ÷ ours; {len(some)} of {len(pairs)} pairs timed",
    )
    yield Matter(
        what,
        gram,
        "`moments` for every model and pair",
        with_moments,
        upside_down=True,
        share=share,
        same=same_products,
        note=f"other ÷ ours; {len(some)} of {len(pairs)} pairs timed",
    )


@row("c")
def layer_by_layer(small):
    widths, h, n = ([48, 16, 16, 16], 16, 6) if small else ([1024, 256, 256, 256], 256, 40)
    nets = [net(widths, h, seed) for seed in range(n)]
    a, b = nets[:2]
    count = n * (n + 1) // 2

    def pair():
        return tnsim.similarity(a, b, method="layerwise")

    def gram():
        return tnsim.gram(nets, method="layerwise", progress=False, **PLENTY).similarity()

    shape = "-".join(map(str, widths))
    yield Matter(
        f"layer by layer, pair {shape}, h {h}",
        pair,
        "recursion by hand",
        lambda: layerwise(a, b),
        "≤ 1.3",
        flops=tnsim.cost(a, b, method="layerwise").flops,
    )
    single = [x.to(dtype="float32") for x in (a, b)]
    away = abs(tnsim.similarity(*single, method="layerwise").item() - pair().item())
    assert away < 1e-6, f"single precision costs {away:.1e}"
    yield Matter(
        "the same in float32",
        lambda: tnsim.similarity(*single, method="layerwise"),
        "float64",
        pair,
        same=lambda x, y: None,
        note=f"the cosine differs by {away:.0e} (< 1e-6)",
    )
    yield Matter(
        f"layer by layer, Gram of {n}",
        gram,
        f"{count} such pairs",
        pair,
        "≤ 0.5",
        share=1 / count,
        same=lambda g, p: agree(g[0, 1], p),
        most=3,
    )


def sampled(a, b, samples):
    """Cosine under N(0, I) by sampling, and its standard error from ten batches."""
    generator = torch.Generator().manual_seed(0)
    sums = []
    for _ in range(10):
        x = torch.randn(samples // 10, a.in_shape[0], dtype=torch.float64, generator=generator)
        f, g = a(x), b(x)
        sums.append(torch.stack([(f * g).sum(), (f * f).sum(), (g * g).sum()]) / len(x))
    sums = torch.stack(sums)
    ab, aa, bb = sums.mean(0)
    value = ab / (aa * bb).sqrt()
    slope = torch.stack([1 / (aa * bb).sqrt(), -value / (2 * aa), -value / (2 * bb)])
    return value, ((sums - sums.mean(0)) @ slope).std() / 10**0.5


@row("d")
def exact_two_layers(small):
    d, o = (8, 4) if small else (64, 10)
    a, b = (net([d, d, o], d, seed) for seed in (0, 1))
    b = tnsim.Network((a.layers[0], ("layer1", b[1] + 0.7 * a[1])))  # a cosine that is not zero
    samples, wanted = 20_000, 1e-3
    _, error = sampled(a, b, samples)
    needed = (error / wanted).item() ** 2

    def within_errors(exact, sample):
        value, error = sample
        assert abs(exact - value) < 5 * error, "exact and sampled values differ"

    peak = "" if small else f"peak memory {elsewhere(PAIR.format(d=d, o=o, h=d))['peak']:.2f} GiB (< 2)"
    yield Matter(
        f"exact, 2 layers, d = h = {d}, o = {o}",
        lambda: tnsim.similarity(a, b, **PLENTY),
        f"sampling to an error of {wanted:g}",
        lambda: sampled(a, b, samples),
        "≤ 0.3 s",
        flops=tnsim.cost(a, b).flops,
        share=1 / needed,
        same=within_errors,
        note=f"sampling scaled from {samples} to {needed * samples:.1g} samples; {peak}",
    )
    x, y = (net([d, d, d], d, seed) for seed in (0, 1))
    yield Matter(
        f"exact, 2 layers, d = h = o = {d}",
        lambda: tnsim.similarity(x, y, **PLENTY),
        target="≤ 0.3 s",
        flops=tnsim.cost(x, y).flops,
    )


@row("d2")
def exact_two_wide_layers(small):
    d, h = (8, 16) if small else (128, 256)
    a, b = (net([d, d, 10], h, seed) for seed in (0, 1))
    yield Matter(
        f"exact, 2 layers, d = {d}, h = {h}, o = 10",
        lambda: tnsim.similarity(a, b, **PLENTY),
        target="≤ 30 s",
        flops=tnsim.cost(a, b).flops,
        most=1,
    )


PAIR = """
from time import perf_counter
from byhand import net
import tnsim
a, b = (net([{d}, {d}, {o}], {h}, seed) for seed in (0, 1))
tnsim.similarity(a, b, budget=1e16, memory=2.0**33)
"""

COLD = """
from time import perf_counter
from byhand import net
import tnsim
a, b = (net([{d}] * 4, {d}, seed) for seed in (0, 1))
start = perf_counter()
tnsim.similarity(a, b, budget=1e16, memory=2.0**33)
print("cold", perf_counter() - start)
"""


@row("e")
def exact_three_layers(small):
    d = 3 if small else 16
    a, b = (net([d] * 4, d, seed) for seed in (0, 1))
    cold = elsewhere(COLD.format(d=d))
    yield Matter(
        f"exact, 3 layers, d = h = {d}",
        lambda: tnsim.similarity(a, b, **PLENTY),
        target="≤ 3 s",
        flops=tnsim.cost(a, b).flops,
        most=3,
        note=f"in a fresh process {cold['cold']:.1f} s (≤ 30), peak memory {cold['peak']:.2f} GiB",
    )
    d = 4 if small else 32
    x, y = (net([d] * 4, d, seed) for seed in (0, 1))
    law = tnsim.Symmetric()
    yield Matter(
        f"exact, 3 layers, d = h = {d}, Symmetric",
        lambda: tnsim.similarity(x, y, under=law, **PLENTY),
        target="≤ 20 s",
        flops=tnsim.cost(x, y, under=law).flops,
        most=1,
    )


@row("gram100")
def a_hundred_models(small):
    n, width = (8, 8) if small else (100, 64)
    nets = [net([width] * 4, width, seed, residual=0.5) for seed in range(n)]

    def gram():
        return tnsim.gram(nets, method="layerwise", memory=2.0**30, progress=False).similarity()

    yield Matter(
        f"layer by layer, Gram of {n}, 3 residual layers of width {width}, memory=1 GiB",
        gram,
        f"{n * (n + 1) // 2} pairs",
        lambda: tnsim.similarity(nets[0], nets[1], method="layerwise"),
        share=2 / n / (n + 1),
        same=lambda g, p: agree(g[0, 1], p),
        most=1,
        note=lambda: f"peak memory {elsewhere(HUNDRED.format(n=n, width=width))['peak']:.2f} GiB (< 2)",
    )


HUNDRED = """
from byhand import net
import tnsim
nets = [net([{width}] * 4, {width}, seed, residual=0.5) for seed in range({n})]
tnsim.gram(nets, method="layerwise", memory=2.0**30, progress=False)
"""


@row("deepgram")
def gram_of_exact_models(small):
    n, d, o = (4, 4, 2) if small else (20, 32, 10)
    nets = [net([d, d, o], d, seed) for seed in range(n)]
    yield Matter(
        f"exact, Gram of {n}, 2 layers, d = h = {d}, o = {o}",
        lambda: tnsim.gram(nets, progress=False, **PLENTY).similarity(),
        f"{n * (n + 1) // 2} pairs",
        lambda: tnsim.similarity(nets[0], nets[1]),
        share=2 / n / (n + 1),
        same=lambda g, p: agree(g[0, 1], p),
        most=5,
    )


@row("workers")
def two_workers(small):
    """Processes of one thread each; they are started and have planned before anything is timed."""
    n, width = (8, 8) if small else (60, 256)
    nets = [net([width] * 4, width, seed) for seed in range(n)]
    spawn = multiprocessing.get_context("spawn")

    def pool(count):
        return ProcessPoolExecutor(count, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,))

    def gram(executor):
        return tnsim.gram(nets, method="layerwise", progress=False, executor=executor, **PLENTY).mantissas

    def same(a, b):
        assert torch.equal(a, b), "not equal to the last bit"

    with pool(2) as two, pool(1) as one:
        yield Matter(
            f"layer by layer, Gram of {n}, 3 layers of width {width}, two workers",
            lambda: gram(two),
            "one worker",
            lambda: gram(one),
            "≥ 1.6",
            upside_down=True,
            same=same,
            most=3,
            note="one thread each; equal to the last bit",
        )
