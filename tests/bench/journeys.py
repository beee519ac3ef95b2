"""Journeys: how much of the project a reader meets who follows a first call. ``python tests/bench/journeys.py [--names]``.

For three questions, each in a process of its own: how many files, functions and calls of the project run, and how deep
they are nested. With ``--names`` the files in the order in which they are entered.
"""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import torch

import tnsim

PACKAGE = str(Path(tnsim.__file__).parent)


def one_layer():
    a, b = (tnsim.convert(tnsim.nn.BilinearLayer(8, 8, 4)) for _ in range(2))
    return lambda: tnsim.similarity(a, b)


def checkpoints():
    models = [tnsim.convert(tnsim.nn.BilinearMLP(8, 8, 8, 4, n_layer=2)) for _ in range(4)]
    return lambda: tnsim.gram(models, method="layerwise")


def transformers():
    ids = torch.zeros(1, 4, dtype=torch.long)
    pair = [
        tnsim.convert(tnsim.nn.Transformer(8, 8, 1, 4, ("attn", "mlp") * 2).eval(), ids) for _ in range(2)
    ]
    law = tnsim.Tokens(torch.full((8,), 1 / 8))
    return lambda: tnsim.similarity(*pair, under=law, method="layerwise")


JOURNEYS = {
    "one_layer": (one_layer, "similarity of one bilinear layer"),
    "checkpoints": (checkpoints, "Gram matrix of four models of two layers, layer by layer"),
    "transformers": (transformers, "two transformers under a law of tokens, layer by layer"),
}


def followed(question):
    """Calls by file and function, the order of files, and the deepest nesting."""
    calls, order, depth, deepest = Counter(), {}, 0, 0

    def watch(frame, event, _):
        nonlocal depth, deepest
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGE):
            return
        if event == "call":
            depth += 1
            deepest = max(deepest, depth)
            calls[name, frame.f_code.co_qualname.partition(".<locals>")[0]] += 1
            order.setdefault(name)
        elif event == "return":
            depth -= 1

    sys.setprofile(watch)
    try:
        question()
    finally:
        sys.setprofile(None)
    return calls, list(order), deepest


def main(arguments):
    names = [x for x in arguments if not x.startswith("--")]
    if not names:
        print("| first call | files | functions | calls | depth |\n|---|---|---|---|---|", flush=True)
        for name in JOURNEYS:
            subprocess.run([sys.executable, __file__, name, *arguments], check=True)
        return
    make, title = JOURNEYS[names[0]]
    torch.manual_seed(0)
    calls, order, deepest = followed(make())
    print(f"| {title} | {len(order)} | {len(calls)} | {sum(calls.values()):,} | {deepest} |")
    if "--names" in arguments:
        print(*(Path(p).relative_to(PACKAGE) for p in order), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
