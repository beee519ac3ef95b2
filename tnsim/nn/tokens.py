"""From tokens to vectors and back."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tnsim.nn._sizes import check_sizes

__all__ = ["TokenEmbedding", "Unembedding"]


class TokenEmbedding(nn.Module):
    """One vector for every token, looked up by its number or multiplied by a one-hot vector.

    Args:
        n_vocab: number of tokens.
        d_model: features of a vector.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is not positive.

    Example:
        >>> import torch
        >>> embed, ids = TokenEmbedding(5, 3), torch.tensor([[4, 0]])
        >>> torch.equal(embed(ids), embed(torch.nn.functional.one_hot(ids, 5).float()))
        True
    """

    def __init__(self, n_vocab: int, d_model: int) -> None:
        check_sizes("TokenEmbedding", n_vocab=n_vocab, d_model=d_model)
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_vocab, d_model))

    def forward(self, x: Tensor) -> Tensor:
        """Map ids (..., n) or one-hot vectors (..., n, n_vocab) to (..., n, d_model)."""
        return x @ self.weight if x.is_floating_point() else F.embedding(x, self.weight)


class Unembedding(nn.Module):
    """A linear map to the logits, with or without a norm before it that is a fixed number at evaluation.

    f(x) = U x / √(E + ε), where E is the mean of x² over a training batch, and at evaluation its running mean. So a
    model in evaluation mode is a polynomial, and the norm is part of the matrix: U/√(E + ε).

    Args:
        d_model: features of the input.
        n_vocab: number of logits.
        norm: whether to divide.
        momentum: weight of a new batch in the running mean.
        eps: ε.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is not positive.

    Example:
        >>> import torch
        >>> unembed = Unembedding(3, 5, norm=True)
        >>> out = unembed(torch.full((7, 2, 3), 2.0))  # the energy of this batch is 4
        >>> torch.allclose(unembed.energy, torch.tensor(0.9 * 1 + 0.1 * 4))
        True
    """

    energy: Tensor | None

    def __init__(
        self, d_model: int, n_vocab: int, norm: bool = False, momentum: float = 0.1, eps: float = 1e-6
    ) -> None:
        check_sizes("Unembedding", d_model=d_model, n_vocab=n_vocab)
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_vocab, d_model) / d_model**0.5)
        self.momentum, self.eps = momentum, eps
        self.register_buffer("energy", torch.ones(()) if norm else None)

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (..., d_model) to (..., n_vocab)."""
        if self.energy is None:
            return F.linear(x, self.weight)
        if not self.training:
            return F.linear(x, self.weight * torch.rsqrt(self.energy + self.eps))
        energy = x.square().mean()
        self.energy.lerp_(energy.detach().to(self.energy.dtype), self.momentum)
        return F.linear(x * torch.rsqrt(energy + self.eps), self.weight)
