"""A tape repeats what was done, on other arrays, and keeps nothing longer than needed."""

import operator
import weakref

import numpy as np
import pytest

from tnsim.engine.costs import Cost
from tnsim.engine.tapes import Tape, UntapedError


def is_array(x):
    return isinstance(x, np.ndarray)


def taped(fn, *arrays):
    """Note every operation of ``fn``, which says what it does as do(operation, *arguments)."""
    tape = Tape(arrays, is_array)

    def do(operation, *args, **kwargs):
        value = operation(*args, **kwargs)
        tape.note(operation, args, kwargs, value)
        return value

    return tape.recipe(fn(do, *arrays))


def test_repeats_on_other_arrays_what_was_done():
    def run(do, x, y):
        both = do(np.stack, [x, y], axis=0)
        halves = do(np.split, do(np.multiply, x, y), 2)
        return [do(np.sum, both, keepdims=True), do(operator.add, halves[0], halves[1]), x]

    recipe = taped(run, np.ones(4), np.ones(4))
    x, y = np.arange(4.0), np.array([2.0, 3.0, 5.0, 7.0])
    total, folded, same = recipe([x, y])
    assert total == 6 + 17
    np.testing.assert_array_equal(folded, [0 * 2 + 2 * 5, 1 * 3 + 3 * 7])
    assert same is x


def test_arrays_in_named_arguments_are_found():
    def run(do, x, y):
        return [do(lambda a, b: a - b, x, b=y)]

    (value,) = taped(run, np.ones(2), np.ones(2))([np.array([5.0, 6.0]), np.array([1.0, 2.0])])
    np.testing.assert_array_equal(value, [4.0, 4.0])


def test_what_leads_nowhere_is_not_done():
    calls = []

    def counted(x):
        calls.append(1)
        return x + 1

    def run(do, x):
        do(counted, x)
        return [do(np.negative, x)]

    recipe = taped(run, np.ones(2))
    assert calls == [1]
    recipe([np.ones(2)])
    assert calls == [1]


def test_intermediate_results_are_let_go():
    class Big(np.ndarray):
        pass

    alive = []
    most = []

    def step(x):
        most.append(sum(ref() is not None for ref in alive))
        value = (x + 1).view(Big)
        alive.append(weakref.ref(value))
        return value

    def run(do, x):
        for _ in range(10):
            x = do(step, x)
        return [x]

    recipe = taped(run, np.ones(3).view(Big))
    alive.clear(), most.clear()
    (value,) = recipe([np.zeros(3).view(Big)])
    assert (value == 10).all()
    assert max(most) == 1  # what the step reads, and nothing before it


def test_what_no_given_array_decides_is_done_once():
    calls = []

    def ones(n):
        calls.append(n)
        return np.ones(n)

    def run(do, x):
        small = do(operator.mul, do(ones, 2), 3.0)
        large = do(ones, 10_000)
        return [do(operator.add, small, x), do(np.sum, large, keepdims=True), small]

    recipe = taped(run, np.ones(2))
    calls.clear()
    for value in (1.0, 2.0):
        total, count, small = recipe([np.full(2, value)])
        np.testing.assert_array_equal(total, [3 + value] * 2)
        np.testing.assert_array_equal(small, [3.0, 3.0])
        assert count == 10_000
        small += 1.0  # is the caller's own
    assert calls == [2, 10_000, 10_000]  # what is large is not kept


def test_arrays_from_nowhere_are_refused():
    tape = Tape([np.ones(2)], is_array)
    with pytest.raises(UntapedError, match=r"an array of shape \(3,\) comes from nowhere"):
        tape.note(np.sum, ([np.ones(3)],), {}, np.ones(3))
    with pytest.raises(UntapedError):
        tape.recipe([np.ones(1)])


def test_the_peak_is_what_is_held_at_once():
    x = np.ones(100)

    def memory(y):
        root = y if y.base is None else y.base  # views lie where their base lies
        return id(root), float(root.nbytes)

    tape = Tape([x], is_array, memory=memory)

    def noted(fn, *args, work=0.0):
        tape.note(fn, args, {}, value := fn(*args), Cost(bytes=work))
        return value

    matrix = noted(np.outer, x, x)  # 80 kB
    sums = noted(np.sum, noted(np.transpose, matrix), 0)  # a view, and 0.8 kB
    assert tape.recipe([sums]).cost.bytes == matrix.nbytes + sums.nbytes
    again = noted(np.outer, sums, sums)  # the first matrix is gone by now
    assert tape.recipe([again]).cost.bytes == matrix.nbytes + sums.nbytes
    assert tape.recipe([again, matrix]).cost.bytes == 2 * matrix.nbytes + sums.nbytes
    busy = noted(np.negative, sums, work=1e6)
    recipe = tape.recipe([busy])
    assert recipe.cost.bytes == 1e6  # what a step takes on the way has its argument in it
    assert recipe.whole == matrix.nbytes + 2 * sums.nbytes + (1e6 - sums.nbytes - busy.nbytes)
    assert tape.recipe([again]).whole == 2 * matrix.nbytes + sums.nbytes
