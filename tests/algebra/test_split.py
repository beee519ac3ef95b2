"""What some of the given arrays decide alone is made apart, and the rest gives the same to the last bit."""

import operator

import numpy as np
import pytest

from tnsim.engine.costs import Cost
from tnsim.engine.tapes import Tape


class Bench:
    """Operations on arrays as they are noted, and how often each is then done."""

    def __init__(self, *arrays):
        self.arrays, self.done = arrays, []
        self.tape = Tape(arrays, lambda x: isinstance(x, np.ndarray), memory=self.memory)

    @staticmethod
    def memory(x):
        root = x if x.base is None else x.base  # views lie where their base lies
        return id(root), float(root.nbytes)

    def do(self, name, fn, *args, flops=0.0, writes=0.0):
        """``flops`` above twice the ``writes`` add something up."""

        def counted(*args):
            self.done.append(name)
            return fn(*args)

        value = fn(*args)
        arrays = [
            x for x in (*args, *(value if isinstance(value, list) else [value])) if hasattr(x, "nbytes")
        ]
        size = sum({id(x): float(x.nbytes) for x in arrays}.values())
        self.tape.note(counted, args, {}, value, Cost(flops, size, 1 if flops else 0, writes))
        return value

    def dear(self, name, fn, *args):
        return self.do(name, fn, *args, flops=1000.0, writes=1.0)


def halves(recipe, bench, *groups):
    """The pieces and the rest, after a check that together they do what the recipe does; and who does what."""
    pieces, rest = recipe.split(*groups)
    expected = recipe(bench.arrays)
    who = []
    made = []
    for piece, group in zip(pieces, groups, strict=True):
        bench.done.clear()
        made.append(piece([bench.arrays[n] for n in group]))
        who.append(list(bench.done))
    bench.done.clear()
    found = rest([*bench.arrays, *(x for some in made for x in some)])
    who.append(list(bench.done))
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x, y)
    return pieces, rest, made, who


def rand(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape)


def test_every_operation_is_done_where_its_arrays_are():
    x, y = rand(4, 4), rand(4, 4)
    bench = Bench(x, y)
    left = bench.dear("left", np.matmul, x, x)
    right = bench.dear("right", np.matmul, y, y)
    both = bench.dear("both", np.matmul, left, right)
    recipe = bench.tape.recipe([both])
    pieces, rest, made, who = halves(recipe, bench, [0], [1])
    assert who == [["left"], ["right"], ["both"]]
    np.testing.assert_array_equal(made[0][0], x @ x)
    assert [piece.made for piece in pieces] == [128, 128] and rest.made == 128
    total = [piece.cost for piece in pieces] + [rest.cost]
    assert sum(c.flops for c in total) == recipe.cost.flops == 3000
    assert sum(c.contractions for c in total) == recipe.cost.contractions == 3
    assert rest.cost.bytes == 128 and recipe.cost.bytes == 3 * 128  # pieces are given to the rest


def test_what_both_decide_alone_is_made_by_either_and_kept_once():
    """An array given to both, and a result that is read by what either does alone and by the rest."""
    x, y, law = rand(4, 4), rand(4, 4), rand(4, 4)
    bench = Bench(x, y, law)
    root = bench.dear("root", np.matmul, law, law)
    left = bench.dear("left", np.matmul, x, root)
    right = bench.dear("right", np.matmul, y, root)
    both = bench.dear("both", np.matmul, left, right)
    recipe = bench.tape.recipe([bench.dear("all", np.matmul, both, root), left])
    _, _, made, who = halves(recipe, bench, [0, 2], [1, 2])
    assert who == [["root", "left"], ["root", "right"], ["both", "all"]]
    assert [len(some) for some in made] == [2, 1]


def test_views_and_repetitions_are_left_to_the_rest():
    x, y = rand(4, 4), rand(4, 4)
    bench = Bench(x, y)
    view = bench.do("given", np.transpose, x)  # no more than what is given
    left = bench.dear("left", np.matmul, x, x)
    turned = bench.do("turned", np.transpose, left)  # lies where `left` lies
    repeated = bench.do("repeated", lambda a: np.stack([a] * 10), turned)
    scaled = bench.do("scaled", operator.mul, x, 3.0)  # as large as what is given
    copies = bench.do("outer", lambda a: np.multiply.outer(a, [1.0, 2.0]), left, flops=32.0, writes=32.0)
    sums = bench.do("sums", np.sum, repeated, (0, 1))
    several = [bench.dear(str(k), np.matmul, z, y) for k, z in enumerate((view, turned, scaled, sums))]
    several += [
        bench.dear("4", np.tensordot, repeated, y, 1),
        bench.dear("5", np.tensordot, copies, y, ((0,), (0,))),
    ]
    recipe = bench.tape.recipe([several[k] for k in (0, 1, 2, 4, 5, 3)])
    pieces, _, made, who = halves(recipe, bench, [0], [1])
    assert who[0] == ["left", "turned", "repeated", "sums"]  # these for `sums`, which is smaller
    assert {"given", "turned", "repeated", "scaled", "outer"} <= set(who[2])
    assert pieces[0].made == left.nbytes + sums.nbytes
    assert made[1] == []


def test_constants_belong_to_nobody():
    x, y = rand(4, 4), rand(4, 4)
    bench = Bench(x, y)
    small = bench.do("small", np.ones, 4)
    power = bench.dear("power", np.outer, small, small)
    large = bench.do("large", np.ones, (4, 10_000))
    left = bench.dear("left", np.matmul, x, large)
    both = bench.dear("both", np.matmul, y, left)
    recipe = bench.tape.recipe([bench.do("sum", np.matmul, power, both), large])
    pieces, rest, made, _ = halves(recipe, bench, [0], [1])
    assert len(made[0]) == 1 and pieces[0].made == left.nbytes
    bench.done.clear()
    rest([x, y, *made[0]])
    assert bench.done == ["large", "both", "sum"]  # what is small is kept, as in any recipe


def test_of_an_operation_with_several_results_only_some_are_kept():
    x, y = rand(6, 6), rand(6, 6)
    bench = Bench(x, y)
    first, second, third = bench.dear("split", lambda a: [a[:2] * 1.0, a[2:4] * 1.0, a[4:] * 1.0], x)
    both = bench.dear("both", np.matmul, second, y)
    alone = bench.dear("alone", np.matmul, third, x)
    recipe = bench.tape.recipe([both, bench.do("add", operator.add, alone, both)])
    pieces, _, made, who = halves(recipe, bench, [0], [1])
    assert who == [["split", "alone"], [], ["both", "add"]]
    np.testing.assert_array_equal(made[0][0], second)
    assert pieces[0].made == second.nbytes + alone.nbytes
    assert first.nbytes  # is let go


def test_what_one_side_decides_wholly_is_a_result_of_the_rest_too():
    x, y = rand(4, 4), rand(4, 4)
    bench = Bench(x, y)
    left = bench.dear("left", np.matmul, x, x)
    recipe = bench.tape.recipe([left, x])
    _, rest, _, who = halves(recipe, bench, [0], [1])
    assert who == [["left"], [], []] and not rest.steps


def test_pieces_let_go_of_what_is_done():
    x, y = rand(50, 50), rand(50, 50)
    bench = Bench(x, y)
    left = x
    for k in range(10):
        left = bench.dear(str(k), np.matmul, left, x)
    recipe = bench.tape.recipe([bench.dear("both", np.matmul, left, y)])
    (piece, _), rest, _, _ = halves(recipe, bench, [0], [1])
    assert piece.cost.bytes == 2 * x.nbytes and rest.cost.bytes == x.nbytes
    assert piece.whole == 10 * x.nbytes


def test_arrays_that_are_not_given_to_a_piece_are_missed():
    x, y = rand(4, 4), rand(4, 4)
    bench = Bench(x, y)
    recipe = bench.tape.recipe([bench.dear("both", np.matmul, bench.dear("left", np.matmul, x, x), y)])
    (piece, _), rest = recipe.split([0], [1])
    with pytest.raises(ValueError, match="shorter"):
        rest([x, y])
    with pytest.raises(ValueError, match="longer"):
        piece([x, y])
