"""The bilinear layer."""

from torch import Tensor, nn

from tnsim.nn._sizes import check_sizes

__all__ = ["BilinearLayer"]


class BilinearLayer(nn.Module):
    """A gated layer without the gate's non-linearity: two linear maps, multiplied.

    f(x) = D((Lx) ∘ (Rx)): every output is a quadratic form in x.
    With a bias on each of the three maps it is a quadratic polynomial with lower-order terms.

    Args:
        d_in: features of the input.
        d_hidden: products taken in parallel.
        d_out: features of the output.
        bias: whether `l`, `r` and `d` each add a bias.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is not positive.

    References:
        Pearce et al., Bilinear MLPs enable weight-based mechanistic interpretability, arXiv 2410.08417.

    Example:
        >>> import torch
        >>> layer, x = BilinearLayer(3, 8, 2), torch.ones(5, 3)
        >>> layer(x).shape
        torch.Size([5, 2])
        >>> torch.allclose(layer(2 * x), 4 * layer(x))
        True
    """

    def __init__(self, d_in: int, d_hidden: int, d_out: int, bias: bool = False) -> None:
        check_sizes("BilinearLayer", d_in=d_in, d_hidden=d_hidden, d_out=d_out)
        super().__init__()
        self.l = nn.Linear(d_in, d_hidden, bias=bias)
        self.r = nn.Linear(d_in, d_hidden, bias=bias)
        self.d = nn.Linear(d_hidden, d_out, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (..., d_in) to (..., d_out)."""
        return self.d(self.l(x) * self.r(x))
