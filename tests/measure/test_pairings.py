from math import prod

from tnsim.measure.pairings import count_matchings, count_partial_matchings, matchings, partial_matchings


def test_every_matching_once():
    found = {frozenset(map(frozenset, m)) for m in matchings(range(8))}
    assert len(found) == 105 == count_matchings(8)
    assert all(sorted(i for pair in m for i in pair) == list(range(8)) for m in matchings(range(8)))


def test_every_partial_matching_once():
    everything = list(partial_matchings(range(7)))
    assert len(everything) == len(set(everything)) == count_partial_matchings(7)
    for pairs, alone in everything:
        assert sorted([*alone, *(i for pair in pairs for i in pair)]) == list(range(7))


def test_counts():
    assert count_matchings(16) == prod(range(1, 16, 2))
    assert [count_matchings(n) for n in (0, 1, 2, 3)] == [1, 0, 1, 0]
