"""The expected tangent operator against its definition: automatic differentiation of the module, and quadrature."""

import pytest
import torch
from oracle import nodes
from zoo import network, rand

import tnsim
from tnsim.algebra import stack
from tnsim.algebra.networks.dual import pushforward
from tnsim.common.wires import WIRE
from tnsim.measure import Empirical, Gaussian

MODELS = {
    "one layer": lambda: tnsim.nn.BilinearLayer(3, 4, 2, bias=True),
    "classifier": lambda: tnsim.nn.BilinearClassifier(3, 4, 2),
    "two layers": lambda: tnsim.nn.BilinearMLP(3, 2, 3, 2, n_layer=2),
    "residual and bias": lambda: tnsim.nn.BilinearMLP(
        3, 2, 3, 2, n_layer=2, residual="lerp", scale=0.5, bias=True
    ),
}


def jacobian_of(model, x):
    parameters = dict(model.named_parameters())
    found = torch.func.jacrev(lambda p: torch.func.functional_call(model, p, (x,)))(parameters)
    return torch.cat([found[k].detach().flatten(2) for k in parameters], -1)


@pytest.mark.parametrize("name", MODELS)
def test_eigenvalues_vectors_and_functions_are_those_of_the_jacobian(name):
    model = MODELS[name]().double()
    x, w = nodes(3, 8)
    jac = jacobian_of(model, x)
    operator = torch.einsum("b,boi,boj->ij", w, jac, jac)
    modes = tnsim.entk(model)
    expected = torch.linalg.eigvalsh(operator).flip(0)
    torch.testing.assert_close(modes.values, expected, rtol=1e-9, atol=1e-9 * expected[0].item())
    for i in (0, 2):
        v = modes.directions[i]
        torch.testing.assert_close(operator @ v, expected[i] * v, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(modes.function(i)(x), jac @ v, rtol=1e-9, atol=1e-10)
        assert tnsim.inner(modes.function(i)).item() == pytest.approx(expected[i].item())
    assert list(modes.direction(0)) == [n for n, _ in model.named_parameters()]


def test_half_the_hessian_of_the_squared_distance():
    model = MODELS["one layer"]().double()
    modes = tnsim.entk(model, top=1)
    step = 1e-4
    moved = tnsim.nn.BilinearLayer(3, 4, 2, bias=True).double()
    state = {k: v + step * modes.direction(0)[k] for k, v in model.state_dict().items()}
    moved.load_state_dict(state)
    squared = tnsim.inner(tnsim.difference(moved, model)).item()
    assert squared / step**2 == pytest.approx(modes.values[0].item(), rel=1e-3)


def test_under_a_covariance_and_on_data():
    model, x = MODELS["two layers"]().double(), rand(30, 3)
    jac = jacobian_of(model, x)
    operator = torch.einsum("boi,boj->ij", jac, jac) / 30
    values = tnsim.entk(model, under=Empirical(x)).values
    torch.testing.assert_close(values, torch.linalg.eigvalsh(operator).flip(0), rtol=1e-9, atol=1e-9)
    b = rand(3, 3)
    cov = b @ b.T
    x, w = nodes(3, 8, cov=cov)
    jac = jacobian_of(model, x)
    operator = torch.einsum("b,boi,boj->ij", w, jac, jac)
    values = tnsim.entk(model, under=Gaussian(cov=cov)).values
    expected = torch.linalg.eigvalsh(operator).flip(0)
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-9 * expected[0].item())


def test_alignment_is_that_of_the_kernel_matrices():
    """On data, the kernels are matrices over samples and outputs."""
    a, b, x = MODELS["one layer"]().double(), MODELS["two layers"]().double(), rand(20, 3)
    kernels = [(j := jacobian_of(m, x).flatten(0, 1)) @ j.T for m in (a, b)]
    expected = (kernels[0] * kernels[1]).sum() / kernels[0].norm() / kernels[1].norm()
    torch.testing.assert_close(tnsim.kernel_alignment(a, b, under=Empirical(x)), expected)
    x, w = nodes(3, 8)
    ja, jb = (jacobian_of(m, x) for m in (a, b))
    cross, own, other = (
        torch.einsum("b,boi,boj->ij", w, p, q).norm() ** 2 for p, q in ((ja, jb), (ja, ja), (jb, jb))
    )
    torch.testing.assert_close(tnsim.kernel_alignment(a, b), cross / (own * other).sqrt())


def test_few_eigenvectors_of_many_parameters_come_from_products_with_vectors():
    model = tnsim.nn.BilinearClassifier(40, 20, 5)
    few, norm = tnsim.entk(model, top=3), 0
    assert few.directions.shape == (3, 40 * 40 + 100)
    x = torch.randn(4000, 40, dtype=torch.float64)
    for i in range(3):
        norm = few.function(i)(x).square().sum(1).mean()
        assert norm.item() == pytest.approx(few.values[i].item(), rel=0.2)  # a sample; exact below
        assert tnsim.inner(few.function(i)).item() == pytest.approx(few.values[i].item(), rel=1e-9)


def test_a_network_has_its_arrays_as_parameters():
    net = network(2)
    modes = tnsim.entk(net)
    assert modes.directions.shape[1] == sum(x.numel() for f in net.polys for x in f.arrays())
    assert not any(x.requires_grad for f in net.polys for x in f.arrays())
    with pytest.raises(ValueError, match="pick"):
        tnsim.entk(stack([net, net]))


def test_pushing_a_change_forward_is_a_derivative():
    for kind in (dict(depth=2, bias=True), dict(depth=2, residual=0.5, bias=True, embed=True), dict(depth=1)):
        net, x = network(**kind), rand(5, 3)
        changes = {id(a): rand(*a.shape) for f in net.polys for t in f.terms for y in t.tensors if WIRE not in y.tags
                   for a in (y.data,)}  # fmt: skip
        moved = pushforward(net, lambda a: changes.get(id(a)))  # noqa: B023

        def at(step):
            layers = tuple(
                (n, f.mapped(lambda a: a + step * changes[id(a)] if id(a) in changes else a))  # noqa: B023
                for n, f in net.layers  # noqa: B023
            )
            return tnsim.Network(layers)(x)  # noqa: B023

        slope = (8 * (at(1e-3) - at(-1e-3)) - (at(2e-3) - at(-2e-3))) / 12e-3
        torch.testing.assert_close(moved(x), slope, rtol=1e-6, atol=1e-7)
    nothing = pushforward(net, lambda a: None)
    assert not nothing(x).any()
