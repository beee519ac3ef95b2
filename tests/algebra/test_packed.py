"""Packed symmetric tensors against full ones."""

from itertools import combinations_with_replacement, permutations, product
from math import factorial

import numpy as np
import pytest
import torch

from tnsim.algebra.polys.packed import entries, fold, merge, multiplicity, scale, unfold

RNG = np.random.default_rng(0)


def positions(d, k):
    """Where every multi-index stands: sorted, last index first (colexicographic)."""
    order = sorted(combinations_with_replacement(range(d), k), key=lambda t: t[::-1])
    return {t: n for n, t in enumerate(order)}


def full(packed, d, *orders):
    """The full tensor of one with packed axes."""
    tables = [positions(d, k) for k in orders]
    shape = (d,) * sum(orders)
    out = np.zeros(shape)
    for i in np.ndindex(*shape):
        at, place = 0, []
        for table, k in zip(tables, orders, strict=True):
            place.append(table[tuple(sorted(i[at : at + k]))])
            at += k
        out[i] = packed[tuple(place)]
    return out


def symmetrised(x):
    return sum(np.transpose(x, p) for p in permutations(range(x.ndim))) / factorial(x.ndim)


@pytest.mark.parametrize(
    ("d", "groups"), [(3, (1, 2)), (2, (2, 2)), (3, (3, 1)), (2, (1, 2, 2)), (1, (2, 3))]
)
def test_unfolding_is_another_view_of_the_full_tensor(d, groups):
    x = RNG.normal(size=entries(d, sum(groups)))
    np.testing.assert_array_equal(full(unfold(x, d, groups), d, *groups), full(x, d, sum(groups)))


@pytest.mark.parametrize(("d", "a", "b"), [(3, 1, 1), (3, 2, 1), (2, 2, 3), (3, 2, 2), (2, 0, 2), (2, 3, 0)])
def test_folding_is_the_symmetric_part(d, a, b):
    x = RNG.normal(size=(entries(d, a), entries(d, b)))
    expected = symmetrised(full(x, d, a, b))
    np.testing.assert_allclose(full(fold(x, d, a, b), d, a + b), expected, atol=1e-14)


def test_folding_keeps_the_axes_in_front():
    x = torch.as_tensor(RNG.normal(size=(4, 5, 3, 6)))
    y = fold(x, 3, 1, 2)
    for i, j in product(range(4), range(5)):
        torch.testing.assert_close(y[i, j], fold(x[i, j], 3, 1, 2))


def test_merging_is_the_inverse_of_splitting_one_index_off():
    x = RNG.normal(size=(2, entries(3, 4), 5))
    split = unfold(x, 3, (3, 1), axis=-2)
    np.testing.assert_array_equal(merge(split, 3, 4, axis=-2), x)


def test_a_scaled_axis_sums_like_all_indices():
    d, k = 3, 4
    x, y = RNG.normal(size=(2, entries(d, k)))
    assert multiplicity(d, k).sum() == d**k
    expected = (full(x, d, k) * full(y, d, k)).sum()
    assert np.isclose(scale(x, [(d, k)]) @ scale(y, [(d, k)]), expected)
