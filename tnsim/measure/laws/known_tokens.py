"""Known: whether a law keeps to the token ids that a model has rows for."""

from collections.abc import Sequence

import numpy as np

from tnsim.algebra.networks.onehot_ids import check_ids, is_ids
from tnsim.common.values import numbers
from tnsim.measure.laws.empirical import Empirical
from tnsim.measure.laws.mixture import Mixture
from tnsim.measure.laws.token_pairs import JointTokens
from tnsim.measure.pairings.measure import Measure, MeasureError

__all__ = ["check_tokens"]

_MOST_SAID = 6


def check_tokens(given: Measure | None, law: Measure, known: Sequence[range]) -> None:
    """Refuse a law of tokens under which a model meets ids that the tables which read them have no rows for.

    Args:
        given: the law as the user wrote it.
        law: the same, bound to the model.
        known: the ids of every position; nothing is checked where this is empty.

    Raises:
        MeasureError: if there is such a token; it says which, at which position.
        WireError: if there is one among samples of ids.
    """
    if not known:
        return
    if isinstance(given, Mixture) and isinstance(law, Mixture):
        for one, bound in zip(given.laws, law.laws, strict=True):
            check_tokens(one, bound, known)
    elif isinstance(given, Empirical) and is_ids(given.x):
        check_ids(given.x, known)
    elif isinstance(law, JointTokens):
        for place, (row, some) in enumerate(zip(numbers(law.frequencies), known, strict=True)):
            outside = [t for t in np.flatnonzero(row).tolist() if t not in some]
            if outside:
                which = ", ".join(map(str, outside[:_MOST_SAID])) + " …" * (len(outside) > _MOST_SAID)
                raise MeasureError(
                    f"the law has the tokens {which} at position {place} with probability {row[outside].sum():.2g}; the "
                    f"tables that read them there know the tokens {some.start} … {some.stop - 1}. Give the others "
                    "probability zero, at single positions with tnsim.Tokens(p), p of shape (n_ctx, n_vocab)."
                )
