"""Range and precision: deep models do not overflow, and what float32 costs is known."""

import pytest
import torch
from zoo import network, rand

import tnsim
from tnsim.algebra import Network, poly, stack
from tnsim.algebra.networks.rescaling import rescale


def model(depth, seed):
    torch.manual_seed(seed)
    return tnsim.convert(tnsim.nn.BilinearMLP(64, 32, 32, 10, depth, residual="add", bias=True))


@pytest.mark.parametrize(
    ("depth", "method"), [(1, "exact"), (2, "exact"), (3, "layerwise"), (9, "layerwise")]
)
def test_float32_costs_less_than_a_millionth(depth, method):
    a, b = model(depth, 0), model(depth, 1)
    exact = tnsim.similarity(a, b, method=method)
    single = tnsim.similarity(a.to(dtype="float32"), b.to(dtype="float32"), method=method)
    assert single.dtype == torch.float32
    assert abs(single.item() - exact.item()) < 1e-6


@pytest.mark.parametrize("gain", [1e6, 1e9, 1e-9])
def test_scales_far_out_of_range_do_not_change_the_cosine(gain):
    """Three layers without residual: the cosine does not depend on the scale of the input, E[f²] goes as gain¹⁶."""

    def scaled(net, gain):
        return Network(
            ((net.names[0], net[0] @ poly("G[out,in0]", G=gain * torch.eye(3).double())), *net.layers[1:])
        )

    a, b = network(3), network(3)
    expected = tnsim.similarity(a, b, method="layerwise")
    far = [scaled(net, gain).to(dtype="float32") for net in (a, b)]
    assert tnsim.similarity(*far, method="layerwise").item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_change_of_units_is_exact():
    f = network(1, bias=True, residual=0.5)[0]
    x = rand(5, 3)
    e = torch.tensor(3.0).double()
    g, after = rescale(f, e)
    torch.testing.assert_close(2.0**after * g(x), f(2.0**e * x), rtol=1e-14, atol=0)
    run = stack([network(1, bias=True, residual=0.5) for _ in range(2)])[0]
    e = torch.tensor([3.0, -2.0]).double()
    g, after = rescale(run, e)
    for i in range(2):
        torch.testing.assert_close(2.0 ** after[i] * g(x)[i], run(2.0 ** e[i] * x)[i], rtol=1e-14, atol=1e-14)
