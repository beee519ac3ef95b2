"""Rows on modules as they are built: first calls in a fresh process, an embedding in front and a head behind."""

import torch
from byhand import net
from harness import Matter, elsewhere, row
from rows import PLENTY

import tnsim

FIRST_MLP = """
from time import perf_counter
import torch, tnsim
torch.manual_seed(0)
a, b = (tnsim.nn.BilinearMLP({sizes}, n_layer=2{more}).double() for _ in range(2))
with torch.no_grad():
    start = perf_counter()
    tnsim.similarity(a, b)
    print("first", perf_counter() - start)
"""

FIRST_SPECTRUM = """
from time import perf_counter
import torch, tnsim
torch.manual_seed(0)
model = tnsim.nn.BilinearMLP(8, 4, 4, 3, n_layer=3)
start = perf_counter()
tnsim.spectrum(model)
print("first", perf_counter() - start)
"""


@row("first")
def first_calls(small):
    """Seconds of a first call in a fresh process, after import; conversion included."""
    sizes = "4, 4, 4, 3" if small else "16, 16, 16, 10"
    scripts = {
        f"similarity of two modules of two layers ({sizes})": (
            FIRST_MLP.format(sizes=sizes, more=""),
            "≤ 0.3 s",
        ),
        "the same with residual and bias": (
            FIRST_MLP.format(sizes=sizes, more=', residual="add", bias=True'),
            "",
        ),
        "spectrum of three layers (8, 4, 4, 3)": (FIRST_SPECTRUM, "≤ 2 s"),
    }
    for what, (script, target) in scripts.items():
        yield Matter(
            f"first call: {what}",
            lambda script=script: elsewhere(script)["first"],
            target=target,
            most=5,
            told=True,
        )


def mlps(*sizes, **options):
    nets = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        nets.append(tnsim.convert(tnsim.nn.BilinearMLP(*sizes, **options).double().requires_grad_(False)))
    return nets


@row("mlp")
def with_embedding_and_head(small):
    """As they are built: an embedding in front, a head behind."""
    d = 3 if small else 16
    a, b = mlps(d, d, d, 10, n_layer=3)
    x, y = (net([d, d, d, 10], d, seed) for seed in (0, 1))
    yield Matter(
        f"exact, 3 layers of width {d} with embedding and head",
        lambda: tnsim.similarity(a, b, **PLENTY),
        "bare blocks",
        lambda: tnsim.similarity(x, y, **PLENTY),
        "≤ 1.5",
        same=lambda p, q: None,
        flops=tnsim.cost(a, b).flops,
        most=5,
    )
    for width in (2, 3) if small else (32, 64):
        wide = 8 if small else 784
        a, b = mlps(wide, width, width, 10, n_layer=2, residual="add", bias=True)
        yield Matter(
            f"exact, 2 residual layers with biases, {wide} → {width}",
            lambda a=a, b=b: tnsim.similarity(a, b, **PLENTY),
            flops=tnsim.cost(a, b).flops,
            most=7,
        )
