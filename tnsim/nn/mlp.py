"""A deep bilinear network."""

from torch import Tensor, nn

from tnsim.nn._sizes import check_sizes
from tnsim.nn.block import BilinearBlock, Residual

__all__ = ["BilinearMLP"]


class BilinearMLP(nn.Module):
    """Bilinear blocks between a linear embedding and a linear head.

    f = head ∘ block_n ∘ … ∘ block_1 ∘ embed, a polynomial of degree 2ⁿ.

    Args:
        d_in: features of the input, once flattened.
        d_model: features between the blocks.
        d_hidden: products taken in parallel by each block.
        d_out: features of the output.
        n_layer: number of blocks n.
        residual: None, "add" or "lerp", as in `BilinearBlock`.
        scale: weight of each block beside its input; read only when there is a residual.
        bias: whether every linear map adds a bias.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is not positive, or the residual is unknown.

    Example:
        >>> import torch
        >>> model = BilinearMLP(64, 16, 32, 10, n_layer=2, residual="lerp", scale=0.5)
        >>> model(torch.zeros(5, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        d_in: int,
        d_model: int,
        d_hidden: int,
        d_out: int,
        n_layer: int,
        residual: Residual = None,
        scale: float = 1.0,
        bias: bool = False,
    ) -> None:
        check_sizes(
            "BilinearMLP", d_in=d_in, d_model=d_model, d_hidden=d_hidden, d_out=d_out, n_layer=n_layer
        )
        super().__init__()
        self.embed = nn.Linear(d_in, d_model, bias=bias)
        self.blocks = nn.ModuleList(
            BilinearBlock(d_model, d_hidden, residual, scale, bias) for _ in range(n_layer)
        )
        self.head = nn.Linear(d_model, d_out, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (batch, ...), d_in numbers per sample, to (batch, d_out)."""
        x = self.embed(x.flatten(1))
        for block in self.blocks:
            x = block(x)
        return self.head(x)
