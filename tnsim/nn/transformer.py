"""A transformer without softmax and without layer norm."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from tnsim.nn._sizes import check_sizes
from tnsim.nn.attention import Bias, BilinearAttention, Mask
from tnsim.nn.block import BilinearBlock, Residual
from tnsim.nn.tokens import TokenEmbedding, Unembedding

__all__ = ["Transformer"]

Block = Literal["attn", "mlp"]


class Transformer(nn.Module):
    """Bilinear attention and bilinear layers on one residual stream, between an embedding and an unembedding.

    f = unembed ∘ block_n ∘ … ∘ block_1 ∘ embed, a polynomial of the one-hot tokens: an attention block has degree
    five, an MLP block degree two. In training mode a norm divides by the batch's own energy; call ``eval()`` before
    converting.

    Args:
        n_vocab: number of tokens.
        d_model: features of the residual stream.
        n_head: heads of every attention block.
        n_ctx: the most positions a sequence may have.
        blocks: what stands on the stream, in order: "attn" for attention, "mlp" for a bilinear layer.
        d_hidden: products taken in parallel by every MLP block; by default 2 · d_model.
        d_head: features of one head; by default d_model / n_head.
        d_out: number of outputs at every position; by default n_vocab.
        base: base of the rotary embedding; None for no rotary embedding.
        mask: "causal", "diagonal" or None, as in `BilinearAttention`.
        bias: whether the maps of the blocks add a bias; "qk" for queries and keys only.
        residual: None, "add" or "lerp", as in `BilinearBlock`.
        scale: weight of every block beside its input.
        tied: the quadratic variant of attention, as in `BilinearAttention`.
        norm: whether to divide by a running root mean square before the unembedding, see `Unembedding`.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is not positive, or an option is unknown.

    Example:
        >>> import torch
        >>> model = Transformer(n_vocab=16, d_model=8, n_head=2, n_ctx=4, blocks=("attn", "mlp"))
        >>> ids = torch.tensor([[3, 1, 4, 1]])
        >>> model(ids).shape
        torch.Size([1, 4, 16])
        >>> one_hot = torch.nn.functional.one_hot(ids, 16).float()
        >>> torch.allclose(model(ids), model(one_hot))
        True
    """

    def __init__(
        self,
        n_vocab: int,
        d_model: int,
        n_head: int,
        n_ctx: int,
        blocks: Sequence[Block] = ("attn", "attn"),
        *,
        d_hidden: int | None = None,
        d_head: int | None = None,
        d_out: int | None = None,
        base: float | None = 10000.0,
        mask: Mask = "causal",
        bias: Bias = False,
        residual: Residual = "add",
        scale: float = 1.0,
        tied: bool = False,
        norm: bool = False,
    ) -> None:
        check_sizes("Transformer", n_vocab=n_vocab, d_model=d_model, n_head=n_head, n_ctx=n_ctx)
        unknown = [b for b in blocks if b not in ("attn", "mlp")]
        if unknown or isinstance(blocks, str) or not blocks:
            raise ValueError(
                f'Transformer: blocks={blocks!r}; write a tuple of "attn" and "mlp", such as ("attn", "mlp").'
            )
        super().__init__()
        self.n_ctx = n_ctx

        def block(kind: str) -> nn.Module:
            if kind == "mlp":
                hidden = 2 * d_model if d_hidden is None else d_hidden
                return BilinearBlock(d_model, hidden, residual, scale, bias is True)
            return BilinearAttention(
                d_model,
                n_head,
                n_ctx,
                d_head,
                base=base,
                mask=mask,
                bias=bias,
                residual=residual,
                scale=scale,
                tied=tied,
            )

        self.embed = TokenEmbedding(n_vocab, d_model)
        self.blocks = nn.ModuleList(map(block, blocks))
        self.unembed = Unembedding(d_model, n_vocab if d_out is None else d_out, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map ids (..., n) or one-hot vectors (..., n, n_vocab) to (..., n, d_out)."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.unembed(x)
