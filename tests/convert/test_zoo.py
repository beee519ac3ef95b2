"""Every model of the zoo, converted, equals itself: on numbers, as an explicit quimb network, and in its gradient."""

import copy

import pytest
import quimb.tensor as qtn
import torch
from module_zoo import FITS_QUIMB, NEEDS_EXAMPLE, ZOO, build
from modules import assert_close
from torch import nn

from tnsim.algebra import Network, stack
from tnsim.convert import convert


@pytest.mark.parametrize("name", ZOO)
def test_equal_values(name):
    model, x = build(name)
    net = convert(model, NEEDS_EXAMPLE.get(name))
    assert isinstance(net, Network) and net.in_shape == x.shape[1:]
    assert_close(net(x), model(x))
    assert model(x).abs().max() > 0  # not a comparison of zeros


@pytest.mark.parametrize("name", ZOO)
def test_single_precision_modules_become_double_networks(name):
    model, x = build(name)
    want = model(x)
    net = convert(model.float(), NEEDS_EXAMPLE.get(name))
    assert net.dtype == "float64"
    assert_close(net(x.float()), want, 1e-4)
    assert all(p.dtype == torch.float32 for p in model.parameters())


def by_quimb(net: Network, x: torch.Tensor) -> torch.Tensor:
    """The value at one point, contracted by quimb alone."""
    tn = net.to_quimb()
    legs = {ix for t in tn for ix in t.inds if ix.startswith("in") and "/" not in ix}
    assert len(legs) <= max(1, net.degree)
    if any(tn.ind_size(ix) == x.numel() + 1 for ix in legs):
        x = torch.cat([torch.ones(1, dtype=x.dtype), x.flatten()])
    closed = qtn.TensorNetwork([*tn.tensors, *(qtn.Tensor(x.flatten(), (ix,)) for ix in legs)])
    return closed.contract(output_inds=["out:d"], optimize="greedy").data


@pytest.mark.parametrize("name", FITS_QUIMB)
def test_the_explicit_network_says_the_same(name):
    model, x = build(name)
    net = convert(model, NEEDS_EXAMPLE.get(name))
    assert net.degree <= 8
    with torch.no_grad():
        assert_close(by_quimb(net, x[0]), model(x[:1])[0])


@pytest.mark.parametrize("name", [n for n in ZOO if n not in ("rule", "zero", "identity")])
def test_gradients_reach_the_parameters(name):
    model, x = build(name)
    twin = copy.deepcopy(model)
    convert(model, NEEDS_EXAMPLE.get(name))(x).square().mean().backward()
    twin(x).square().mean().backward()
    for (label, p), q in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), label
        if q.grad is not None:
            scale = q.grad.abs().max().clamp(min=1e-12)
            assert (p.grad - q.grad).abs().max() / scale < 1e-7, label


@pytest.mark.parametrize("name", ZOO)
def test_the_module_and_the_random_numbers_are_left_alone(name):
    model, _ = build(name)
    before = copy.deepcopy(model.state_dict())
    attributes = {path: sorted(vars(child)) for path, child in model.named_modules()}
    modes = [child.training for child in model.modules()]
    state = torch.get_rng_state()
    convert(model, NEEDS_EXAMPLE.get(name))
    assert torch.equal(torch.get_rng_state(), state)
    assert [child.training for child in model.modules()] == modes
    assert {path: sorted(vars(child)) for path, child in model.named_modules()} == attributes
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_buffer_that_counts_calls_is_not_advanced():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Linear(3, 2)
            self.register_buffer("calls", torch.tensor(0))

        def forward(self, x):
            self.calls += 1
            return self.w(x)

    model = Counter()
    convert(model)
    assert int(model.calls) == 0


@pytest.mark.parametrize(
    "name", ["mlp bias", "outside residual", "batch norm and dropout", "convolution", "direct", "addmm"]
)
def test_checkpoints_of_one_model_can_be_stacked(name):
    """Wiring depends on the code of a model alone: here one checkpoint has its biases and gains still at zero."""
    models = [ZOO[name]().double() for _ in range(2)]
    with torch.no_grad():
        for label, p in models[0].named_parameters():
            if "bias" in label or p.dim() == 0:
                p.zero_()
    _, x = build(name)
    run = stack([convert(model, NEEDS_EXAMPLE.get(name)) for model in models])
    assert_close(run(x), torch.stack([model(x) for model in models]))
