"""What tests of conversion share: modules made on the spot, and what it means to be equal or refused."""

import pytest
import torch
from torch import nn

from tnsim.convert import ConvertError, convert


class Forward(nn.Module):
    """A module with the given children, buffers and function as its forward."""

    def __init__(self, fn, **parts):
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)
        self.fn = fn

    def forward(self, x):
        return self.fn(self, x)


def p(*shape):
    return nn.Parameter(torch.randn(shape))


def seeded(make, *args, **options):
    torch.manual_seed(0)
    return make(*args, **options).double()


def assert_close(got: torch.Tensor, want: torch.Tensor, rtol: float = 1e-10) -> None:
    assert got.shape == want.shape, (got.shape, want.shape)
    error = (got - want).abs().max() / want.abs().max().clamp(min=1e-30)
    assert error < rtol, f"relative error {float(error):.1e}; ratio {got.flatten()[:3] / want.flatten()[:3]}"


def fails(model, *parts, example=None, **options) -> str:
    with pytest.raises(ConvertError) as info:
        convert(model, example, **options)
    message = str(info.value)
    for part in parts:
        assert part in message, f"{part!r} is missing from: {message}"
    return message
