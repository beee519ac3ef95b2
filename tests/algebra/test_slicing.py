"""Contractions in blocks of some indices, against the same contraction as a whole."""

import tracemalloc
from itertools import combinations

import cotengra as ctg
import numpy as np
import pytest

from tnsim.engine.loops import Loop, Nest
from tnsim.engine.slicing import Sliced, sliced


def network(seed, tensors=9, kept=2):
    """A random network with hyperedges, its tree and arrays."""
    inputs, output, shapes, sizes = ctg.utils.rand_equation(
        tensors, 3, n_out=kept, n_hyper_in=2, n_hyper_out=1, d_min=2, d_max=4, seed=seed
    )
    number = {ix: k for k, ix in enumerate(sizes)}
    inputs = [tuple(number[ix] for ix in inds) for inds in inputs]
    tree = ctg.array_contract_tree(
        inputs,
        tuple(number[ix] for ix in output),
        size_dict={number[ix]: n for ix, n in sizes.items()},
        optimize="greedy",
    )
    rng = np.random.default_rng(seed)
    return tree, [rng.normal(size=shape) for shape in shapes]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("largest", [0, 1e9])
def test_any_loops_give_the_same(seed, largest):
    tree, arrays = network(seed)
    whole = tree.contract(arrays)
    indices = [ix for ix, n in tree.size_dict.items() if n > 1]
    for loops in [*combinations(indices, 1), *list(combinations(indices, 2))[::5], tuple(indices[:4])]:
        steps = Nest(tree, largest).steps(loops)
        for block in (1, 3):
            got = Sliced(tree, steps, dict.fromkeys(loops, block))(arrays)
            np.testing.assert_allclose(got, whole, rtol=1e-10, atol=1e-10 * abs(whole).max())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kept", [0, 3])
def test_it_fits_or_takes_half_as_much(seed, kept):
    tree, arrays = network(seed, tensors=12, kept=kept)
    whole = tree.contract(arrays)
    least = sum(x.size for x in arrays) + whole.size
    for limit in (tree.peak_size(), 0.5 * tree.peak_size() + least, 2 * least):
        how = sliced(tree, limit)
        assert how.peak <= max(limit, 0.5 * tree.peak_size())
        np.testing.assert_allclose(how(arrays), whole, rtol=1e-10, atol=1e-10 * abs(whole).max())
    assert sliced(tree, tree.peak_size()).steps == ()


def chain(*sizes):
    """A product of matrices, from left to right."""
    n, names = len(sizes) - 1, "abcdef"
    path = [(0, 1), *((k, k + n - 2) for k in range(2, n))]
    inputs = [tuple(names[k : k + 2]) for k in range(n)]
    return ctg.ContractionTree.from_path(
        inputs, (names[0], names[n]), dict(zip(names, sizes, strict=True)), ssa_path=path
    )


def shape_of(steps):
    """Which nodes are made where."""
    return [(s.index, shape_of(s.steps)) if isinstance(s, Loop) else s.node for s in steps]


def test_what_a_loop_does_not_change_is_done_before_or_after_it():
    tree = chain(2, 3, 4, 5, 6, 7)  # five matrices; nodes 5 to 8
    assert shape_of(Nest(tree).steps("e")) == [5, 6, ("e", [7, 8])]
    assert shape_of(Nest(tree).steps("b")) == [("b", [5]), 6, 7, 8]
    assert shape_of(Nest(tree).steps("be")) == [("b", [5]), 6, ("e", [7, 8])]
    assert shape_of(Nest(tree, 8).steps("e")) == [5, ("e", [6, 7, 8])]
    assert shape_of(Nest(tree).steps("dc")) == [("d", [("c", [5, 6]), 7]), 8]


@pytest.mark.parametrize("loops", ["b", "c", "be", "a", "fc"])
def test_loops_that_change_nothing_else_cost_no_multiplication(loops):
    tree = chain(8, 8, 8, 8, 8, 8)
    how = Sliced(tree, Nest(tree).steps(loops), dict.fromkeys(loops, 2))
    assert how.flops == 2 * tree.contraction_cost()
    assert how.writes >= tree.contract_stats()["write"]
    whole = Sliced(tree, Nest(tree).steps(loops), dict.fromkeys(loops, 8))
    assert whole.flops == 2 * tree.contraction_cost()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("block", [1, 2])
def test_the_price_is_that_of_what_is_done(seed, block, monkeypatch):
    tree, arrays = network(seed)
    loops = tuple(tree.size_dict)[:3]
    how = Sliced(tree, Nest(tree, 100).steps(loops), dict.fromkeys(loops, block))
    done = []
    contract = ctg.ContractionTree.contract

    def counted(self, given, **kw):
        value = contract(self, given, **kw)
        sizes = {
            ix: n
            for inds, x in zip(self.inputs, given, strict=True)
            for ix, n in zip(inds, x.shape, strict=True)
        }
        done.append(np.prod(list(sizes.values())))
        return value

    monkeypatch.setattr(ctg.ContractionTree, "contract", counted)
    how(arrays)
    if all(tree.size_dict[ix] % block == 0 for ix in loops):
        assert 2 * sum(done) == how.flops
    assert how.flops / 2 <= 2 * sum(done) <= how.flops


@pytest.mark.parametrize(("loops", "largest"), [("e", 1e9), ("e", 8), ("fc", 8), ("ad", 8)])
def test_memory_is_within_a_factor_of_two(loops, largest):
    tree = chain(*[256] * 6)
    arrays = [np.full((256, 256), 1.0) for _ in range(5)]
    how = Sliced(tree, Nest(tree, largest).steps(loops), dict.fromkeys(loops, 128))
    how(arrays)  # what is thought through once
    tracemalloc.start()
    try:
        how(arrays)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    said = 8 * (how.peak - sum(x.size for x in arrays))
    assert 0.5 < most / said < 2
