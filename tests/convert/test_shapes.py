"""Shapes of inputs and outputs: read off the weights where they fix them, from an example where they do not."""

import pytest
import torch
from module_zoo import build
from modules import assert_close, fails
from torch import nn

from tnsim.convert import convert


def test_images_are_fed_as_they_are_and_flat():
    model, x = build("convolution")
    net = convert(model, x)
    assert net.in_shape == (1, 4, 4)
    assert_close(net(x.flatten(1)), model(x))


def test_a_flat_network_reads_images():
    model, _ = build("mlp")
    x = torch.randn(5, 1, 2, 3, dtype=torch.float64)
    assert_close(convert(model)(x), model(x))


def test_outputs_with_several_axes_come_out_flat():
    model = nn.Sequential(nn.Linear(6, 6), nn.Unflatten(1, (2, 3))).double()
    x = torch.randn(4, 6, dtype=torch.float64)
    assert_close(convert(model)(x), model(x).flatten(1))


def test_an_affine_operation_on_many_entries():
    """More unit vectors than are given at once, and not a multiple of it."""
    model = nn.Sequential(nn.Conv1d(3, 2, 5, stride=3), nn.Flatten()).double()
    x = torch.randn(2, 3, 400, dtype=torch.float64)
    assert_close(convert(model, x)(x), model(x))


# ---------------------------------------------------------------------- examples, and what is refused


def test_images_need_an_example():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    fails(model, "cannot infer the input shape of Sequential", "example=torch.zeros(1, 784)")


def test_an_open_width_needs_an_example():
    class Sliced(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Linear(3, 2)

        def forward(self, x):
            return self.w(x[:, :3])

    fails(Sliced(), "does not fix the number of its input features", "example=")
    assert convert(Sliced(), torch.zeros(1, 7)).in_shape == (7,)


def test_an_ambiguous_width_needs_an_example():
    class Ambiguous(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(5, 2)

        def forward(self, x):
            return self.a(x) if x.shape[-1] == 3 else self.b(x)

    fails(Ambiguous(), "runs on inputs of", "5", "3", "example=")
    assert convert(Ambiguous(), torch.zeros(1, 3)).in_shape == (3,)


def test_a_module_without_weights_needs_an_example():
    fails(nn.Flatten(), "cannot infer", "example=")


def test_wrong_widths():
    fails(nn.Linear(4, 2), "Linear in the root module", "(n, 5)", example=torch.zeros(1, 5))
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(4, 2))
    fails(model, 'Linear at "1" does not take an input of shape (n, 3)', example=torch.zeros(1, 4))


@pytest.mark.parametrize("example", [3, torch.tensor(1.0), "x"])
def test_examples_are_batches(example):
    fails(nn.Linear(4, 2), "is not a batch of inputs", example=example)


def test_a_convolution_of_a_long_signal_is_refused():
    """The tensor of its axis, (inputs, kernel, outputs), would be too large, and so would a matrix."""
    fails(
        nn.Sequential(nn.Conv1d(1, 2, 3, padding=1), nn.Flatten()),
        "Conv1d would be a dense matrix",
        'at "0"',
        example=torch.zeros(1, 1, 12000),
    )
