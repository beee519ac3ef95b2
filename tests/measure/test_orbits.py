from itertools import permutations

import pytest
from oracle import matchings, partial_matchings
from zoo import bilinear, network

from tnsim.algebra import identity, poly
from tnsim.algebra.polys.symmetrising import symmetrise
from tnsim.algebra.terms.symmetry import Branch, exchanges, free, graft, leaves, swaps
from tnsim.measure.pairings.multigraph import count_multigraphs, multigraphs
from tnsim.measure.pairings.orbit import TooManyPairings, count_matchings, orbits, pairings_of


def tree_term(depth):
    """A term whose legs may be exchanged as in a symmetrised network of this depth."""
    term = symmetrise(network(depth, d=2, width=2, hidden=2)[0]).terms[0]
    tree = free(2)
    for _ in range(depth - 1):
        tree = graft(free(2), [("q", tree), ("q", tree)])
    legs = tuple((f"in{k}:d",) for k in range(2**depth))
    return type(term)(term.tensors, legs, term.out, 1.0, tree)


@pytest.mark.parametrize(
    ("depth", "across", "orbit_count", "total"),
    [
        (1, False, 2, 3),
        (2, False, 10, 105),
        (3, False, 606, 2027025),
        (1, True, 1, 2),
        (2, True, 2, 24),
        (3, True, 16, 40320),
    ],
)
def test_published_counts(depth, across, orbit_count, total):
    t = tree_term(depth)
    found = pairings_of([t, t], across=across)
    assert len(found) == orbit_count
    assert sum(weight for weight, _, _ in found) == total


def test_multigraphs_are_listed_instead_of_matchings():
    assert len(multigraphs((2,) * 8)) == count_multigraphs((2,) * 8) == 18_155


def group(generators, n):
    seen, todo = {tuple(range(n))}, [tuple(range(n))]
    while todo:
        g = todo.pop()
        for h in generators:
            new = tuple(g[h[i]] for i in range(n))
            if new not in seen:
                seen.add(new)
                todo.append(new)
    return seen


@pytest.mark.parametrize("leave", [False, True])
@pytest.mark.parametrize(
    "trees",
    [
        (free(2), free(2)),
        (free(3), Branch((0, 1))),
        (graft(free(2), [("q", free(2)), ("q", free(2))]), free(2)),
        (graft(free(2), [("q", free(2)), ("l", 0)]), free(3)),
        (Branch((0, 1, 2)), free(2)),
    ],
)
def test_orbits_are_those_of_the_listed_pairings_under_the_listed_group(trees, leave):
    """Brute force: every pairing, every group element."""
    base = tree_term(1)
    terms = []
    for tree in trees:
        legs = tuple((f"in{k}:d",) for k in range(_count(tree)))
        terms.append(type(base)(base.tensors, legs, base.out, 1.0, tree))
    n0, n = terms[0].degree, terms[0].degree + terms[1].degree
    generators = [(*e, *range(n0, n)) for e in exchanges(trees[0])]
    generators += [(*range(n0), *(n0 + i for i in e)) for e in exchanges(trees[1])]
    elements = group(generators, n)
    everything = partial_matchings(range(n)) if leave else ((m, ()) for m in matchings(range(n)))

    def canonical(pairs):
        return min(tuple(sorted(tuple(sorted((g[i], g[j]))) for i, j in pairs)) for g in elements)

    sizes = {}
    for pairs, _ in everything:
        sizes[canonical(pairs)] = sizes.get(canonical(pairs), 0) + 1
    found = {}
    for weight, pairs, _ in pairings_of(terms, leave=leave):
        flat = [tuple(leg + n0 * f for f, leg in pair) for pair in pairs]
        found[canonical(flat)] = weight
    assert found == sizes
    assert leave or sum(found.values()) == count_matchings(n)


def _count(tree):
    return 1 if isinstance(tree, int) else sum(_count(child) for child in tree.children)


def test_exchanging_the_two_factors_merges_more():
    t = tree_term(2)
    apart, together = pairings_of([t, t]), pairings_of([t, t], exchange=True)
    assert len(together) == 8 < len(apart) == 10
    assert sum(w for w, _, _ in together) == sum(w for w, _, _ in apart) == 105


def test_too_many_are_refused():
    with pytest.raises(TooManyPairings, match="16 legs have 2e\\+06 pairings"):
        orbits((1,) * 16)


def test_exchanges_generate_permutations_of_legs():
    assert len(group(list(exchanges(free(4))), 4)) == 24 == len(list(permutations(range(4))))
    tree = graft(free(2), [("q", free(2)), ("q", free(2))])
    assert len(group(list(exchanges(tree)), 4)) == 8
    tree = graft(free(2), [("q", free(2)), ("p", free(2))])
    assert len(group(list(exchanges(tree)), 4)) == 4


def test_squares_are_symmetric_and_products_of_different_factors_are_not():
    x = identity((("d", 2),), bilinear(2, 2, 2).like)
    f = poly("W[out,in0]", W=bilinear(2, 2, 2).like.new_ones(2, 2))
    assert (f * f).terms[0].tree.free
    assert not (f * x).terms[0].tree.free


@pytest.mark.parametrize("leave", [False, True])
def test_branches_without_legs_have_nothing_to_exchange(leave):
    """As where constants are fed into a cube."""
    bare = Branch(())
    for tree, generators in (
        (Branch((bare, bare, bare), free=True), []),
        (Branch((Branch((bare, bare), True), 0)), []),
    ):
        assert list(swaps(tree)) == generators
        term = network(1)[0].terms[0]
        legs = tuple((f"in{k}:d",) for k in range(len(leaves(tree))))
        one = type(term)(term.tensors, legs, term.out, 1.0, tree)
        total = sum(weight for weight, _, _ in pairings_of((one, one), leave=leave))
        assert total == (1 if not legs else 2 if leave else 1)
