"""Models without weights, and models or laws in which nothing varies."""

import pytest
import torch
from torch import nn
from zoo import rand

import tnsim
from tnsim.measure import Gaussian

STILL = Gaussian(mean=rand(3, seed=1), cov=torch.zeros(3, 3, dtype=torch.float64))


class Module(nn.Module):
    def __init__(self, run):
        super().__init__()
        self.run, self.c = run, nn.Parameter(torch.randn(3))
        self.double().requires_grad_(False)

    def forward(self, x):
        return self.run(self, x)


def pair(run):
    return [tnsim.convert(Module(run), torch.zeros(1, 3)) for _ in "ab"]


CONSTANT = {
    "a constant": (lambda m, x: 0 * x + m.c, None),
    "a constant below": (lambda m, x: (0 * x + m.c) ** 2, None),
    "a law without spread": (lambda m, x: m.c * x, STILL),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_where_nothing_varies_no_input_has_a_share(name):
    run, law = CONSTANT[name]
    a, b = pair(run)
    if law is None:
        distance = float(((a(rand(3)) - b(rand(3))) ** 2).sum())
        for to in ("inputs", "directions"):
            shares = tnsim.attribute(a, b, to=to)
            shares = shares if to == "inputs" else shares.values
            assert shares.abs().max() == 0.0
        assert tnsim.attribute(a, b, to="layers").sum().item() == pytest.approx(distance, rel=1e-10)
        assert tnsim.spectrum(a, of="gradient").values.abs().max() == 0.0
        assert not tnsim.localise(a, b).localised
    else:
        assert len(tnsim.spectrum(a, of="gradient", under=law)) == 0


@pytest.mark.parametrize(
    "run", [lambda m, x: x + x**2, lambda m, x: x.roll(1, -1) * x, lambda m, x: x + 0 * x]
)
def test_a_stack_of_models_without_weights_is_a_stack(run):
    nets = [*pair(run), *pair(run)[:1]]
    together = tnsim.stack(nets)
    assert together.models == 3
    x = rand(5, 3)
    torch.testing.assert_close(together(x), torch.stack([nets[0](x)] * 3))
    torch.testing.assert_close(together.pick(1)(x), nets[0](x))
    torch.testing.assert_close(
        tnsim.gram(nets, progress=False).similarity(), torch.ones(3, 3, dtype=torch.float64)
    )
    one = tnsim.inner(nets[0], nets[0])
    torch.testing.assert_close(tnsim.inner(together, nets[0]), one.expand(3))
    matrix = tnsim.gram(nets, method="layerwise", progress=False).similarity()
    torch.testing.assert_close(matrix, torch.ones(3, 3, dtype=torch.float64))
