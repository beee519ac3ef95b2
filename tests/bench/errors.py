"""How often sampled similarities are within their errors: 200 pairs of models whose similarity is known.

Usage: python tests/bench/errors.py [--processes 2] [--again]

The truth is exact where that is affordable, the sum over all sequences under laws of tokens, else from a hundred times as
many draws, of another seed. Results are appended to errors.json beside this file, one line a pair; those that are there
are not made again; with ``--again`` they are, and only their truths are taken from there. The table is written into
docs/sampled.md.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import torch
from harness import ROOT, written

import tnsim
from tnsim.analysis.asking import sampled
from tnsim.analysis.asking.statistics import COSINE

HERE = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs" / "sampled.md"
MARKS = ("<!-- coverage -->", "<!-- /coverage -->")
ERROR = 0.02
FINER = 10  # times smaller is the error of a truth that is sampled: a hundred times the draws
EXACT = 1e10  # flops
VOCAB, CONTEXT = 4, 2
F64 = torch.float64
FREQUENCIES = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=F64)
STEPS = 0.5 * torch.eye(VOCAB, dtype=F64) + 0.5 * FREQUENCIES  # half of the time the token repeats
LAWS = {
    "N(0, I)": None,
    "Tokens": tnsim.Tokens(FREQUENCIES),
    "MarkovChain": tnsim.MarkovChain(FREQUENCIES, STEPS),
}


@dataclass(frozen=True)
class Pair:
    """Two models to compare.

    Attributes:
        kind: of which the table has a line.
        make: builds one of them from a seed.
        law: its name.
        share: how much of the first model's layers is put into the second's, for they should have something in common.
    """

    kind: str
    make: Callable[[int], tnsim.Network]
    law: str = "N(0, I)"
    share: float = 0.0


def trained(depth, width, bias, steps, seed):
    """Residual models of handwritten digits, after so many steps."""
    torch.manual_seed(seed)
    model = tnsim.nn.BilinearMLP(64, width, width, 10, depth, residual="add", bias=bias)
    data = tnsim.lab.load_digits()
    tnsim.lab.train(model, data, steps, every=steps, lr=3e-3, noise=0.3, seed=seed, progress=False)
    return tnsim.convert(model.eval().requires_grad_(False).double())


def random(depth, width, bias, residual, seed):
    """As they are initialised by default."""
    torch.manual_seed(seed)
    model = tnsim.nn.BilinearMLP(width, width, width, 10, depth, bias=bias, residual=residual)
    return tnsim.convert(model.requires_grad_(False).double())


def attention(layers, gain, seed):
    """Transformers of 4 tokens on 2 positions, as in the ninth example: one embedding with noise, other layers."""
    torch.manual_seed(seed)
    model = tnsim.nn.Transformer(VOCAB, 4, 2, CONTEXT, ("attn",) * layers, scale=0.5).double()
    noise = torch.randn(VOCAB, 4, dtype=F64)
    torch.manual_seed(1_000_000 + seed // 2)
    model.embed.weight.data = gain * (torch.randn(VOCAB, 4, dtype=F64) + 0.3 * noise) / 2
    return tnsim.convert(model.requires_grad_(False), torch.zeros(1, CONTEXT, dtype=torch.long))


def pairs():
    """All of them."""
    found = []
    for depth, width, bias, steps in product((1, 2, 3, 4), (8, 16, 32, 64), (False, True), (30, 300)):
        found.append(
            Pair(
                f"trained, depth {depth}",
                lambda seed, d=depth, w=width, b=bias, n=steps: trained(d, w, b, n, seed),
            )
        )
    for depth, width, bias, residual in product((1, 2, 3, 4), (8, 16, 32, 64), (False, True), (None, "add")):
        found.append(
            Pair(
                f"random, depth {depth}",
                lambda seed, d=depth, w=width, b=bias, r=residual: random(d, w, b, r, seed),
                share=0.5,
            )
        )
    for layers, law, gain, _ in product((1, 2), LAWS, (0.5, 1.0, 3.0, 10.0), range(3)):
        name = f"attention, {layers} layer{'s' * (layers > 1)}, {law}"
        found.append(Pair(name, lambda seed, n=layers, g=gain: attention(n, g, seed), law))
    return found


def models(number, pair):
    """The two networks."""
    a, b = (pair.make(seed) for seed in (2 * number, 2 * number + 1))
    if not pair.share:
        return a, b
    layers = tuple((name, f * (1 - pair.share) + a[name] * pair.share) for name, f in b.layers)
    return a, tnsim.Network(layers, b.in_shape)


def drawn(a, b, law, error, seed, budget=1e13):
    """From draws, whatever an exact answer would cost."""
    asked = sampled.Models((a, b), law, seed=seed, narrow=True)
    options = sampled.Options(law, None, error, seed, budget, 2.0**30, False)
    return asked.run(options.asked(*COSINE.asked)).estimate(COSINE.of)


def everywhere(a, b, law):
    """The sum over all sequences."""
    ids = torch.tensor(list(product(range(VOCAB), repeat=CONTEXT)))
    following = FREQUENCIES.expand(VOCAB, VOCAB) if law == "Tokens" else STEPS
    p = FREQUENCIES[ids[:, 0]] * following[ids[:, 0], ids[:, 1]]
    f, g = (net(ids).flatten(1) for net in (a, b))
    ab, aa, bb = (p @ (u * v).sum(1) for u, v in ((f, g), (f, f), (g, g)))
    return (ab / (aa * bb).sqrt()).item()


def truth(a, b, law, seed):
    """The similarity, its error, and how it was found."""
    if LAWS[law] is not None:
        return everywhere(a, b, law), 0.0, "all sequences"
    try:
        return tnsim.similarity(a, b, budget=EXACT, progress=False).item(), 0.0, "exact"
    except tnsim.CostError:
        found = drawn(a, b, None, ERROR / FINER, seed, 1e15)
        return float(found.value), float(found.error), f"{found.samples:,} draws"


def line_of(number, known=None):
    """A line of the study; what is known of the truth is not found again."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    pair = pairs()[number]
    a, b = models(number, pair)
    line = {"pair": number, "kind": pair.kind}
    start = time.perf_counter()
    try:
        found = drawn(a, b, LAWS[pair.law], ERROR, number)
    except tnsim.SamplingError as refusal:
        return line | {"refused": str(refusal), "seconds": time.perf_counter() - start}
    line["seconds"] = round(time.perf_counter() - start, 2)
    line |= {key: float(getattr(found, key)) for key in ("value", "error", "samples", "effective", "largest")}
    if known:
        return line | known
    try:
        value, error, how = truth(a, b, pair.law, 10_000 + number)
    except tnsim.SamplingError as refusal:
        return line | {"unknown": str(refusal)}
    return line | {"truth": value, "error of truth": error, "truth from": how}


def again(truths, number):
    """A line of the study with the truth of an earlier one."""
    return line_of(number, truths.get(number))


def bars(line):
    """How far it is off, in its errors and those of the truth."""
    size = (line["error"] ** 2 + line["error of truth"] ** 2) ** 0.5
    away = abs(line["value"] - line["truth"])
    return 0.0 if away < 1e-9 else away / size if size else float("inf")


def table(lines):
    """By kind of models."""
    head = (
        "models",
        "pairs",
        "refused",
        "truth unknown",
        "within 1",
        "within 2",
        "within 4",
        "furthest",
        "median draws",
    )
    rows = [head, ("---",) * len(head)]
    for kind in (*dict.fromkeys(line["kind"] for line in lines), "all"):
        some = [x for x in lines if kind in (x["kind"], "all")]
        known = [bars(x) for x in some if "truth" in x]
        refused, unknown = (sum(key in x for x in some) for key in ("refused", "unknown"))
        draws = sorted(x["samples"] for x in some if "samples" in x)
        shares = [f"{sum(b <= n for b in known)} of {len(known)}" for n in (1, 2, 4)]
        far, middle = (f"{max(known):.1f}", f"{draws[len(draws) // 2]:,.0f}") if known else ("", "")
        rows.append((kind, str(len(some)), str(refused), str(unknown), *shares, far, middle))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--again", action="store_true")
    asked = parser.parse_args()
    lines = [json.loads(x) for x in HERE.read_text("utf-8").splitlines()] if HERE.exists() else []
    truths = {
        line["pair"]: {key: line[key] for key in line if "truth" in key or key == "unknown"} for line in lines
    }
    lines = [] if asked.again else lines
    left = sorted(set(range(len(pairs()))) - {line["pair"] for line in lines})
    place = HERE.with_suffix(".new") if asked.again else HERE
    with get_context("spawn").Pool(asked.processes, maxtasksperchild=8) as pool:
        for line in pool.imap_unordered(partial(again, truths), left):
            with place.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            lines.append(line)
            told = (
                line.get("refused", "")[:90]
                or f"{line['value']:.4f} ± {line['error']:.4f}, {line.get('truth')}"
            )
            print(line["pair"], line["kind"], told, f"{line['seconds']:.1f} s", flush=True)
    place.replace(HERE)
    text = table(sorted(lines, key=lambda line: line["pair"]))
    print(text)
    if PAGE.exists():
        PAGE.write_text(written(PAGE.read_text("utf-8"), text, MARKS), "utf-8")


if __name__ == "__main__":
    main()
