"""What is drawn, as plain data: its ``repr`` is the code of a named test.

A layer is an expression: nested tuples, the operation first, what it acts on last. The operations and their widths are
those of :func:`width`; :mod:`fuzz.build` makes torch modules of them.
"""

from dataclasses import dataclass
from math import prod

__all__ = ["Case", "Law", "Model", "children", "degree", "nodes", "width"]


@dataclass(frozen=True)
class Model:
    """A module: layers, each an expression in its input ``("x",)`` and the input of the model ``("x0",)``.

    Weights are drawn from ``seed`` and their names. Those named ``s…`` are shared by all layers. ``order`` lists the
    layers that are called, so that one may be called twice.
    """

    n_in: int
    layers: tuple
    order: tuple = ()
    seed: int = 0
    form: str = "named"  # or "sequential"
    dtype: str = "float64"
    n_ctx: int = 0  # positions; 0 for a vector
    vocab: int = 0  # tokens; 0 for numbers

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
            out.append(width(layer, out[-1], self.n_in))
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


def children(e):
    return tuple(c for c in e[1:] if isinstance(c, tuple) and c and isinstance(c[0], str))


def nodes(e):
    """An expression and all in it."""
    yield e
    for c in children(e):
        yield from nodes(c)


def width(e, x, x0):
    """Features of an expression, where the layer's input has ``x`` and the model's ``x0``."""
    op, inner = e[0], [width(c, x, x0) for c in children(e)]
    match op:
        case "x":
            return x
        case "x0":
            return x0
        case "linear" | "matrix" | "constant" | "bilinear":
            return e[2]
        case "attend" | "power" | "scaled" | "shift" | "zero" | "along" | "negative":
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
        case "x" | "x0":
            return 1
        case "power":
            return e[1] * inner[0]
        case "times" | "outer" | "dot" | "bilinear":
            return sum(inner)
        case "attend":
            return (3 if e[3] == "score" else 5) * inner[0]
    return max(inner)
