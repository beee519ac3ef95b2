"""The models are the formulas they claim to be."""

import pytest
import torch
from torch import fx

from tnsim.nn import BilinearBlock, BilinearClassifier, BilinearLayer, BilinearMLP


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


ZOO = {
    "layer": lambda: (BilinearLayer(5, 7, 3), (4, 5)),
    "layer bias": lambda: (BilinearLayer(5, 7, 3, bias=True), (4, 5)),
    "block": lambda: (BilinearBlock(5, 7), (4, 5)),
    "block add": lambda: (BilinearBlock(5, 7, "add", 0.3, bias=True), (4, 5)),
    "block lerp": lambda: (BilinearBlock(5, 7, "lerp", 0.3), (4, 5)),
    "mlp": lambda: (BilinearMLP(6, 5, 7, 3, n_layer=2), (4, 2, 3)),
    "mlp lerp": lambda: (BilinearMLP(6, 5, 7, 3, 3, "lerp", 0.3, bias=True), (4, 6)),
    "classifier": lambda: (BilinearClassifier(6, 7, 3), (4, 6)),
}


@pytest.mark.parametrize("bias", [False, True])
def test_layer_is_its_formula(bias):
    layer = BilinearLayer(5, 7, 3, bias=bias).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    weights = {name: value for name, value in layer.named_parameters()}
    assert set(weights) == {f"{m}.{p}" for m in "lrd" for p in (["weight", "bias"] if bias else ["weight"])}
    left, right = x @ weights["l.weight"].T, x @ weights["r.weight"].T
    if bias:
        left, right = left + weights["l.bias"], right + weights["r.bias"]
    expected = (left * right) @ weights["d.weight"].T + (weights["d.bias"] if bias else 0)
    _close(layer(x), expected)


@pytest.mark.parametrize(
    ("residual", "carried", "weight"), [(None, 0, 1), ("add", 1, 0.3), ("lerp", 0.7, 0.3)]
)
def test_block_residuals(residual, carried, weight):
    block = BilinearBlock(5, 7, residual, scale=0.3).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    _close(block(x), carried * x + weight * block.g(x))
    assert f"residual={residual!r}" in repr(block)


def test_mlp_composes_and_flattens():
    model = BilinearMLP(6, 5, 7, 3, n_layer=2, residual="add", scale=0.5).double()
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    hidden = x.flatten(1) @ model.embed.weight.T
    for block in model.blocks:
        hidden = hidden + 0.5 * block.g(hidden)
    _close(model(x), hidden @ model.head.weight.T)
    assert len(model.blocks) == 2
    assert model.embed.bias is None
    assert all(part.bias is not None for part in _linears(BilinearMLP(6, 5, 7, 3, 2, bias=True)))


def test_mlp_is_homogeneous_of_degree_two_to_the_depth():
    model = BilinearMLP(6, 5, 7, 3, n_layer=3).double()
    x = torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(model(2 * x), 2.0**8 * model(x), rtol=1e-10, atol=0)


def test_classifier_is_a_quadratic_form_for_each_class():
    model = BilinearClassifier(6, 7, 3).double()
    assert [name for name, _ in model.named_parameters()] == ["w.weight", "head.weight"]
    x = torch.randn(4, 6, dtype=torch.float64)
    left, right = model.w.weight[:7], model.w.weight[7:]
    forms = torch.einsum("kh,hi,hj->kij", model.head.weight, left, right)
    _close(model(x), torch.einsum("ni,kij,nj->nk", x, (forms + forms.mT) / 2, x))


@pytest.mark.parametrize("name", ZOO)
def test_traceable(name):
    model, shape = ZOO[name]()
    x = torch.randn(shape)
    torch.testing.assert_close(fx.symbolic_trace(model)(x), model(x), rtol=0, atol=0)


@pytest.mark.parametrize("name", ZOO)
def test_gradients_reach_every_weight(name):
    model, shape = ZOO[name]()
    model(torch.randn(shape)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: BilinearLayer(0, 7, 3), "BilinearLayer: d_in=0 is not positive; write d_in=1 or more"),
        (lambda: BilinearLayer(5, -7, 3), "d_hidden=-7"),
        (lambda: BilinearBlock(5, 0), "BilinearBlock: d_hidden=0"),
        (
            lambda: BilinearBlock(5, 7, "plus"),
            'unknown residual \'plus\'; write residual=None, "add" or "lerp"',
        ),
        (lambda: BilinearMLP(6, 5, 7, 3, n_layer=0), "BilinearMLP: n_layer=0"),
        (lambda: BilinearMLP(6, 5, 7, 3, 2, "plus"), "unknown residual"),
        (lambda: BilinearClassifier(6, 7, 0), "BilinearClassifier: d_out=0"),
    ],
)
def test_bad_values_are_named(make, says):
    with pytest.raises(ValueError) as caught:
        make()
    assert says in str(caught.value)


@pytest.mark.parametrize("size", [2.0, True, "8"])
def test_sizes_are_integers(size):
    with pytest.raises(TypeError, match=r"d_in=.* is not an integer; write for instance d_in=64"):
        BilinearLayer(size, 7, 3)


def _linears(model):
    return [part for part in model.modules() if isinstance(part, torch.nn.Linear)]
