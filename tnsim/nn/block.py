"""A bilinear layer on a residual stream."""

from typing import Literal

from torch import Tensor, nn

from tnsim.nn._sizes import check_sizes
from tnsim.nn.layer import BilinearLayer

__all__ = ["BilinearBlock", "Residual"]

Residual = Literal["add", "lerp"] | None


class BilinearBlock(nn.Module):
    """A bilinear layer g from a space to itself, with or without a residual connection.

    ==========  ==============================
    residual    f(x)
    ==========  ==============================
    ``None``    g(x)
    ``"add"``   x + scale · g(x)
    ``"lerp"``  (1 − scale) · x + scale · g(x)
    ==========  ==============================

    Args:
        d_model: features of the input and of the output.
        d_hidden: products taken in parallel.
        residual: how the input is carried past the layer.
        scale: weight of the layer beside its input; read only when there is a residual.
        bias: whether each of the layer's three maps adds a bias.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is not positive, or the residual is none of the three.

    Example:
        >>> import torch
        >>> block, x = BilinearBlock(3, 8, residual="add", scale=0.5), torch.ones(5, 3)
        >>> torch.allclose(block(x), x + 0.5 * block.g(x))
        True
    """

    def __init__(
        self,
        d_model: int,
        d_hidden: int,
        residual: Residual = None,
        scale: float = 1.0,
        bias: bool = False,
    ) -> None:
        check_sizes("BilinearBlock", d_model=d_model, d_hidden=d_hidden)
        if residual not in (None, "add", "lerp"):
            raise ValueError(
                f'BilinearBlock: unknown residual {residual!r}; write residual=None, "add" or "lerp".'
            )
        super().__init__()
        self.g = BilinearLayer(d_model, d_hidden, d_model, bias=bias)
        self.residual = residual
        self.scale = float(scale)

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (..., d_model) to the same shape."""
        if self.residual is None:
            return self.g(x)
        carried = x if self.residual == "add" else (1.0 - self.scale) * x
        return carried + self.scale * self.g(x)

    def extra_repr(self) -> str:
        """Name the residual in the printed module."""
        return f"residual={self.residual!r}, scale={self.scale}"
