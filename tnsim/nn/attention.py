"""Bilinear attention: attention whose pattern is a product of two scores instead of a softmax."""

from typing import Literal

import torch
from torch import Tensor, nn

from tnsim.nn._sizes import check_sizes
from tnsim.nn.block import Residual
from tnsim.nn.rotary import Rotary

__all__ = ["Bias", "BilinearAttention", "Mask"]

Mask = Literal["causal", "diagonal"] | None
Bias = bool | Literal["qk"]


class BilinearAttention(nn.Module):
    """Attention without softmax: the pattern is the product of two scores.

    g(x)[s] = Σ_heads O Σ_{s'} M[s,s'] (q₁[s]·k₁[s']) (q₂[s]·k₂[s']) / d_head² · v[s'], with queries, keys and values
    linear in x: a polynomial of degree five. Around it there may be a residual connection, as in `BilinearBlock`.

    Args:
        d_model: features of the input and of the output.
        n_head: heads.
        n_ctx: the most positions a sequence may have.
        d_head: features of one head; by default d_model / n_head.
        base: base of the rotary embedding of queries and keys; None for no rotary embedding.
        mask: "causal" (s' ≤ s), "diagonal" (s' = s) or None (every position sees all).
        bias: whether the six maps add a bias; "qk" for the queries and keys only.
        residual: None, "add" or "lerp".
        scale: weight of the attention beside its input; read only when there is a residual.
        tied: the quadratic variant, whose two scores are one and the same: q₂ = q₁ and k₂ = k₁.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is not positive, the heads do not divide d_model, or an option is unknown.

    References:
        Su et al., RoFormer, arXiv 2104.09864 (the rotary embedding).

    Example:
        >>> import torch
        >>> layer = BilinearAttention(d_model=8, n_head=2, n_ctx=4)
        >>> x = torch.ones(5, 4, 8)
        >>> layer(x).shape
        torch.Size([5, 4, 8])
        >>> torch.allclose(layer(2 * x), 2**5 * layer(x))
        True
    """

    mask: Tensor | None

    def __init__(
        self,
        d_model: int,
        n_head: int,
        n_ctx: int,
        d_head: int | None = None,
        *,
        base: float | None = 10000.0,
        mask: Mask = "causal",
        bias: Bias = False,
        residual: Residual = None,
        scale: float = 1.0,
        tied: bool = False,
    ) -> None:
        name = "BilinearAttention"
        check_sizes(name, d_model=d_model, n_head=n_head, n_ctx=n_ctx)
        if d_head is None and d_model % n_head:
            raise ValueError(
                f"{name}: {n_head} heads do not divide d_model={d_model}; choose another n_head, or write d_head=."
            )
        d_head = d_model // n_head if d_head is None else d_head
        check_sizes(name, d_head=d_head)
        if mask not in (None, "causal", "diagonal"):
            raise ValueError(f'{name}: unknown mask {mask!r}; write mask="causal", "diagonal" or None.')
        if bias not in (False, True, "qk"):
            raise ValueError(f'{name}: unknown bias {bias!r}; write bias=False, True or "qk".')
        if residual not in (None, "add", "lerp"):
            raise ValueError(f'{name}: unknown residual {residual!r}; write residual=None, "add" or "lerp".')
        super().__init__()
        self.n_head, self.d_head, self.n_ctx = n_head, d_head, n_ctx
        self.residual, self.scale, self.tied = residual, float(scale), tied
        width = n_head * d_head
        self.q1, self.k1 = (nn.Linear(d_model, width, bias=bool(bias)) for _ in range(2))
        if not tied:
            self.q2, self.k2 = (nn.Linear(d_model, width, bias=bool(bias)) for _ in range(2))
        self.v = nn.Linear(d_model, width, bias=bias is True)
        self.o = nn.Linear(width, d_model, bias=bias is True)
        self.rotary = None if base is None else Rotary(d_head, n_ctx, base)
        ones = torch.ones(n_ctx, n_ctx)
        allowed = {None: None, "causal": ones.tril(), "diagonal": torch.eye(n_ctx)}[mask]
        self.register_buffer("mask", allowed, persistent=False)

    def pattern(self, x: Tensor) -> Tensor:
        """How much every position reads from every other: (..., n, d_model) to (..., n_head, n, n)."""
        first = self._score(self.q1(x), self.k1(x))
        second = first if self.tied else self._score(self.q2(x), self.k2(x))
        pattern = first * second / self.d_head**2
        n = x.shape[-2]
        return pattern if self.mask is None else pattern * self.mask[:n, :n]

    def g(self, x: Tensor) -> Tensor:
        """The attention without its residual connection, (..., n, d_model) to the same shape."""
        if x.shape[-2] > self.n_ctx:
            raise ValueError(
                f"BilinearAttention: the sequence has {x.shape[-2]} positions, the layer n_ctx={self.n_ctx}; shorten "
                "it, or build the layer with a larger n_ctx."
            )
        read = self.pattern(x) @ self._heads(self.v(x))
        return self.o(read.transpose(-3, -2).flatten(-2))

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (..., n, d_model) to the same shape, n at most n_ctx."""
        if self.residual is None:
            return self.g(x)
        carried = x if self.residual == "add" else (1.0 - self.scale) * x
        return carried + self.scale * self.g(x)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_head, self.d_head)).transpose(-3, -2)

    def _score(self, q: Tensor, k: Tensor) -> Tensor:
        q, k = self._heads(q), self._heads(k)
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        return q @ k.mT

    def extra_repr(self) -> str:
        """Name the options in the printed module."""
        return (
            f"n_head={self.n_head}, d_head={self.d_head}, n_ctx={self.n_ctx}, residual={self.residual!r}, "
            f"scale={self.scale}, tied={self.tied}"
        )
