"""Cases that once failed, as they were shrunk."""

import pytest
from fuzz.build import build
from fuzz.check import passes
from fuzz.questions import QUESTIONS
from fuzz.spec import Case, Law, Model

import tnsim

X = ("x",)
LINEAR = ("linear", "w", 2, True, "full", 1.0, X)
ONE = ("linear", "v", 1, True, "full", 1.0, X)
SQUARE = Model(3, (("times", X, X),))

FOUND = {
    "a linear layer goes over into a quadratic one, layer by layer": Case(
        a=Model(
            n_in=3,
            layers=(("linear", "0", 3, True, "full", 1.0, ("linear", "w", 3, False, "full", 1.0, ("x",))),),
            seed=5,
        ),
        b=Model(n_in=3, layers=(("times", ("x",), ("x",)),), order=(0, 0), seed=7),
        ask=("attribute_layers_layerwise",),
    ),
    "a large layer is followed by what makes it small": Case(
        a=Model(
            n_in=4,
            layers=(
                ("plus", ("linear", "shared", 1, False, "full", 1.0, ("x",)), ("constant", "v", 1, ("x",))),
            ),
            seed=42,
            dtype="float32",
        ),
        b=Model(
            n_in=4,
            layers=(
                ("fixed", "sum", ("linear", "v", 2, True, "full", 1000000.0, ("x",))),
                ("fixed", "sum", ("linear", "w", 3, True, "whole", 1e-06, ("x",))),
            ),
            seed=79,
            dtype="float32",
        ),
        law=Law(cov="singular", seed=53),
        ask=("attribute_layers_layerwise",),
        memory=100000.0,
    ),
    "a model without inputs has no shares of inputs": Case(
        a=Model(
            n_in=4,
            layers=(
                ("linear", "0", 3, False, "full", 1.0, ("x",)),
                (
                    "linear",
                    "w",
                    1,
                    True,
                    "nested",
                    1.0,
                    ("zero", ("linear", "v", 2, False, "whole", 0.001, ("x",))),
                ),
            ),
            seed=59,
        ),
        b=Model(
            n_in=4,
            layers=(
                ("linear", "0", 3, False, "full", 1.0, ("x",)),
                (
                    "linear",
                    "w",
                    1,
                    True,
                    "nested",
                    1.0,
                    ("zero", ("linear", "v", 2, False, "whole", 0.001, ("x",))),
                ),
            ),
            seed=60,
        ),
        law=Law(seed=51),
        ask=("attribute_inputs_layerwise",),
    ),
    "an interaction far below what is linear": Case(
        a=Model(
            n_in=1,
            layers=(
                (
                    "linear",
                    "w",
                    2,
                    True,
                    "whole",
                    1e-06,
                    ("times", ("x",), ("linear", "0", 4, False, "full", 0.001, ("x",))),
                ),
                ("lerp", 0.3, ("linear", "w", 1, False, "full", 1.0, ("x",)), ("x0",)),
            ),
            dtype="float32",
        ),
        b=Model(n_in=1, layers=(("xb",),), seed=5, dtype="float32"),
        law=Law(mean=True, seed=54),
        ask=("spectrum",),
    ),
    "wires alone have input legs in quimb": Case(SQUARE, SQUARE, ask=("to_quimb",)),
    "wires behind wires as well": Case(Model(2, (("power", 2, X), X)), SQUARE, ask=("to_quimb",)),
    "models without weights are stacked": Case(
        SQUARE, SQUARE, ask=("stack", "stacked", "gram", "layerwise_gram")
    ),
    "one feature is repeated at a single position": Case(
        *[Model(2, (("plus", LINEAR, ONE),), seed=seed, n_ctx=1) for seed in (0, 1)],
        ask=("similarity", "collapse"),
    ),
    "a sum of what was centred is zero but for rounding": Case(
        *[Model(2, (("fixed", "centre", LINEAR), ("fixed", "sum", X)), seed=seed) for seed in (16, 17)],
        ask=("inner",),
    ),
    "a hidden state that is zero is cut to one coordinate": Case(
        Model(
            2,
            (
                ("zero", LINEAR),
                ("plus", ("times", X, X), ("constant", "c", 2, X)),
                ("linear", "w", 2, True, "full", 1.0, ("power", 2, X)),
            ),
        ),
        Model(2, (LINEAR,)),
        ask=("truncate", "truncate_to_an_error", "spectrum"),
    ),
    "models that are zero are stacked": Case(
        *[Model(2, (("zero", LINEAR), ("plus", X, ("power", 2, LINEAR))), seed=s) for s in (0, 1)],
        ask=("gram", "stacked", "layerwise_gram"),
    ),
    "what is left of a stack has no weights": Case(
        *[Model(2, (("zero", LINEAR), ("shift", 0.5, X)), seed=s) for s in (0, 1)],
        ask=("gram", "stacked", "layerwise_gram"),
    ),
    "a product of constants": Case(
        Model(2, (("plus", ("zero", LINEAR), ("constant", "c", 2, X)), ("power", 2, X))),
        Model(2, (LINEAR,)),
        ask=("inner", "gram", "collapse"),
    ),
    "products of tokens at a single position": Case(
        *[
            Model(1, (("outer", ("linear", "g", 2, True, "full", 1.0, X), X),), seed=s, n_ctx=1, vocab=2)
            for s in (0, 1)
        ],
        Law("tokens"),
        ("similarity", "gram"),
    ),
    "a derivative passes through weights that are zero": Case(
        Model(
            1,
            (
                (
                    "plus",
                    ("linear", "g", 4, False, "full", 1.0, X),
                    ("times", X, ("linear", "z", 4, False, "zero", 1.0, X)),
                ),
            ),
        ),
        Model(1, (("times", X, ("linear", "g", 4, False, "full", 1.0, X)),), seed=1),
        ask=("gradient", "entk", "kernel_alignment"),
    ),
    "a variance for every feature is no matrix where there are as many positions": Case(
        *[Model(2, (LINEAR,), seed=s, n_ctx=2) for s in (0, 1)],
        Law("gaussian", False, "diagonal", 3),
        ("inner", "moments"),
    ),
    "one model's states have positions and the other's have none": Case(
        Model(1, (("along", "mean", ONE),), n_ctx=2),
        Model(
            1,
            (
                (
                    "linear",
                    "w",
                    1,
                    True,
                    "full",
                    1.0,
                    ("units", ("times", ("linear", "l", 3, False, "full", 1.0, X), ONE)),
                ),
            ),
            n_ctx=2,
        ),
        Law("gaussian", True, "diagonal", 3),
        ("inner", "nearest", "layerwise"),
    ),
    "a large and a small factor are polarised": Case(
        Model(
            4,
            (
                (
                    "times",
                    ("linear", "v", 2, False, "full", 1000000.0, X),
                    ("linear", "w", 2, True, "full", 1.0, X),
                ),
            ),
            seed=39,
        ),
        Model(4, (("linear", "w", 2, True, "full", 1.0, X),)),
        ask=("unfold",),
    ),
    "a module rounds where the network is zero": Case(
        *[
            Model(
                2,
                (
                    ("power", 2, ("linear", "g", 1, False, "full", 1.0, X)),
                    ("fixed", "mean", ("fixed", "centre", ("join", "cat", X, ("xb",)))),
                    ("fixed", "twice", ("plus", X, X)),
                ),
                seed=s,
                n_ctx=1,
                vocab=2,
            )
            for s in (11, 40)
        ],
        Law("chain"),
        ("layers",),
    ),
    "a network rounds where the module is zero": Case(
        *[
            Model(
                2,
                (
                    ("fixed", "pool", X),
                    ("fixed", "pool", ("fixed", "centre", ("linear", "in0", 2, True, "full", 1.0, X))),
                ),
                seed=s,
                n_ctx=3,
                vocab=2,
            )
            for s in (78, 79)
        ],
        Law("chain"),
        ("inner",),
    ),
    "a mode of either sign, and a missing one": Case(
        *[
            Model(
                4,
                (("times", *[("fixed", "sum", x) for x in (("linear", "0", 3, False, "full", 1.0, X), X)]),),
                seed=s,
            )
            for s in (0, 1)
        ],
        Law("gaussian", True, "singular", 98),
        ("spectrum",),
    ),
    "indices of size one beyond the letters of einsum": Case(
        *[
            Model(
                2,
                (
                    ("power", 4, ("linear", "w", 3, True, "full", 1000.0, X)),
                    (
                        "bilinear",
                        "w",
                        3,
                        True,
                        X,
                        ("join", "cat", ("xb",), ("linear", "hidden", 1, False, "nested", 1.0, X)),
                    ),
                ),
                seed=s,
            )
            for s in (34, 35)
        ],
        ask=("lift",),
    ),
    "a state without dimensions": Case(
        Model(
            2,
            (X, ("linear", "0", 3, False, "nested", 1.0, X), ("linear", "w", 3, True, "zero", 1.0, ("xb",))),
            order=(0, 1, 2, 2),
            seed=4,
        ),
        Model(2, (("linear", "w", 3, True, "zero", 1.0, ("xb",)),), seed=46),
        Law("mixture", True, "", 96),
        ("truncate_layerwise",),
    ),
    "too many contractions to plan": Case(
        Model(3, (("fixed", "twice", ("matrix", "0", 1, "rank1", X)), X), seed=12, form="sequential"),
        Model(
            3,
            (
                (
                    "linear",
                    "g",
                    1,
                    False,
                    "full",
                    1.0,
                    ("units", ("times", *[("linear", n, 4, True, "full", 1.0, X) for n in "0g"])),
                ),
                (
                    "linear",
                    "s2",
                    4,
                    True,
                    "full",
                    1.0,
                    ("units", ("times", *[("linear", n, 3, True, "full", 1.0, X) for n in "vs"])),
                ),
                (
                    "bilinear",
                    "s2",
                    2,
                    True,
                    ("fixed", "pool", ("linear", "0", 2, True, "full", 0.001, X)),
                    ("lerp", 1.5, ("x0",), ("linear", "0", 1, True, "rank1", 1e-06, X)),
                ),
            ),
            seed=10,
            form="sequential",
        ),
        Law("symmetric", False, "", 32),
        ("cost",),
    ),
    "a bias beside an index of one tensor alone": Case(
        a=Model(
            n_in=1,
            layers=(("linear", "w", 2, True, "nested", 1e-06, ("x",)),),
            seed=86,
            dtype="float32",
            n_ctx=2,
        ),
        b=Model(
            n_in=1,
            layers=(
                (
                    "attend",
                    "0",
                    2,
                    "score",
                    False,
                    False,
                    ("linear", "hidden", 2, True, "nested", 1e-06, ("x",)),
                ),
            ),
            seed=86,
            dtype="float32",
            n_ctx=2,
        ),
        law=Law(kind="mixture", cov="joint", seed=46),
        ask=("inner",),
    ),
    "tokens read by one position without an axis": Case(
        a=Model(n_in=1, layers=(("x",),), seed=37, dtype="float32", n_ctx=1, vocab=3),
        b=Model(
            n_in=1,
            layers=(
                ("attend", "s2", 1, "product", True, False, ("linear", "v", 2, True, "rank1", 1.0, ("x",))),
                ("linear", "w", 1, False, "full", 1.0, ("x",)),
            ),
            seed=60,
            dtype="float32",
            n_ctx=1,
            vocab=3,
        ),
        law=Law(kind="tokens", seed=13),
        ask=("gram",),
    ),
    "what a model is alone, layer by layer": Case(
        a=Model(
            n_in=2,
            layers=(("linear", "hidden", 2, True, "full", 1.0, ("power", 2, ("x",))),),
            seed=90,
            n_ctx=2,
            vocab=3,
        ),
        b=Model(
            n_in=2,
            layers=(("plus", ("x",), ("linear", "0", 2, False, "full", 1.0, ("times", ("x",), ("x",)))),),
            seed=43,
            form="sequential",
            n_ctx=2,
            vocab=3,
        ),
        law=Law(kind="tokens", seed=14),
        ask=("layerwise_gram",),
        memory=1000000.0,
    ),
    "inputs whose index is called an inner one": Case(
        a=Model(
            n_in=3,
            layers=(("times", ("x",), ("x",)), ("linear", "0", 3, True, "full", 1.0, ("x",))),
            seed=17,
            dtype="float32",
        ),
        b=Model(
            n_in=3,
            layers=(("times", ("x",), ("x",)), ("linear", "0", 3, True, "full", 1.0, ("x",))),
            seed=18,
            dtype="float32",
        ),
        law=Law(kind="symmetric", seed=26),
        ask=("aligned_weight_cosine",),
    ),
    "heads of a layer that is zero": Case(
        a=Model(
            n_in=1,
            layers=(
                (
                    "attend",
                    "in0",
                    1,
                    "square",
                    True,
                    False,
                    ("linear", "shared", 2, False, "rank1", 1000.0, ("x",)),
                ),
                ("x",),
            ),
            seed=63,
            form="sequential",
            n_ctx=1,
            vocab=3,
        ),
        b=Model(
            n_in=1,
            layers=(
                (
                    "attend",
                    "in0",
                    1,
                    "square",
                    True,
                    False,
                    ("linear", "shared", 2, False, "rank1", 1000.0, ("x",)),
                ),
                ("zero", ("x",)),
            ),
            seed=63,
            form="sequential",
            n_ctx=1,
            vocab=3,
        ),
        law=Law(kind="tokens", seed=53),
        ask=("attribute_heads",),
    ),
    "layers are called as places are": Case(
        *[
            Model(
                2,
                (("power", 2, LINEAR), ("linear", "v", 2, True, "full", 1.0, ("power", 2, X)), LINEAR),
                seed=s,
                names=n,
            )
            for s, n in ((0, ("out", "in", "x")), (1, ("a", "b", "c")))
        ],
        ask=("truncate", "unfold", "truncate_units"),
    ),
    "what is large cancels in a linear layer that reads tokens": Case(
        a=Model(
            n_in=2,
            layers=(
                ("take", (0, 0), ("linear", "hidden", 1, True, "full", 1000000.0, ("x",))),
                ("take", (0,), ("scaled", 0.001, ("linear", "s2", 1, False, "rank1", 1.0, ("x",)))),
                (
                    "plus",
                    ("x",),
                    (
                        "linear",
                        "w",
                        1,
                        True,
                        "nested",
                        1.0,
                        ("units", ("linear", "w", 4, True, "whole", 1.0, ("x",))),
                    ),
                ),
            ),
            seed=53,
            n_ctx=2,
            vocab=2,
            names=("x", "in0", "ket"),
        ),
        b=Model(
            n_in=2,
            layers=(
                ("take", (0, 0), ("linear", "hidden", 1, True, "full", 1000000.0, ("x",))),
                ("take", (0,), ("scaled", 0.001, ("linear", "s2", 1, False, "rank1", 1.0, ("x",)))),
                (
                    "plus",
                    ("x",),
                    (
                        "linear",
                        "w",
                        1,
                        True,
                        "nested",
                        1.0,
                        (
                            "units",
                            (
                                "times",
                                ("linear", "in0", 4, False, "full", 10.0, ("x",)),
                                ("linear", "w", 4, True, "whole", 1.0, ("x",)),
                            ),
                        ),
                    ),
                ),
            ),
            seed=80,
            n_ctx=2,
            vocab=2,
            names=("x", "in0", "ket"),
        ),
        law=Law(kind="tokens", seed=15),
        ask=("layerwise",),
    ),
    "a module rounds far above what is left": Case(
        a=Model(
            n_in=2,
            layers=(
                ("x",),
                ("linear", "w", 2, False, "rank1", 0.001, ("linear", "v", 4, False, "whole", 1e-06, ("x",))),
                ("minus", ("x0",), ("x",)),
            ),
            order=(0, 1, 2, 2),
            dtype="float32",
        ),
        b=Model(n_in=2, layers=(("x",),), seed=16, dtype="float32"),
        law=Law(mean=True, seed=5),
    ),
    "a mean of what was centred": Case(
        a=Model(n_in=1, layers=(("x0",),), n_ctx=3, vocab=3),
        b=Model(
            n_in=1,
            layers=(
                (
                    "fixed",
                    "mean",
                    (
                        "fixed",
                        "centre",
                        ("join", "stack", ("x0",), ("linear", "0", 1, False, "full", 1.0, ("x",))),
                    ),
                ),
            ),
            seed=89,
            n_ctx=3,
            vocab=3,
        ),
        law=Law(kind="chain"),
    ),
    "a constant is summed over positions": Case(
        a=Model(n_in=2, layers=(("x",),), seed=24, form="sequential", n_ctx=2, vocab=3),
        b=Model(
            n_in=2,
            layers=(
                (
                    "attend",
                    "hidden",
                    1,
                    "square",
                    False,
                    False,
                    (
                        "plus",
                        ("zero", ("linear", "s2", 2, False, "full", 1e-06, ("x",))),
                        ("constant", "v", 2, ("x",)),
                    ),
                ),
            ),
            seed=95,
            form="sequential",
            n_ctx=2,
            vocab=3,
        ),
        law=Law(kind="chain", seed=73),
        ask=("gram_in_little_memory",),
    ),
    "units that are read through wires alone": Case(
        a=Model(n_in=2, layers=(("times", ("x0",), ("x",)),)),
        b=Model(n_in=2, layers=(("x",),), seed=1),
        ask=("truncate_units",),
    ),
    "no parameter reaches the output": Case(Model(2, (LINEAR, ("x0",))), Model(2, (LINEAR,)), ask=("entk",)),
}


@pytest.mark.parametrize("name", FOUND)
def test_found(name):
    rows = passes(FOUND[name], QUESTIONS, seconds=60)
    assert {outcome for _, outcome, _ in rows} <= {"equal", "undecided"}, rows


REFUSED = {
    "has no hidden units": Case(
        a=Model(
            n_in=1,
            layers=(
                (
                    "linear",
                    "in0",
                    2,
                    True,
                    "full",
                    1000000.0,
                    ("units", ("times", ("linear", "in0", 4, True, "nested", 1.0, ("x",)), ("x",))),
                ),
                ("linear", "hidden", 3, True, "full", 1000.0, ("x",)),
            ),
            seed=35,
            n_ctx=2,
            vocab=2,
        ),
        b=Model(
            n_in=1,
            layers=(
                (
                    "linear",
                    "in0",
                    2,
                    True,
                    "full",
                    1000000.0,
                    ("units", ("times", ("linear", "in0", 4, True, "nested", 1.0, ("x",)), ("x",))),
                ),
                ("linear", "hidden", 3, True, "full", 1000.0, ("x",)),
            ),
            seed=35,
            n_ctx=2,
            vocab=2,
        ),
        law=Law(kind="chain", seed=47),
        ask=("attribute_hidden",),
    ),
    "needs the same outputs": Case(
        a=Model(
            n_in=1,
            layers=(
                (
                    "linear",
                    "w",
                    2,
                    True,
                    "full",
                    1.0,
                    (
                        "units",
                        (
                            "times",
                            ("linear", "w", 4, False, "full", 1.0, ("x",)),
                            ("linear", "0", 4, False, "full", 1.0, ("x",)),
                        ),
                    ),
                ),
                ("join", "stack", ("scaled", 2.0, ("xb",)), ("shift", 0.5, ("lerp", 1.5, ("xb",), ("xb",)))),
            ),
            order=(0, 1, 1),
            seed=91,
            n_ctx=2,
            vocab=2,
            names=("model", "hid:h", "head"),
        ),
        b=Model(
            n_in=1,
            layers=(
                (
                    "attend",
                    "hidden",
                    2,
                    "score",
                    False,
                    False,
                    ("linear", "in0", 2, False, "nested", 1.0, ("x",)),
                ),
                ("scaled", 0.001, ("scaled", 0.5, ("x",))),
                ("fixed", "twice", ("fixed", "sum", ("x0",))),
            ),
            order=(0, 1, 2, 2),
            seed=23,
            form="sequential",
            n_ctx=2,
            vocab=2,
            names=("x", "model", "2", "out"),
        ),
        law=Law(kind="chain", seed=76),
        ask=(
            "decompose",
            "similarity_of_modules",
            "attribute_layers",
            "attribute_outputs",
            "nearest",
            "collapse",
            "gram_as_a_whole",
            "gram_in_little_memory",
        ),
        memory=1000000.0,
    ),
    "no heads": Case(
        a=Model(
            n_in=1,
            layers=(("attend", "w", 2, "score", True, True, ("linear", "w", 2, True, "full", 1.0, ("x",))),),
            n_ctx=1,
            vocab=3,
        ),
        b=Model(
            n_in=1,
            layers=(("attend", "w", 2, "score", True, True, ("linear", "w", 2, True, "full", 1.0, ("x",))),),
            seed=1,
            n_ctx=1,
            vocab=3,
        ),
        law=Law(kind="chain"),
        ask=("attribute_heads",),
    ),
    "cannot be exchanged": Case(
        a=Model(
            n_in=1,
            layers=(
                ("attend", "0", 2, "score", True, False, ("linear", "w", 2, False, "full", 1.0, ("x",))),
            ),
            n_ctx=2,
            vocab=2,
        ),
        b=Model(
            n_in=1,
            layers=(("times", ("x",), ("xb",)), ("linear", "w", 2, True, "full", 1.0, ("x",))),
            n_ctx=2,
            vocab=2,
        ),
        law=Law(kind="tokens", seed=86),
        ask=("attribute_layers_layerwise",),
    ),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_has_no_split_is_refused(said):
    """Heads whose biases were merged, layers between which a law jumps, units where positions are features."""
    (_, outcome, text) = passes(REFUSED[said], QUESTIONS, seconds=60)[-1]
    assert outcome == "refused" and said in text


def test_positions_are_not_taken_for_hidden_units():
    """Refused in words; shares of positions were given before."""
    product = ("times", *[("linear", n, 4, True, "full", 1.0, X) for n in "lr"])
    layer = ("linear", "d", 2, True, "full", 1.0, ("units", product))
    case = Case(*[Model(2, (layer,), seed=s, n_ctx=2) for s in (0, 1)], ask=("attribute_hidden",))
    (_, outcome, text) = passes(case, QUESTIONS, seconds=60)[-1]
    assert outcome == "refused" and "no hidden units" in text


def test_a_layer_called_out_is_not_taken_for_the_output():
    model = Model(2, (("power", 2, LINEAR), ("power", 2, LINEAR)), names=("out", "b"))
    with pytest.raises(KeyError, match="write 1 for the place behind it, 2 for that end"):
        tnsim.unfold(tnsim.convert(build(model)), "out")


def test_laws_are_data():
    assert eval(repr(case := Case(SQUARE, SQUARE, Law("mixture", True, "full", 3), ("inner",)))) == case
