"""Strategies: random polynomial modules and laws, as the plain data of :mod:`fuzz.spec`."""

from dataclasses import replace

from fuzz.spec import Case, Law, Model
from hypothesis import strategies as st

__all__ = ["cases", "laws", "models"]

SEEDS = st.integers(0, 99)
GAINS = (1.0,) * 8 + (0.1, 10.0, 1e-3, 1e3, 1e-6, 1e6)
KINDS = ("full",) * 6 + ("rank1", "zero", "whole", "nested")
NAMES = ("g", "v", "w", "shared", "s2")
FIXED = ("roll", "flip", "cumsum", "centre", "halves")


@st.composite
def expressions(draw, x, x0, target, degree, deep, places=0):
    """An expression of ``target`` features and at most ``degree`` in the layer's input; and its degree."""
    leaf = ["linear"] + ["x"] * 3 * (x == target) + ["x0"] * (x0 == target)
    ways = leaf if deep == 0 else [*leaf, *_ways(x, target, degree, places, deep)]
    way = draw(st.sampled_from(ways))

    def sub(n=target, d=degree):
        return draw(expressions(x, x0, n, d, deep - 1 if deep else 0, places))

    def beside(n=target, d=degree):  # a summand or factor may have one feature only, and is then repeated
        return sub(draw(st.sampled_from((n, n, n, 1))), d)

    match way:
        case "x" | "x0":
            return (way,), 1
        case "linear" if deep == 0:
            return _linear(draw, target, ("x",)), 1
        case "linear":
            e, d = sub(draw(st.integers(1, 4)))
            return _linear(draw, target, e), d
        case "matrix":
            e, d = sub(draw(st.integers(1, 4)))
            return ("matrix", draw(st.sampled_from(NAMES)), target, draw(st.sampled_from(KINDS[:-1])), e), d
        case "square" | "cube":
            n = 2 if way == "square" else 3
            e, d = sub(d=degree // n)
            return ("power", n, e), n * d
        case "raw":  # products of coordinates as they are, or after a fixed matrix
            fixed = draw(st.sampled_from(("", "", "roll", "cumsum")))
            return draw(st.sampled_from((("power", 2, ("x",)), ("times", ("x",), _fixed(fixed))))), 2
        case "times" | "gate":
            first, d = sub(d=degree // 2)
            second, c = beside(d=degree - d)
            product = ("times", first, second)
            return (("plus", first, product) if way == "gate" else product), c + d
        case "plus" | "minus" | "lerp":
            (first, d), (second, c) = sub(), beside()
            pair = (first, second) if draw(st.booleans()) else (second, first)
            extra = (draw(st.sampled_from((0.3, 1.5, 0.5))),) if way == "lerp" else ()
            return (way, *extra, *pair), max(c, d)
        case "scaled" | "shift":
            e, d = sub()
            return (way, draw(st.sampled_from((0.5, -1.0, 2.0, 1e-3, 1e3))), e), d
        case "negative" | "zero":
            e, d = sub()
            return (way, e), d
        case "constant":
            e, d = sub()
            return ("plus", e, ("constant", draw(st.sampled_from(NAMES)), target, ("x",))), d
        case "fixed":
            e, d = sub()
            return ("fixed", draw(st.sampled_from(FIXED)), e), d
        case "sum" | "mean":
            e, d = sub(draw(st.integers(1, 4)))
            return ("fixed", way, e), d
        case "pool":
            e, d = sub(target + 1)
            return ("fixed", "pool", e), d
        case "twice":
            e, d = sub(target // 2)
            return ("fixed", "twice", e), d
        case "take":
            n = draw(st.integers(1, 4))
            e, d = sub(n)
            return ("take", tuple(draw(st.integers(0, n - 1)) for _ in range(target)), e), d
        case "chunk":
            e, d = sub(target + 1)
            start = draw(st.integers(0, 1))
            return ("chunk", start, start + target, e), d
        case "join":
            n = draw(st.integers(1, target - 1))
            how = "stack" if 2 * n == target and draw(st.booleans()) else "cat"
            (first, d), (second, c) = sub(n), sub(target - n)
            return ("join", how, first, second), max(c, d)
        case "add":
            (first, d), (second, c) = sub(), sub()
            return ("join", "sum", first, second), max(c, d)
        case "outer":
            n = draw(st.sampled_from([n for n in range(1, target + 1) if target % n == 0]))
            first, d = sub(n, degree // 2)
            second, c = sub(target // n, degree - d)
            return ("outer", first, second), c + d
        case "dot":
            n = draw(st.integers(1, 4))
            first, d = sub(n, degree // 2)
            second, c = sub(n, degree - d)
            return ("dot", first, second), c + d
        case "bilinear":
            first, d = sub(draw(st.integers(1, 3)), degree // 2)
            second, c = sub(draw(st.integers(1, 3)), degree - d)
            name, bias = draw(st.sampled_from(NAMES)), draw(st.booleans())
            return ("bilinear", name, target, bias, first, second), c + d
        case "along":
            e, d = sub()
            return ("along", draw(st.sampled_from(("cumsum", "roll", "flip", "mean"))), e), d
        case "attend":
            e, d = sub(d=1)
            kind = draw(st.sampled_from(("score", "square", "product") if degree >= 5 else ("score",)))
            heads, causal, bias = draw(st.sampled_from((1, 2))), draw(st.booleans()), draw(st.booleans())
            e = ("attend", draw(st.sampled_from(NAMES)), heads, kind, causal, bias, e)
            return (("plus", ("x",), e) if x == target and draw(st.booleans()) else e), (
                3 if kind == "score" else 5
            )
    raise ValueError(way)


def _ways(x, target, degree, places, deep):
    ways = [
        "plus",
        "minus",
        "lerp",
        "matrix",
        "fixed",
        "scaled",
        "shift",
        "negative",
        "take",
        "chunk",
        "pool",
        "add",
    ]
    ways += ["zero"] * (deep < 3) + ["constant"]
    ways += (
        ["sum", "mean"] * 2 * (target == 1) + ["join", "join"] * (target > 1) + ["twice"] * (target % 2 == 0)
    )
    if degree >= 2:
        ways += ["square"] * 4 + ["times"] * 4 + ["gate"] * 3 + ["outer"] + ["dot"] * (target == 1)
        ways += ["bilinear"] * (not places) + ["raw"] * 6 * (target == x)
    if degree >= 3:
        ways += ["cube"] + ["attend"] * 6 * bool(places)
    if places:
        ways += ["along"] * 2
    return ways


def _fixed(how):
    return ("fixed", how, ("x",)) if how else ("x",)


def _linear(draw, target, e):
    name, kind, gain = (draw(st.sampled_from(s)) for s in (NAMES, KINDS, GAINS))
    return ("linear", name, target, draw(st.booleans()), kind, gain, e)


@st.composite
def models(draw, n_in, n_out, n_ctx=0, vocab=0):
    """A model of one to three layers; the last one may be called twice."""
    free = draw(st.sampled_from((4, 4, 6, 8) if n_in * max(1, n_ctx) < 4 else (4, 5, 6)))
    layers, x = [], n_in
    depth = draw(st.integers(1, 3))
    for i in range(depth):
        target = n_out if i == depth - 1 else draw(st.integers(1, 2 if n_ctx else 4))
        e, degree = draw(expressions(x, n_in, target, free, draw(st.sampled_from((1, 1, 2, 2, 3))), n_ctx))
        layers.append(e)
        free, before, x = free // degree, x, target
    order = ()
    if before == n_out and free >= degree and draw(st.booleans()):
        order = (*range(depth), depth - 1)
    form = draw(st.sampled_from(("named", "sequential")))
    dtype = draw(st.sampled_from(("float64", "float64", "float32")))
    return Model(n_in, tuple(layers), order, draw(SEEDS), form, dtype, n_ctx, vocab)


@st.composite
def laws(draw, n_ctx=0, vocab=0):
    """A law that fits such models."""
    seed = draw(SEEDS)
    if vocab:
        return Law(draw(st.sampled_from(("tokens", "chain", "empirical"))), seed=seed)
    kind = draw(
        st.sampled_from(
            ("gaussian",) * 6
            + (
                "gaussian",
                "mixture",
                "mixture",
                "symmetric",
                "symmetric",
                "empirical",
                "empirical",
                "frobenius",
            )
        )
    )
    if kind in ("symmetric", "frobenius", "empirical"):
        return Law(kind, seed=seed)
    covs = ("", "diagonal", "full", "singular") + ("across", "joint") * bool(n_ctx)
    return Law(kind, draw(st.booleans()), draw(st.sampled_from(covs)), seed)


@st.composite
def cases(draw, questions):
    """Two models that read the same input and have as many outputs, a law, and some of ``questions``."""
    n_ctx = draw(st.sampled_from((0, 0, 0, 0, 0, 1, 2, 3)))
    vocab = draw(st.sampled_from((0, 2, 3))) if n_ctx else 0
    n_in = draw(st.integers(1, 4 if not n_ctx else 4 // n_ctx if not vocab else 2))
    n_out = draw(st.integers(1, 2 if n_ctx else 3))
    a = draw(models(n_in, n_out, n_ctx, vocab))
    b = replace(a, seed=draw(SEEDS)) if draw(st.booleans()) else draw(models(n_in, n_out, n_ctx, vocab))
    b = replace(b, dtype=a.dtype)
    asked = draw(st.lists(st.sampled_from(questions), min_size=4, max_size=4, unique=True))
    return Case(a, b, draw(laws(n_ctx, vocab)), tuple(asked))
