"""What the random architectures are made of, and what is asked about them, is counted."""

from dataclasses import replace

import pytest
from fuzz.build import build
from fuzz.draws import rolled
from fuzz.expressions import FIXED, GAINS, KINDS
from fuzz.laws import tnsim_law
from fuzz.questions import QUESTIONS, asked_by
from fuzz.shrink import shrunk
from fuzz.spec import Case, Model, children, nodes

import tnsim

NAMES = tuple(QUESTIONS)

ANSWERS = (
    "Cost",
    "Decomposition",
    "Explanation",
    "Gram",
    "Group",
    "Localisation",
    "Modes",
    "Nearest",
    "Paths",
    "Phases",
)
ANSWERS += ("Crossed", "Ranks", "Shares", "Tangent", "Trajectory", "Truncation")
NOT_ASKED = {
    **dict.fromkeys(("curves", "draw", "heatmap", "heatmaps", "image", "scree", "view"), "gives a picture"),
    **dict.fromkeys(
        ("Checkpoints", "checkpoints", "load", "load_network", "report", "save"), "reads or writes files"
    ),
    **dict.fromkeys(
        ("draws", "Estimate", "SamplingError", "null", "Null"),
        "is of random draws: tested against its error bars, in tests of its own",
    ),
    "clear_cache": "gives nothing",
    "explain": "gives prices, which make that of cost: tested by themselves",
    **dict.fromkeys(("lab", "nn"), "is a collection: its models are tested by themselves"),
    **dict.fromkeys(
        (
            "ComposeError",
            "ConvertError",
            "CostError",
            "MeasureError",
            "NetworkFileError",
            "WorkerError",
            "ScaleError",
            "WireError",
        ),
        "is an error",
    ),
    **dict.fromkeys(("Measure", "Poly", "Term"), "is what networks and laws are made of"),
    **dict.fromkeys(ANSWERS, "is the answer to a question, whose values are compared"),
    **dict.fromkeys(
        ("Empirical", "Gaussian", "MarkovChain", "Mixture", "Symmetric", "Tokens"), "is a law, see LAWS"
    ),
}


def test_every_public_name_is_asked_or_there_is_a_reason():
    asked = set().union(*map(asked_by, QUESTIONS.values()))
    assert asked - set(tnsim.__all__) == set()
    assert set(tnsim.__all__) - asked == set(NOT_ASKED)


def _drawn(count=1500):
    return [rolled(0, k, NAMES) for k in range(count)]


CASES = _drawn()
LAWS = ("gaussian", "mixture", "symmetric", "empirical", "frobenius", "tokens", "chain")


def _has(test):
    """Cases of which a model has such a layer."""
    return sum(any(test(e) for m in (c.a, c.b) for layer in m.called for e in nodes(layer)) for c in CASES)


def _reads(e, kind):
    return any(n == (kind,) for n in nodes(e))


RAW = (("x",), ("x0",), ("xb",))
CONTENTS = {
    "squares of raw coordinates": lambda e: e[0] == "power" and e[2] in RAW,
    "products of raw coordinates": lambda e: e[0] == "times" and e[1] in RAW and e[2] in RAW,
    "products with rolls of raw coordinates": lambda e: e[0] == "times" and e[2] == ("fixed", "roll", ("x",)),
    "outer products": lambda e: e[0] == "outer",
    "inner products": lambda e: e[0] == "dot",
    "powers": lambda e: e[0] == "power" and e[1] > 2,
    "concatenation": lambda e: e[0] == "join" and e[1] == "cat",
    "stacking": lambda e: e[0] == "join" and e[1] == "stack",
    "selection, also of one thing twice": lambda e: e[0] == "take" and len(set(e[1])) < len(e[1]),
    "slices": lambda e: e[0] == "chunk",
    "gates": lambda e: e[0] == "plus" and e[2][0] == "times" and e[2][1] == e[1],
    "gates without bias": lambda e: (
        e[0] == "plus"
        and e[2][0] == "times"
        and e[2][1] == e[1]
        and e[2][2][0] == "linear"
        and not e[2][2][3]
    ),
    "gates with bias": lambda e: (
        e[0] == "plus" and e[2][0] == "times" and e[2][1] == e[1] and e[2][2][0] == "linear" and e[2][2][3]
    ),
    "residuals within a layer": lambda e: e[0] in ("plus", "minus", "lerp") and ("x",) in children(e),
    "residuals across a layer": lambda e: e[0] in ("plus", "minus", "lerp") and ("xb",) in children(e),
    "residuals across the model": lambda e: e[0] in ("plus", "minus", "lerp") and ("x0",) in children(e),
    "constants": lambda e: e[0] == "constant",
    "zeros": lambda e: e[0] == "zero",
    "hidden units": lambda e: e[0] == "units",
    "attention with one head": lambda e: e[0] == "attend" and e[2] == 1,
    "attention with heads": lambda e: e[0] == "attend" and e[2] == 2,
    "attention with biases": lambda e: e[0] == "attend" and e[5],
    "causal attention": lambda e: e[0] == "attend" and e[4],
    "moves along the sequence": lambda e: e[0] == "along",
    **{
        f"attention to a {k}": lambda e, k=k: e[0] == "attend" and e[3] == k
        for k in ("score", "square", "product")
    },
    **{
        f"the fixed matrix {k}": lambda e, k=k: e[0] == "fixed" and e[1] == k
        for k in (*FIXED, "sum", "mean", "pool", "twice")
    },
    **{f"weights that are {k}": lambda e, k=k: e[0] == "linear" and e[4] == k for k in KINDS},
    **{f"gains of {k}": lambda e, k=k: e[0] == "linear" and e[5] == k for k in GAINS},
}


@pytest.mark.parametrize("what", CONTENTS)
def test_models_contain(what):
    assert _has(CONTENTS[what]) >= 5


MODELS = {
    "a layer that is called twice": lambda m: bool(m.order),
    "weights shared by layers": lambda m: sum("'shared'" in repr(e) for e in m.called) > 1,
    "layers in a Sequential": lambda m: m.form == "sequential" and not m.names,
    "layers in a Sequential by name": lambda m: m.form == "sequential" and bool(m.names),
    "layers in a list": lambda m: m.form == "named" and not m.names,
    "layers named like indices": lambda m: bool({"hid:h", "0/hid:h", "in0", "in", "out"} & set(m.names)),
    "sequences without attention": lambda m: m.n_ctx > 1 and "attend" not in repr(m.layers),
    "sequences with attention": lambda m: m.n_ctx > 1 and "attend" in repr(m.layers),
    "tokens": lambda m: m.vocab > 0,
    "single precision": lambda m: m.dtype == "float32",
    "one, two and three layers": lambda m: len(m.layers) == 3,
}


@pytest.mark.parametrize("what", MODELS)
def test_models_are(what):
    assert sum(MODELS[what](m) for c in CASES for m in (c.a, c.b)) >= 20


@pytest.mark.parametrize("kind", LAWS)
def test_laws_are(kind):
    cases = [c for c in CASES if c.law.kind == kind]
    assert len(cases) >= 20
    tnsim_law(cases[0].law, cases[0].a)


def test_gaussian_laws_have_means_and_singular_covariances():
    gaussian = [c.law for c in CASES if c.law.kind in ("gaussian", "mixture")]
    for cov in ("", "diagonal", "full", "singular", "across", "joint"):
        assert {law.mean for law in gaussian if law.cov == cov} == {False, True}


def test_draws_are_not_alike():
    """Independent draws; those that hypothesis varies resemble each other."""
    assert len({repr(replace(c, ask=())) for c in CASES}) > 0.98 * len(CASES)


def test_every_question_is_drawn():
    assert {q for c in CASES for q in c.ask} == set(QUESTIONS)


def test_what_fails_is_made_smaller():
    """A question that is wrong about squares; what is left of a case is a square."""

    def wrong(run):
        assert "power" not in repr(run.case)
        return True

    x = ("x",)
    layer = (
        "plus",
        ("linear", "w", 2, True, "rank1", 10.0, x),
        ("power", 2, ("linear", "v", 2, True, "full", 1.0, x)),
    )
    model = Model(2, (layer, ("linear", "g", 2, True, "full", 1.0, x)), seed=3)
    small = shrunk(Case(model, model, ask=("wrong",), memory=1e5), {"wrong": wrong})
    assert "power" in repr(small) and len(repr(small)) < len(repr(Case(model, model))) / 1.5
    assert build(small.a)
