"""A text as tokens: pieces of words, made by byte-pair encoding."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

__all__ = ["Corpus", "corpus", "pieces_of"]

_RARE = 1e-3  # characters with a smaller share of the text are left out
_STRETCH = 400  # tokens that stay together when the text is split
_HELD_OUT = 10  # every tenth stretch is for validation


@dataclass(frozen=True, eq=False)
class Corpus:
    """Token ids of a text, in stretches.

    Args:
        train: shape (stretches, tokens).
        validation: the same for stretches that are not trained on.
        pieces: what every token stands for.
    """

    train: Tensor
    validation: Tensor
    pieces: tuple[str, ...]

    def windows(self, part: str, n: int, length: int, dice: Generator) -> Tensor:
        """Windows that begin anywhere in a stretch, shape (n, length)."""
        ids: Tensor = getattr(self, part)
        row = torch.randint(len(ids), (n, 1), generator=dice)
        start = torch.randint(ids.shape[1] - length + 1, (n, 1), generator=dice)
        return ids[row, start + torch.arange(length)]

    def frequent(self, n: int, most: int) -> Tensor:
        """The most frequent n-grams of the training part, shape (at most `most`, n)."""
        runs = self.train.unfold(1, n, 1).flatten(0, 1)
        grams, counts = runs.unique(dim=0, return_counts=True)
        return grams[counts.argsort(descending=True, stable=True)[:most]]

    def frequencies(self) -> Tensor:
        """How often every token occurs in the training part, shape (tokens,)."""
        counts = self.train.flatten().bincount(minlength=len(self.pieces)).double()
        return counts / counts.sum()

    def transitions(self) -> Tensor:
        """How often every token follows every other, shape (before, after).

        One more occurrence of every token is added, followed by others as often as these occur at all.
        """
        size = len(self.pieces)
        pairs = self.train[:, :-1] * size + self.train[:, 1:]
        counts = pairs.flatten().bincount(minlength=size**2).double().view(size, size) + self.frequencies()
        return counts / counts.sum(1, keepdim=True)


def corpus(text: str, size: int) -> Corpus:
    """Split a text into tokens, so many of them, and into a part to train on and one to validate on.

    Letters are made small, white space is one blank, and rare characters are left out.

    Raises:
        ValueError: if the text is too short, or has more kinds of characters than there may be tokens.
    """
    plain = " ".join(text.lower().split())
    counts = Counter(plain)
    kept = {c for c, n in counts.items() if n >= _RARE * len(plain)}
    plain = "".join(c for c in plain if c in kept)
    if len(kept) > size:
        raise ValueError(f"the text has {len(kept)} characters that are not rare, more than {size} tokens.")
    ids, pieces = pieces_of(plain, size)
    whole = len(ids) // _STRETCH
    if whole < _HELD_OUT:
        raise ValueError(f"the text has {len(ids)} tokens; it takes {_HELD_OUT * _STRETCH} or more.")
    stretches = torch.from_numpy(ids[: whole * _STRETCH]).view(whole, _STRETCH)
    held_out = torch.arange(whole) % _HELD_OUT == _HELD_OUT - 1
    return Corpus(stretches[~held_out], stretches[held_out], pieces)


def pieces_of(text: str, size: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Byte-pair encoding: again and again the most frequent pair of neighbours becomes a token of its own.

    Args:
        text: what to encode; blanks are characters like any other.
        size: how many kinds of tokens to make, one for every character included.

    Returns:
        The tokens' numbers in order, int64, and what each stands for.

    References:
        Sennrich et al., arXiv 1508.07909.

    Example:
        >>> ids, pieces = pieces_of("abab.abb", 4)
        >>> pieces, ids.tolist()
        (('.', 'a', 'b', 'ab'), [3, 3, 0, 3, 2])
    """
    pieces = sorted(set(text))
    number = {c: k for k, c in enumerate(pieces)}
    ids = np.array([number[c] for c in text], dtype=np.int64)
    while len(pieces) < size and len(ids) > 1:
        first, second = divmod(int(np.bincount(ids[:-1] * size + ids[1:]).argmax()), size)
        at = np.flatnonzero((ids[:-1] == first) & (ids[1:] == second))
        begins = np.diff(at, prepend=-2) > 1
        at = at[
            (at - np.maximum.accumulate(np.where(begins, at, 0))) % 2 == 0
        ]  # "aaa" holds one pair, not two
        ids[at] = len(pieces)
        ids = np.delete(ids, at + 1)
        pieces.append(pieces[first] + pieces[second])
    return ids, tuple(pieces)
