"""The weights of a network are those of the module, as views, with its names and gradients; damaged ones are refused."""

import pytest
import torch
from module_zoo import MLP, Bilinear, Chunked, Direct, Tied
from modules import assert_close, fails
from torch import nn

from tnsim.convert import convert
from tnsim.nn import BilinearMLP


def test_chunks_slice_the_weight_itself():
    model = Chunked().double()
    (term,) = convert(model)["w+head"].terms
    shapes = sorted(tuple(t.shape) for t in term.tensors)
    assert shapes == [(3, 5), (5, 6), (5, 6)]
    assert [next(iter(t.tags)) for t in term.tensors] == ["head", "w", "w"]
    memory = {t.data.untyped_storage().data_ptr() for t in term.tensors if "w" in t.tags}
    assert memory == {model.w.weight.untyped_storage().data_ptr()}  # views, not copies


def test_a_gain_is_one_number():
    net = convert(Tied())
    (gain,) = (t for t in net.polys[-1].terms[0].tensors if "gain" in t.tags)
    assert gain.shape == ()


def test_the_first_tag_is_the_role():
    net = convert(MLP(1))
    roles = {next(iter(t.tags)) for t in net["blocks.0"].terms[0].tensors}
    assert roles == {"l", "r", "d"}
    tags = {tuple(t.tags)[:2] for t in net.to_quimb()}
    assert ("embed",) in tags and ("d", "blocks.0") in tags  # quimb keeps every tag once
    direct = convert(Direct())
    assert {next(iter(t.tags)) for t in direct["L+R+D"].terms[0].tensors} >= {"L", "R", "D"}


# ---------------------------------------------------------------------- precision and gradients


def test_dtype_is_chosen():
    assert convert(Bilinear().double(), dtype=torch.float32).dtype == "float32"


def test_a_cast_inside_forward_is_no_part_of_the_polynomial():
    class Caster(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Linear(6, 2)

        def forward(self, x):
            return self.w(x.float().to(self.w.weight.dtype)) ** 2

    model = Caster().double()
    x = torch.randn(4, 6, dtype=torch.float64)
    net = convert(model)
    assert_close(net(x), model.w(x) ** 2)
    assert_close(net(x), model(x), 1e-5)


def test_gradients_pass_through_the_cast_from_single_precision():
    model = Bilinear()
    convert(model)(torch.randn(3, 6)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_no_grad_detaches():
    with torch.no_grad():
        net = convert(Bilinear())
    assert not any(a.requires_grad for f in net.polys for a in f.arrays())


# ---------------------------------------------------------------------- refused


def test_mixed_dtypes():
    fails(
        nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).double()),
        '"0.weight" is float32',
        '"1.weight" is float64',
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_damaged_weights(bad):
    model = BilinearMLP(4, 4, 4, 2, 1)
    model.blocks[0].g.r.weight.data[1, 2] = bad
    fails(model, 'parameter "blocks.0.g.r.weight" has 1 entries that are NaN or infinite')


def test_damaged_buffers():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    model[1].running_mean[0] = float("nan")
    fails(model, 'layer "1" contains NaN')


def test_integer_parameters():
    model = nn.Linear(2, 2)
    model.k = nn.Parameter(torch.tensor([1, 2]), requires_grad=False)
    fails(model, 'parameter "k" has dtype int64', "buffer")


def test_weights_without_values():
    fails(nn.LazyLinear(3), 'parameter "weight" has no shape yet')
    fails(nn.Linear(3, 2, device="meta"), "meta device", "load the weights")


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, "float64", None])
def test_dtype_must_be_floating(dtype):
    fails(nn.Linear(2, 2), "floating torch dtype", dtype=dtype)
