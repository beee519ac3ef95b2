"""Random polynomial modules and laws, as the plain data of :mod:`fuzz.spec`.

Whatever is drawn is drawn by one object, ``pick``: by dice, for as many independent draws as one likes, or by
hypothesis, which shrinks what fails.
"""

from dataclasses import replace
from random import Random

from fuzz.expressions import GAINS, KINDS, NAMES, layer
from fuzz.spec import Case, Law, Model, given
from hypothesis import strategies as st

__all__ = ["cases", "draw_case", "rolled"]

LAYERS = ("0", "1", "2", "hid", "in", "out", "in0", "model", "ket", "x", "hid:h", "0/hid:h", "head")
MEMORY = (0.0,) * 4 + (1e6, 1e5)
ASKED = 8  # most do not apply to most cases
LAWS = ("gaussian",) * 7 + ("mixture",) * 2 + ("symmetric",) * 2 + ("empirical",) * 2 + ("frobenius",)


class Dice:
    """Picks independently."""

    def __init__(self, seed):
        self.random = Random(seed)

    def one(self, choices):
        return self.random.choice(list(choices))

    def number(self, low, high):
        return self.random.randint(low, high)

    def flag(self):
        return self.random.random() < 0.5

    def some(self, choices, count):
        return tuple(self.random.sample(list(choices), count))


class Drawn:
    """Picks by hypothesis."""

    def __init__(self, draw):
        self.draw = draw

    def one(self, choices):
        return self.draw(st.sampled_from(list(choices)))

    def number(self, low, high):
        return self.draw(st.integers(low, high))

    def flag(self):
        return self.draw(st.booleans())

    def some(self, choices, count):
        return tuple(
            self.draw(st.lists(st.sampled_from(list(choices)), min_size=count, max_size=count, unique=True))
        )


@st.composite
def cases(draw, questions):
    """A strategy of hypothesis."""
    return draw_case(Drawn(draw), questions)


def rolled(seed, number, questions):
    """Draw ``number`` of a campaign."""
    return draw_case(Dice(f"{seed}/{number}"), questions)


def draw_case(pick, questions):
    """Two models that read the same input and have as many outputs, a law, and some of ``questions``."""
    n_ctx = pick.one((0, 0, 0, 0, 0, 0, 1, 2, 2, 3))
    if n_ctx and pick.number(0, 39) == 0:
        return _attentions(pick, n_ctx, questions)
    vocab = pick.one((0, 2, 3)) if n_ctx else 0
    n_in = pick.number(1, 4 if not n_ctx else 4 // n_ctx if not vocab else 2)
    n_out = pick.number(1, 2 if n_ctx else 3)
    a = _model(pick, n_in, n_out, n_ctx, vocab)
    b = replace(a, seed=pick.number(0, 99)) if pick.flag() else _model(pick, n_in, n_out, n_ctx, vocab)
    b = replace(b, dtype=a.dtype)
    return Case(a, b, _law(pick, n_ctx, vocab), pick.some(questions, ASKED), pick.one(MEMORY))


def _attentions(pick, n_ctx, questions):
    """Two models of two attention layers: of degree 25, so that not all has an answer."""
    a = _two_attentions(pick, pick.number(1, 2 if n_ctx < 3 else 1), n_ctx)
    law = Law("gaussian", pick.flag(), pick.one(("", "diagonal", "full")), pick.number(0, 99))
    return Case(
        a, replace(a, seed=pick.number(0, 99)), law, ("paths", "attribute_heads", "layers", "layerwise")
    )


def _model(pick, n_in, n_out, n_ctx, vocab):
    """A model of one to three layers; the last one may be called twice."""
    free = pick.one((2, 3, 3, 3, 5) if n_ctx else (2, 2, 3, 3, 4, 4, 6, 8)[: 7 + (n_in < 4)])
    layers, widths = [], [n_in]
    depth = pick.number(1, 3)
    for i in range(depth):
        target = n_out if i == depth - 1 else pick.number(1, 2 if n_ctx else 4)
        e, degree = layer(pick, given(widths), target, free, n_ctx)
        layers.append(e)
        widths.append(target)
        free = free // degree
    again = widths[-2] == n_out and free >= degree and pick.flag()
    order = (*range(depth), depth - 1) if again else ()
    names = pick.some(LAYERS, len(order) or depth) if pick.flag() else ()
    form, dtype = pick.one(("named", "sequential")), pick.one(("float64", "float64", "float32"))
    return Model(n_in, tuple(layers), order, pick.number(0, 99), form, dtype, n_ctx, vocab, names)


def _two_attentions(pick, n_in, n_ctx):
    """A model of two attention layers without biases, with or without linear layers around."""

    def attend():
        name, heads, causal = pick.one(NAMES), pick.one((1, 2)), pick.flag()
        return ("plus", ("x",), ("attend", name, heads, "product", causal, False, ("x",)))

    def linear(n):
        return ("linear", pick.one(NAMES), n, False, pick.one(KINDS[:-1]), pick.one(GAINS[:-2]), ("x",))

    front, back = pick.flag(), pick.flag()
    layers = [linear(n_in)] * front + [attend(), attend()] + [linear(1)] * back
    return Model(n_in, tuple(layers), seed=pick.number(0, 99), n_ctx=n_ctx)


def _law(pick, n_ctx, vocab):
    """A law that fits such models."""
    seed = pick.number(0, 99)
    if vocab:
        return Law(pick.one(("tokens", "chain", "empirical")), seed=seed)
    kind = pick.one(LAWS)
    if kind in ("symmetric", "frobenius", "empirical"):
        return Law(kind, seed=seed)
    covs = ("", "diagonal", "full", "singular") + ("across", "joint") * bool(n_ctx)
    return Law(kind, pick.flag(), pick.one(covs), seed)
