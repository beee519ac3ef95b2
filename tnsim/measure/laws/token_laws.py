"""Laws of token sequences: one-hot inputs, whose legs at one position share one token."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, permutations
from math import factorial
from typing import Any, ClassVar

import autoray as ar
import numpy as np
import quimb.tensor as qtn

from tnsim.algebra.polys.poly import Axes
from tnsim.algebra.terms.term import Term
from tnsim.common.values import numbers
from tnsim.common.wires import identify, rename, space
from tnsim.engine.effort import weigh
from tnsim.engine.sparsity import support
from tnsim.measure.laws.fitted import frequencies, transitions
from tnsim.measure.laws.token_pairs import JointTokens
from tnsim.measure.pairings.measure import Bridge, Closure, Measure, MeasureError, as_like, unchecked

__all__ = ["MarkovChain", "Tokens"]

Array = Any
Blocks = tuple[tuple[str, ...], ...]  # positions that coincide
Support = tuple[np.ndarray, tuple[str, ...]]  # where a tensor over positions may be other than zero

_WEIGHED = 1  # operations weighed for a way in which positions may coincide, and for every mask that decides


class _OneHot(Measure):
    """What laws of tokens share: legs at one position read one token, and positions may coincide."""

    _ordered: ClassVar[bool] = False
    """Whether it matters in which order positions that do not coincide stand."""

    def closures(
        self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False
    ) -> Iterator[Closure]:
        """All ways in which the positions that legs read may coincide; legs at one position share its token.

        Those in which a mask is zero wherever the law is not are left out.
        """
        legs = [leg for t in factors for leg in t.legs]
        masks = [(support(x.data), x.inds) for t in factors for x in t.tensors if _is_mask(x)]
        for blocks in self._coincidences(tuple(dict.fromkeys(leg[0] for leg in legs))):
            joins, tokens = [], []
            for block in blocks:
                here = [leg for leg in legs if leg[0] in block]
                joins += [(here[0][axis], leg[axis]) for leg in here[1:] for axis in range(2)]
                tokens.append(here[0])
            named = identify(joins)
            own = [(mask, rename(inds, named)) for mask, inds in masks]
            masked = [*own, *self._places([place for place, _ in tokens])]
            weigh(_WEIGHED * (1 + len(masked)))
            if _meet(masked):
                yield Closure(1.0, (Bridge((), tuple(joins), tuple(self._law(tokens))),))

    def count(self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False) -> int:
        """How many ways there are."""
        positions = {leg[0] for t in factors for leg in t.legs}
        ways = _partition_numbers(len(positions))[: self._apart + 1]
        return sum(n * (factorial(k) if self._ordered else 1) for k, n in enumerate(ways))

    def bound(self, domain: Axes, like: Array) -> "JointTokens":
        """The law on sequences as the model reads them.

        Raises:
            MeasureError: if the model does not read sequences over as many tokens.
        """
        if [s for s, _ in domain] != ["s", "d"] or domain[1][1] != self._vocabulary:
            raise MeasureError(
                f"this law is one of sequences over {self._vocabulary} tokens; the model reads {dict(domain)}. It "
                "needs the axes s (positions) and d (tokens), as tnsim.convert(model, ids) gives them."
            )
        return JointTokens(self._placed(domain[0][1], like))

    @property
    def _vocabulary(self) -> int:
        raise NotImplementedError

    def _placed(self, n_ctx: int, like: Array) -> "_OneHot":
        raise NotImplementedError

    @property
    def _apart(self) -> int:
        """How many positions there are, which is how many may be different."""
        raise NotImplementedError

    def _coincidences(self, positions: Sequence[str]) -> Iterator[Blocks]:
        raise NotImplementedError

    def _law(self, tokens: Sequence[tuple[str, ...]]) -> list[qtn.Tensor]:
        """The joint law of the tokens at distinct positions, each given as (position, token)."""
        raise NotImplementedError

    def _places(self, places: Sequence[str]) -> list[Support]:
        """Which positions these may be."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Tokens(_OneHot):
    """Independent tokens: x[s] is one-hot, token t with frequency p[t].

    Exact for any number of layers that are composed; layer by layer exact through the first layer that is not linear,
    then Gaussian. A product of two attention layers has 15 closures, in which all legs at a position share a token;
    fewer under a mask. The dearest sums over pairs of tokens, n_vocab² of them for every two heads and two positions.

    Args:
        p: frequencies, shape ``(n_vocab,)``, or ``(n_ctx, n_vocab)`` for other ones at every position.

    Raises:
        MeasureError: if frequencies are negative or do not add up to one.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra.polys.writing import poly
        >>> from tnsim.measure.pairings.expectation import expect
        >>> f = poly("W[out,in0@k] M[k]", W=np.array([[1.0, 3.0]]), M=np.ones(2))  # a sum over two positions
        >>> law = Tokens(np.array([0.5, 0.5])).bound(f.domain, f.like)
        >>> expect((f, f), law)  # 4² + 2² + 4² + 6² over four
        array([[18.]])
    """

    p: Array

    @classmethod
    def of(cls, ids: Array, n_vocab: int | None = None, *, smoothing: float = 0.0) -> "Tokens":
        """Independent tokens, each as frequent as in a corpus.

        Args:
            ids: token ids of any shape.
            n_vocab: size of the model's vocabulary; by default the largest id and one.
            smoothing: added to the count of every token. Without it, tokens that do not occur have frequency 0.

        Raises:
            MeasureError: if these are no token ids, or are beyond the vocabulary.

        Example:
            >>> import numpy as np
            >>> Tokens.of(np.array([[0, 1, 1, 3]])).p
            array([0.25, 0.5 , 0.  , 0.25])
        """
        return cls(frequencies(ids, n_vocab, smoothing))

    def __post_init__(self) -> None:
        _check_frequencies(self.p, "p")

    @property
    def _vocabulary(self) -> int:
        return int(ar.shape(self.p)[-1])

    def _placed(self, n_ctx: int, like: Array) -> "Tokens":
        p = as_like(self.p, like)
        if ar.ndim(p) == 1:
            p = ar.do("stack", (p,) * n_ctx, axis=0)
        if ar.shape(p)[0] != n_ctx:
            raise MeasureError(f"p has {ar.shape(p)[0]} positions; the model reads {n_ctx}.")
        return unchecked(Tokens, p=p)

    def _coincidences(self, positions: Sequence[str]) -> Iterator[Blocks]:
        yield from _partitions(tuple(positions), self._apart)

    @property
    def _apart(self) -> int:
        return int(ar.shape(self.p)[0])

    def _places(self, places: Sequence[str]) -> list[Support]:
        apart = ~np.eye(ar.shape(self.p)[0], dtype=bool)
        return [(apart, pair) for pair in combinations(places, 2)]

    def _law(self, tokens: Sequence[tuple[str, ...]]) -> list[qtn.Tensor]:
        n = ar.shape(self.p)[0]
        apart = 1.0 - ar.do("eye", n, like=self.p)
        pairs = combinations([place for place, _ in tokens], 2)
        return [
            *(qtn.Tensor(self.p, t, tags="P") for t in tokens),
            *(qtn.Tensor(apart, pair) for pair in pairs),
        ]


@dataclass(frozen=True, eq=False)
class MarkovChain(_OneHot):
    """Tokens of a Markov chain: the first with law p0, every next with the row of P that the one before names.

    The joint law of any positions in order is a matrix-product state. Exact as :class:`Tokens` is; a product of two
    attention layers has 75 closures, fewer under a mask. Those of three and four distinct positions are much dearer than
    independent tokens are: ask :func:`tnsim.cost` first.

    Args:
        p0: law of the first token, shape ``(n_vocab,)``.
        P: transition probabilities, shape ``(n_vocab, n_vocab)``; rows add up to one.

    Raises:
        MeasureError: if these are not probabilities.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra.polys.writing import poly
        >>> from tnsim.measure.pairings.expectation import expect
        >>> f = poly("W[out,in0@k] M[k]", W=np.array([[1.0, 3.0]]), M=np.ones(2))  # a sum over two positions
        >>> stays = MarkovChain(np.array([0.5, 0.5]), np.eye(2)).bound(f.domain, f.like)
        >>> expect((f, f), stays)  # (2² + 6²) / 2
        array([[20.]])
    """

    p0: Array
    P: Array

    @classmethod
    def of(cls, ids: Array, n_vocab: int | None = None, *, smoothing: float = 0.0) -> "MarkovChain":
        """The chain of a corpus: how often sequences begin with a token, and how often one follows another.

        Args:
            ids: token ids, shape ``(N, n_ctx)``; of one long text, shape ``(T,)``, the first token has the law of all.
            n_vocab: size of the model's vocabulary; by default the largest id and one.
            smoothing: added to every count. Without it, a token that none follows is followed by any, as often as it
                occurs.

        Raises:
            MeasureError: if these are no token ids, or are beyond the vocabulary.

        Example:
            >>> import numpy as np
            >>> MarkovChain.of(np.array([[0, 1, 0, 1], [1, 1, 0, 0]])).P
            array([[0.33333333, 0.66666667],
                   [0.66666667, 0.33333333]])
        """
        return cls(*transitions(ids, n_vocab, smoothing))

    def __post_init__(self) -> None:
        _check_frequencies(self.p0, "p0")
        _check_frequencies(self.P, "P")
        if tuple(ar.shape(self.P)) != tuple(ar.shape(self.p0)) * 2:
            raise MeasureError(
                f"p0 has shape {tuple(ar.shape(self.p0))} and P {tuple(ar.shape(self.P))}; write (n,) and (n, n)."
            )

    @property
    def _vocabulary(self) -> int:
        return int(ar.shape(self.p0)[-1])

    def _placed(self, n_ctx: int, like: Array) -> "_PlacedChain":
        p0, P = as_like(self.p0, like), as_like(self.P, like)
        laws, powers = [p0], [ar.do("eye", self._vocabulary, like=P)]
        for _ in range(n_ctx - 1):
            laws.append(laws[-1] @ P)
            powers.append(powers[-1] @ P)
        zero = powers[0] * 0.0
        steps = [
            ar.do("stack", tuple(powers[b - a] if b > a else zero for b in range(n_ctx)), axis=0)
            for a in range(n_ctx)
        ]
        return _PlacedChain(ar.do("stack", tuple(laws), axis=0), ar.do("stack", tuple(steps), axis=0))


@dataclass(frozen=True, eq=False)
class _PlacedChain(_OneHot):
    """A Markov chain on so many positions: the law of every token, and of every later one given an earlier one."""

    laws: Array
    steps: Array

    _ordered: ClassVar[bool] = True

    def _coincidences(self, positions: Sequence[str]) -> Iterator[Blocks]:
        for blocks in _partitions(tuple(positions), self._apart):
            yield from permutations(blocks)  # in order of position; steps backwards have probability zero

    @property
    def _apart(self) -> int:
        return int(ar.shape(self.laws)[0])

    def _places(self, places: Sequence[str]) -> list[Support]:
        n = ar.shape(self.laws)[0]
        return [(np.triu(np.ones((n, n), dtype=bool), 1), pair) for pair in pairwise(places)]

    def _law(self, tokens: Sequence[tuple[str, ...]]) -> list[qtn.Tensor]:
        first = [qtn.Tensor(self.laws, t, tags="P") for t in tokens[:1]]
        pairs = pairwise(tokens)
        return first + [qtn.Tensor(self.steps, (a[0], b[0], a[1], b[1]), tags="P") for a, b in pairs]


def _partitions(items: tuple[str, ...], most: int) -> Iterator[Blocks]:
    """All partitions of some items into so many blocks or fewer.

    Example:
        >>> list(_partitions(("q", "k"), 2))
        [(('q', 'k'),), (('q',), ('k',))]
    """
    if not items:
        yield ()
        return
    first, *rest = items
    for blocks in _partitions(tuple(rest), most):
        for k, block in enumerate(blocks):
            yield (*blocks[:k], (first, *block), *blocks[k + 1 :])
        if len(blocks) < most:
            yield ((first,), *blocks)


def _partition_numbers(n: int) -> list[int]:
    """How many partitions of n items have k blocks, for k from 0 to n: Stirling numbers of the second kind.

    Example:
        >>> _partition_numbers(4)
        [0, 1, 7, 6, 1]
    """
    row = [1]
    for _ in range(n):
        row = [k * own + less for k, (own, less) in enumerate(zip([*row, 0], [0, *row], strict=True))]
    return row


def _is_mask(x: qtn.Tensor) -> bool:
    return bool(x.inds) and all(space(ix) == "s" for ix in x.inds)


def _meet(masks: Sequence[Support]) -> bool:
    """Whether there are positions at which none of some masks is zero."""
    number: dict[str, int] = {}
    given: list[Any] = []
    masks = [(mask, inds) for mask, inds in masks if not mask.all()]
    for mask, inds in masks:
        given += [mask.astype(float), [number.setdefault(ix, len(number)) for ix in inds]]
    return not masks or bool(np.einsum(*given, [], optimize="greedy") > 0)


def _check_frequencies(p: Array, name: str) -> None:
    values = numbers(p).astype(float)
    if values.ndim not in (1, 2) or not values.size:
        raise MeasureError(f"{name} has shape {values.shape}; it has one entry for every token.")
    if not np.isfinite(values).all() or (values < 0).any() or np.abs(values.sum(-1) - 1).max() > 1e-6:
        raise MeasureError(f"{name} is no law: entries must be at least 0 and add up to 1.")
