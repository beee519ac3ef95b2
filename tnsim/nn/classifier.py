"""A classifier that is a single bilinear layer."""

from torch import Tensor, nn

from tnsim.nn._sizes import check_sizes

__all__ = ["BilinearClassifier"]


class BilinearClassifier(nn.Module):
    """One bilinear layer from pixels to classes, its two input maps stored as one.

    f(x) = H((Lx) ∘ (Rx)) with W = [L; R]. The logit of class k is the quadratic form xᵀMₖx of the
    interaction matrix Mₖ = sym(Σₕ Hₖₕ lₕ rₕᵀ), so everything the model does can be read off ten matrices.

    Args:
        d_in: features of the input.
        d_hidden: products taken in parallel; `w` has twice as many outputs.
        d_out: number of classes.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is not positive.

    Example:
        >>> import torch
        >>> model = BilinearClassifier(64, 16, 10)
        >>> model(torch.zeros(5, 64)).shape, model.w.weight.shape
        (torch.Size([5, 10]), torch.Size([32, 64]))
    """

    def __init__(self, d_in: int, d_hidden: int, d_out: int) -> None:
        check_sizes("BilinearClassifier", d_in=d_in, d_hidden=d_hidden, d_out=d_out)
        super().__init__()
        self.w = nn.Linear(d_in, 2 * d_hidden, bias=False)
        self.head = nn.Linear(d_hidden, d_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (..., d_in) to logits of shape (..., d_out)."""
        left, right = self.w(x).chunk(2, dim=-1)
        return self.head(left * right)
