"""What is drawn, as plain data: its ``repr`` is the code of a named test.

A layer is an expression: nested tuples, the operation first, what it acts on last. The operations and their widths are
those of :func:`width`; :mod:`fuzz.build` makes torch modules of them.
"""

from dataclasses import dataclass
from math import prod

__all__ = ["Case", "Law", "Model", "children", "degree", "given", "nodes", "width"]


@dataclass(frozen=True)
class Model:
    """A module: layers, each an expression in its input ``("x",)``, the input of the layer before ``("xb",)`` and that of
    the model ``("x0",)``.

    Weights are drawn from ``seed`` and their names. Those named ``s…`` are shared by all layers. ``order`` lists the
    layers that are called, so that one may be called twice. ``names`` are those of the called layers; without them the
    layers stand in a list.
    """

    n_in: int
    layers: tuple
    order: tuple = ()
    seed: int = 0
    form: str = "named"  # or "sequential"
    dtype: str = "float64"
    n_ctx: int = 0  # positions; 0 for a vector
    vocab: int = 0  # tokens; 0 for numbers
    names: tuple = ()

    @property
    def called(self):
        return tuple(self.layers[i] for i in self.order) if self.order else self.layers

    @property
    def degree(self):
        """A bound on the degree of the model."""
        return prod(degree(layer) for layer in self.called)

    @property
    def widths(self):
        """Features before, between and behind the layers."""
        out = [self.n_in]
        for layer in self.called:
            out.append(width(layer, given(out)))
        return out


@dataclass(frozen=True)
class Law:
    """A law of the input; its numbers are drawn from ``seed``."""

    kind: str = "gaussian"  # mixture, symmetric, frobenius, empirical, tokens, chain
    mean: bool = False
    cov: str = ""  # diagonal, full, singular, across
    seed: int = 0


@dataclass(frozen=True)
class Case:
    """Two models, a law, and what is asked of them."""

    a: Model
    b: Model
    law: Law = Law()
    ask: tuple = ()
    memory: float = 0.0  # bytes that intermediate tensors may take; 0 for no limit


def children(e):
    return tuple(c for c in e[1:] if isinstance(c, tuple) and c and isinstance(c[0], str))


def nodes(e):
    """An expression and all in it."""
    yield e
    for c in children(e):
        yield from nodes(c)


def given(widths):
    """Features of what a layer may read, from those of all states so far."""
    return {"x": widths[-1], "x0": widths[0], "xb": widths[-2] if len(widths) > 1 else widths[0]}


def width(e, given):
    """Features of an expression, from those of what it reads: see :func:`given`."""
    op, inner = e[0], [width(c, given) for c in children(e)]
    match op:
        case "x" | "x0" | "xb":
            return given[op]
        case "linear" | "matrix" | "constant" | "bilinear":
            return e[2]
        case "attend" | "power" | "scaled" | "shift" | "zero" | "along" | "negative" | "units":
            return inner[0]
        case "fixed":
            return {"sum": 1, "mean": 1, "pool": inner[0] - 1, "twice": 2 * inner[0]}.get(e[1], inner[0])
        case "take":
            return len(e[1])
        case "chunk":
            return e[2] - e[1]
        case "join":
            return max(inner) if e[1] == "sum" else sum(inner)
        case "outer":
            return inner[0] * inner[1]
        case "dot":
            return 1
        case "plus" | "minus" | "times" | "lerp":
            return max(inner)
    raise ValueError(op)


def degree(e):
    """A bound on the degree of an expression in the input of its layer."""
    inner = [degree(c) for c in children(e)]
    match e[0]:
        case "x" | "x0" | "xb":
            return 1
        case "power":
            return e[1] * inner[0]
        case "times" | "outer" | "dot" | "bilinear":
            return sum(inner)
        case "attend":
            return (3 if e[3] == "score" else 5) * inner[0]
    return max(inner)
