"""Layer by layer, model by model: every entry is the index of its pair; chance is what unrelated models give."""

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

import tnsim

torch.set_num_threads(1)


def mlp(n_layer=1, width=5, seed=0):
    torch.manual_seed(seed)
    return tnsim.nn.BilinearMLP(6, 4, width, 3, n_layer)


def test_every_cut_against_every_cut():
    """On samples, beside linear CKA of the activations that the module itself computes."""
    a, b = mlp(seed=1).double(), mlp(2, width=3, seed=2).double()
    x = torch.randn(40, 6, dtype=torch.float64)
    found = tnsim.layers(a, b, under=tnsim.Empirical(x), progress=False)
    assert found.rows == ("embed", "blocks.0", "head") and found.columns == (
        "embed",
        "blocks.0",
        "blocks.1",
        "head",
    )
    seen = {}
    for name, model in (("a", a), ("b", b)):
        for part, module in model.named_modules():
            module.register_forward_hook(
                lambda m, i, out, key=(name, part): seen.__setitem__(key, out.detach())
            )
        model(x)
    for i, row in enumerate(found.rows):
        for j, column in enumerate(found.columns):
            torch.testing.assert_close(
                found.values[i, j], tnsim.linear_cka(seen["a", row], seen["b", column])
            )


@pytest.mark.parametrize("measure", ["cka", "procrustes", "similarity"])
def test_with_one_nonlinear_layer_waiting_is_exact(measure):
    a, b = mlp(seed=1), mlp(seed=2)
    exact = tnsim.layers(a, b, measure=measure, progress=False).values
    near = tnsim.layers(a, b, measure=measure, method="layerwise", progress=False).values
    torch.testing.assert_close(near, exact, rtol=1e-9, atol=1e-9, equal_nan=True)
    assert torch.isnan(exact).any() == (measure == "similarity")
    torch.testing.assert_close(exact[2, 2], getattr(tnsim, measure)(a, b).detach())


def test_a_model_against_itself_is_symmetric():
    found = tnsim.layers(mlp(2), progress=False).values
    assert torch.equal(found, found.T)
    torch.testing.assert_close(found.diagonal(), torch.ones(4, dtype=torch.float64))


def test_two_runs():
    a, b = [mlp(seed=k) for k in range(2)], [mlp(seed=k) for k in range(3)]
    found = tnsim.layers(
        tnsim.checkpoints(dict(zip("xy", a, strict=True))), b, measure="similarity", progress=False
    )
    assert found.rows == ("x", "y") and found.columns == (0, 1, 2) and found.of == "models"
    torch.testing.assert_close(found.values, tnsim.gram([*a, *b]).similarity().detach()[:2, 2:])
    _, ax = found.plot()
    assert ax.images[0].get_clim() in ((0.0, 1.0), (-1.0, 1.0)) and ax.get_ylabel() == "a"
    assert "Crossed(similarity of 2 × 3 models" in found._repr_html_()
    plt.close("all")


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: tnsim.layers(mlp(), [mlp()]), "a run is compared with a run"),
        (lambda: tnsim.layers(mlp(), measure="dot"), 'write "cka", "procrustes" or "similarity"'),
        (lambda: tnsim.layers(mlp(), nn.Linear(5, 3)), "Compare models that read the same input"),
        (
            lambda: tnsim.layers(dead(), progress=False),
            r"embed of a against blocks\.0 of b: model b is constant",
        ),
        (lambda: tnsim.null(mlp(), "chance"), 'write "init", "shuffle" or "seeds"'),
        (lambda: tnsim.null([mlp()], "seeds"), "1 are too few"),
        (lambda: tnsim.null(mlp(), draws=1), "draws is 1 .* at least 2"),
        (lambda: tnsim.null(tnsim.convert(mlp())), "a Network has no initialisation"),
        (lambda: tnsim.null(Bare(), "init"), "nothing says how w are initialised; write make="),
    ],
)
def test_what_cannot_be_compared(ask, says):
    with pytest.raises(ValueError, match=says):
        ask()


def dead():
    model = mlp()
    with torch.no_grad():
        for p in model.blocks.parameters():
            p.zero_()
    return model


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        return (x @ self.w.T) ** 2


# ---------------------------------------------------------------------------------------------------- by chance


def test_shuffled_weights_are_the_same_weights():
    model, state = Bare(), torch.get_rng_state()
    kept = model.w.detach().clone()
    found = tnsim.null(model, "shuffle", draws=6, progress=False)
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(model.w, kept)
    assert {len(x) for x in found.values.values()} == {6} and found.values["similarity"].std() > 0
    torch.testing.assert_close(found.values["weights"], found.values["weights"].clamp(-1, 1))
    again = tnsim.null(model, "shuffle", draws=6, progress=False)
    assert torch.equal(again.values["cka"], found.values["cka"])  # the seed decides


def test_cosines_of_shuffled_weights_have_the_moments_of_a_permutation():
    """Of w and a permutation of it: mean n m² / Σw², which for weights of mean 0 is 0."""
    model = Bare()
    with torch.no_grad():
        model.w += 0.5
    n, w = 12, model.w.detach()
    found = tnsim.null(model, "shuffle", draws=60, progress=False)
    mean = n * w.mean() ** 2 / w.square().sum()
    assert abs(found.mean["weights"] - mean) < 4 * found.spread["weights"] / 60**0.5


def test_fresh_models_and_seeds():
    made = []

    def make():
        made.append(Bare())
        return made[-1]

    found = tnsim.null(mlp(), "init", make=make, draws=3, progress=False)
    pairs = [(0, 1), (0, 2), (1, 2)]
    wanted = torch.stack([tnsim.similarity(made[i], made[j]).detach() for i, j in pairs])
    torch.testing.assert_close(found.values["similarity"], wanted)
    seeds = tnsim.null(made, "seeds", progress=False)
    torch.testing.assert_close(seeds.values["similarity"], wanted)
    low, high = seeds.band("similarity")
    assert low + high == pytest.approx(2 * wanted.mean().item())
    assert len(tnsim.null(mlp(), "init", draws=2, progress=False).values["cka"]) == 1
    assert repr(seeds).startswith("Null(seeds, 3 pairs: similarity ") and "<table>" in seeds._repr_html_()


def test_chance_is_marked():
    _, ax = tnsim.curves([0, 1], {"a": [0.0, 1.0]}, band=(0.1, 0.3))
    (patch,) = [p for p in ax.patches if p.get_gid() == "band"]
    assert patch.get_extents().transformed(ax.transData.inverted()).y0 == pytest.approx(0.1)
    fig, _ = tnsim.heatmap([[1.0, 0.2], [0.2, 1.0]], band=(-0.5, 0.3))
    (line,) = [line for line in fig.axes[1].lines if line.get_gid() == "band"]
    assert list(line.get_ydata()) == [0.0, 0.3]
    plt.close("all")
