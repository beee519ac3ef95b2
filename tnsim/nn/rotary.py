"""Rotary position embedding."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tnsim.nn._sizes import check_sizes

__all__ = ["Rotary"]


class Rotary(nn.Module):
    """Turns the features of every position by angles that grow with the position (rotate-half form).

    Feature i and feature i + d/2 of position s are turned by the angle s · base^(−2i/d). The dot product of two
    turned vectors then depends on their positions only through the difference. For each position it is a fixed
    linear map, so it keeps a model polynomial.

    Args:
        d_head: features of one head; even.
        n_ctx: positions.
        base: how slowly the slowest pair turns.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is not positive, `d_head` is odd, or `base` is not positive.

    References:
        Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding, arXiv 2104.09864.

    Example:
        >>> import torch
        >>> x = torch.ones(5, 4)
        >>> turned = Rotary(4, 5)(x)
        >>> torch.allclose(turned[0], x[0]), torch.allclose(turned.norm(dim=-1), x.norm(dim=-1))
        (True, True)
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, d_head: int, n_ctx: int, base: float = 10000.0) -> None:
        check_sizes("Rotary", d_head=d_head, n_ctx=n_ctx)
        if d_head % 2:
            raise ValueError(
                f"Rotary: d_head={d_head} is odd; features are turned in pairs, write an even d_head."
            )
        if not base > 0:
            raise ValueError(f"Rotary: base={base} is not positive; write base=10000.0.")
        super().__init__()
        self.base = float(base)
        self.d_head, self.n_ctx = d_head, n_ctx
        # not part of the state: they follow from the arguments
        self.register_buffer("cos", torch.empty(n_ctx, d_head), persistent=False)
        self.register_buffer("sin", torch.empty(n_ctx, d_head), persistent=False)
        self._fill()

    def _fill(self) -> None:
        """Sines and cosines to the precision of their dtype."""
        speed = self.base ** (-torch.arange(0, self.d_head, 2, dtype=torch.float64) / self.d_head)
        angle = torch.outer(torch.arange(self.n_ctx, dtype=torch.float64), speed).repeat(1, 2)
        if self.cos.device.type != "meta":
            self.cos.copy_(angle.cos())
            self.sin.copy_(angle.sin())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Rotary":
        super()._apply(fn, recurse)  # to another dtype or device
        self._fill()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Turn x of shape (..., n, d_head), n at most n_ctx."""
        n = x.shape[-2]
        a, b = x.chunk(2, dim=-1)
        return x * self.cos[:n] + torch.cat((-b, a), dim=-1) * self.sin[:n]

    def extra_repr(self) -> str:
        """Name the base in the printed module."""
        return f"base={self.base}"
