"""Random expressions of a layer."""

__all__ = ["FIXED", "GAINS", "KINDS", "NAMES", "expression", "layer"]

GAINS = (1.0,) * 8 + (0.1, 10.0, 1e-3, 1e3, 1e-6, 1e6)
KINDS = ("full",) * 6 + ("rank1", "zero", "whole", "nested")
NAMES = ("g", "v", "w", "shared", "s2", "hidden", "0", "in0")
FIXED = ("roll", "flip", "cumsum", "centre", "halves")
ALWAYS = ["plus", "minus", "lerp", "matrix", "fixed", "scaled", "shift", "negative", "take", "chunk", "pool"]
ALWAYS += ["add", "constant"]


def layer(pick, reads, target, degree, places=0):
    """Any expression; or one product of hidden units, or one attention, as they are most often written."""
    plain = pick.number(0, 5)
    if plain == 0 and degree >= 2:
        return _hidden(pick, reads["x"], target), 2
    if plain < 3 and degree >= 3 and places:
        return _attend(
            pick,
            reads["x"],
            target,
            degree,
            ("x",) if reads["x"] == target else _linear(pick, target, ("x",)),
        )
    return expression(pick, reads, target, degree, pick.one((1, 1, 2, 2, 3)), places)


def expression(pick, reads, target, degree, deep, places=0):
    """An expression of ``target`` features and at most ``degree`` in the layer's input; and its degree.

    Args:
        pick: what picks.
        reads: features of what the layer reads.
        target: features of the expression.
        degree: the most it may have.
        deep: how many more levels of operations there may be.
        places: positions, 0 for a vector.
    """
    x = reads["x"]
    ways = ["linear"] + ["x"] * 3 * (x == target) + [n for n in ("x0", "xb") if reads[n] == target]
    way = pick.one([*ways, *_ways(x, target, degree, places, deep)] if deep else ways)

    def sub(n=target, d=degree):
        return expression(pick, reads, n, d, deep - 1 if deep else 0, places)

    def beside(n=target, d=degree):  # a summand or factor may have one feature only, and is then repeated
        return sub(pick.one((n, n, n, 1)), d)

    match way:
        case "x" | "x0" | "xb":
            return (way,), 1
        case "linear" if deep == 0:
            return _linear(pick, target, ("x",)), 1
        case "linear":
            e, d = sub(pick.number(1, 4))
            return _linear(pick, target, e), d
        case "matrix":
            e, d = sub(pick.number(1, 4))
            return ("matrix", pick.one(NAMES), target, pick.one(KINDS[:-1]), e), d
        case "square" | "cube" | "fourth":
            n = {"square": 2, "cube": 3, "fourth": 4}[way]
            e, d = sub(d=degree // n)
            return ("power", n, e), n * d
        case "raw":  # products of coordinates as they are, or after a fixed matrix
            fixed = pick.one(("", "", "roll", "cumsum"))
            other = ("fixed", fixed, ("x",)) if fixed else ("x",)
            return pick.one((("power", 2, ("x",)), ("times", ("x",), other))), 2
        case "hidden":
            return _hidden(pick, x, target), 2
        case "times" | "gate":
            first, d = sub(d=degree // 2)
            second, c = beside(d=degree - d)
            product = ("times", first, second)
            return (("plus", first, product) if way == "gate" else product), c + d
        case "plus" | "minus" | "lerp":
            (first, d), (second, c) = sub(), beside()
            pair = (first, second) if pick.flag() else (second, first)
            extra = (pick.one((0.3, 1.5, 0.5)),) if way == "lerp" else ()
            return (way, *extra, *pair), max(c, d)
        case "scaled" | "shift":
            e, d = sub()
            return (way, pick.one((0.5, -1.0, 2.0, 1e-3, 1e3)), e), d
        case "negative" | "zero":
            e, d = sub()
            return (way, e), d
        case "constant":
            e, d = sub()
            return ("plus", e, ("constant", pick.one(NAMES), target, ("x",))), d
        case "fixed":
            e, d = sub()
            return ("fixed", pick.one(FIXED), e), d
        case "sum" | "mean":
            e, d = sub(pick.number(1, 4))
            return ("fixed", way, e), d
        case "pool":
            e, d = sub(target + 1)
            return ("fixed", "pool", e), d
        case "twice":
            e, d = sub(target // 2)
            return ("fixed", "twice", e), d
        case "take":
            n = pick.number(1, 4)
            e, d = sub(n)
            return ("take", tuple(pick.number(0, n - 1) for _ in range(target)), e), d
        case "chunk":
            e, d = sub(target + 1)
            start = pick.number(0, 1)
            return ("chunk", start, start + target, e), d
        case "join":
            n = pick.number(1, target - 1)
            how = "stack" if 2 * n == target and pick.flag() else "cat"
            (first, d), (second, c) = sub(n), sub(target - n)
            return ("join", how, first, second), max(c, d)
        case "add":
            (first, d), (second, c) = sub(), sub()
            return ("join", "sum", first, second), max(c, d)
        case "outer":
            n = pick.one([n for n in range(1, target + 1) if target % n == 0])
            first, d = sub(n, degree // 2)
            second, c = sub(target // n, degree - d)
            return ("outer", first, second), c + d
        case "dot":
            n = pick.number(1, 4)
            first, d = sub(n, degree // 2)
            second, c = sub(n, degree - d)
            return ("dot", first, second), c + d
        case "bilinear":
            first, d = sub(pick.number(1, 3), degree // 2)
            second, c = sub(pick.number(1, 3), degree - d)
            return ("bilinear", pick.one(NAMES), target, pick.flag(), first, second), c + d
        case "along":
            e, d = sub()
            return ("along", pick.one(("cumsum", "roll", "flip", "mean")), e), d
        case "attend":
            e, d = sub(d=1)
            return _attend(pick, x, target, degree, e)
    raise ValueError(way)


def _ways(x, target, degree, places, deep):
    ways = ALWAYS + ["zero"] * (deep < 3)
    ways += ["sum", "mean"] * 2 * (target == 1) + ["join"] * 2 * (target > 1) + ["twice"] * (target % 2 == 0)
    if degree >= 2:
        ways += ["square"] * 4 + ["times"] * 4 + ["gate"] * 3 + ["outer"] + ["dot"] * (target == 1)
        ways += ["bilinear"] * (not places) + ["raw"] * 6 * (target == x) + ["hidden"] * 3
    if degree >= 3:
        ways += ["cube"] + ["attend"] * 6 * bool(places)
    if degree >= 4:
        ways += ["fourth"]
    if places:
        ways += ["along"] * 2
    return ways


def _linear(pick, target, e):
    return ("linear", pick.one(NAMES), target, pick.flag(), pick.one(KINDS), pick.one(GAINS), e)


def _hidden(pick, x, target):
    """D((Lx)∘(Rx)), with or without a residual."""
    n = pick.number(1, 4)
    e = _linear(pick, target, ("units", ("times", *(_linear(pick, n, ("x",)) for _ in range(2)))))
    return _beside_x(pick, e, x == target)


def _attend(pick, x, target, degree, e):
    """Attention, with or without a residual."""
    kind = pick.one(("score", "square", "product") if degree >= 5 else ("score",))
    e = ("attend", pick.one(NAMES), pick.one((1, 2)), kind, pick.flag(), pick.number(0, 2) == 0, e)
    return _beside_x(pick, e, x == target), 3 if kind == "score" else 5


def _beside_x(pick, e, fits):
    """With or without a residual."""
    return ("plus", ("x",), e) if fits and pick.flag() else e
