"""A language model from the weights of a checkpoint, its sizes read off them."""

import re
from collections.abc import Iterable

import torch

from tnsim.disk.loading import Source, check_state, load, read_state
from tnsim.disk.names import Names, listed, renamed
from tnsim.nn.transformer import Transformer

__all__ = ["language_model"]


def language_model(
    source: Source,
    names: Names | None = None,
    *,
    n_head: int = 8,
    n_ctx: int = 4,
    scale: float = 0.35,
    base: float = 10000.0,
    eps: float = 1e-6,
    ignore: Iterable[str] = (),
) -> Transformer:
    """An attention-only language model from its weights; all sizes but the heads are read off them.

    The layout: an embedding stored as (vocabulary, d); layers x + scale · O z with rotary embedding, biases on queries
    and keys (or none) and no other; an unembedding (vocabulary, d) after a norm that is a running mean energy E, folded
    into it as (E + eps)^−½ (or no norm). The defaults are those of the language model of arXiv 2605.15183.

    Args:
        source: a file or a state dict, see `read_state`.
        names: what the checkpoint calls its weights, as in `load`. The model calls them ``embed.weight``,
            ``blocks.0.q1.weight``, ``blocks.0.q1.bias``, … ``q2 k1 k2 v o``, ``unembed.weight``, ``unembed.energy``.
        n_head: heads of a layer.
        n_ctx: positions to keep; fewer than in training are enough for most questions.
        scale: weight of a layer beside its input.
        base: base of the rotary embedding.
        eps: added to the energy.
        ignore: names in the checkpoint to pass over, also with ``*``.

    Returns:
        The model in evaluation mode.

    Raises:
        ValueError: if the weights are not of this layout.

    Example:
        >>> trained = Transformer(9, 4, 2, 8, bias="qk", scale=0.35, norm=True)
        >>> model = language_model(trained.state_dict(), n_head=2, n_ctx=3)
        >>> ids = torch.tensor([[1, 2, 3]])
        >>> torch.equal(model(ids), trained.eval()(ids))
        True
    """
    ignore = tuple(ignore)
    state = renamed(read_state(source), names or {}, ignore)
    needed = ("embed.weight", "unembed.weight", "blocks.0.q1.weight")
    absent = [n for n in needed if n not in state]
    if absent:
        raise ValueError(
            f"the checkpoint has no {listed(absent)}, only {listed(state)}; say in names= what it calls them."
        )
    found = dict.fromkeys(m[1] for n in state if (m := re.match(r"blocks\.(\d+)\.", n)))
    if set(found) != {str(k) for k in range(len(found))}:
        raise ValueError(
            f"the checkpoint has the blocks {', '.join(found)}; they are to be counted from 0 on, none left out. Say in "
            "names= what belongs where, and in ignore= what to pass over."
        )
    shape = {n: tuple(state[n].shape) for n in needed}
    odd = [f"{n} of shape {s}" for n, s in shape.items() if len(s) != 2]
    if odd:
        raise ValueError(f"{listed(odd)} is no matrix.")
    (n_vocab, d_model), (width, _) = shape["embed.weight"], shape["blocks.0.q1.weight"]
    if width % n_head:
        raise ValueError(
            f"{n_head} heads do not divide the {width} rows of blocks.0.q1.weight; write n_head=."
        )
    if not state["embed.weight"].is_floating_point():
        raise ValueError(f"embed.weight is {state['embed.weight'].dtype}; a language model has real weights.")

    def made(base: float | None) -> Transformer:
        return Transformer(
            n_vocab,
            d_model,
            n_head,
            n_ctx,
            ["attn" for _ in found],
            d_head=width // n_head,
            d_out=shape["unembed.weight"][0],
            base=base,
            bias="qk" if "blocks.0.q1.bias" in state else False,
            scale=scale,
            norm="unembed.energy" in state,
        )

    with torch.device("meta"):  # before memory is asked for; no weight tells of the rotary embedding
        check_state(state, made(None).state_dict(), "Transformer")
    model = made(base)
    model.unembed.eps = eps
    return load(model.to(state["embed.weight"].dtype), state)
