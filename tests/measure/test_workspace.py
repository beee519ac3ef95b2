"""Programs in memory laid out once: the same as with arrays of their own."""

import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from zoo import rand

from tnsim.measure.attention.programs.liveness import laid_out
from tnsim.measure.attention.programs.program import Assembler
from tnsim.measure.attention.programs.workspaces import Workspace, fits, workspace

SHAPES = {"x": (2, 3), "y": (3, 4), "z": (2, 4)}


def program():
    """Every operation there is."""
    recorder = Assembler()
    x, y, z = (recorder.given(name, shape) for name, shape in SHAPES.items())
    xy = recorder.dot([(x, y), (z, recorder.zeros((4, 4)))])
    whole = xy + z * 0.5
    square = recorder.dot([(whole, z.turned), (xy, xy.turned)])
    number = square.trace + whole.contracted(z) * recorder.ones()
    tall = recorder.cat([whole.columns(1, 3), z.columns(0, 2)], 0)
    wide = recorder.cat([tall.rows(1, 3).turned, square], 1)
    return recorder.program(wide + (wide * number) + wide * wide.turned.contracted(wide.turned))


def by_hand(x, y, z):
    xy = x @ y
    whole = xy + z * 0.5
    square = whole @ z.mT + xy @ xy.mT
    number = square.diagonal(0, 1, 2).sum(-1) + (whole * z).sum((1, 2))
    tall = torch.cat([whole[:, :, 1:3], z[:, :, 0:2]], 1)
    wide = torch.cat([tall[:, 1:3].mT, square], 2)
    return wide * (1 + number + (wide * wide).sum((1, 2)))[:, None, None]


def given(rows, count):
    """Arrays of some matrices, and which of them are meant."""
    arrays = {name: rand(rows, *shape) for name, shape in SHAPES.items()}
    numbers = {name: torch.randint(rows, (count,)) for name in SHAPES}
    return arrays, numbers


@pytest.mark.parametrize("size", [0.0, 2.0**10, 2.0**20], ids=["too small", "for some", "for all"])
def test_in_place_is_the_same(size):
    made, space = program(), Workspace(rand(1), size)
    for count in (1, 3, 40, 3):
        arrays, numbers = given(7, count)
        expected = by_hand(*(arrays[name][numbers[name]] for name in SHAPES))
        value = space.run(made, lambda name, a=arrays, n=numbers: (a[name], n[name]), count)
        torch.testing.assert_close(value, expected)
        alone = made.run(lambda name, a=arrays, n=numbers: a[name][n[name]], count, arrays["x"])
        torch.testing.assert_close(alone, expected)
        lines = made.run(lambda name, a=arrays, n=numbers: a[name][n[name]].numpy(), count, np.ones(1))
        np.testing.assert_allclose(lines, expected, rtol=1e-12)


def test_an_input_is_put_together_from_rows():
    recorder = Assembler()
    made = recorder.program(recorder.given("x", (2, 6)) * 2.0)
    x, lines = rand(9, 3), torch.randint(9, (5, 2, 2))
    value = workspace(x, 2.0**12).run(made, lambda name: (x, lines.reshape(-1)), 5)
    torch.testing.assert_close(value, 2 * x[lines].reshape(5, 2, 6))


def test_nothing_that_is_needed_lies_in_one_place():
    random = np.random.default_rng(0)
    for _ in range(50):
        sizes = random.integers(0, 30, 40)
        ends = [random.integers(n, 40) for n in range(40)]
        done = [[k for k in range(40) if ends[k] == n and sizes[k]] for n in range(40)]
        besides = random.integers(0, 5, 40) * 6
        found = laid_out([(n, int(sizes[n]), int(besides[n])) for n in range(40)], done)
        for now in range(40):
            alive = [(found.places[k], sizes[k]) for k in range(now + 1) if ends[k] >= now and sizes[k]]
            alive += [(found.passing[now], besides[now])] if besides[now] else []
            spans = sorted((start, start + size) for start, size in alive)
            assert all(a <= b for (_, a), (b, _) in pairwise(spans))
            assert not spans or spans[-1][1] <= found.total
        needed = max(sum(sizes[k] for k in range(n + 1) if ends[k] >= n) for n in range(40))
        assert needed <= found.total <= 2 * needed + 8 * 40


def test_threads_do_not_share_memory():
    made, results = program(), {}
    batches = [given(7, 30) for _ in range(4)]

    def work(k):
        arrays, numbers = batches[k]
        for _ in range(50):
            value = workspace(rand(1), 2.0**20).run(made, lambda name: (arrays[name], numbers[name]), 30)
            results.setdefault(k, []).append(value.clone())

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, (arrays, numbers) in enumerate(batches):
        expected = by_hand(*(arrays[name][numbers[name]] for name in SHAPES))
        for value in results[k]:
            torch.testing.assert_close(value, expected)


def test_only_tensors_without_gradients_are_written_to():
    x, w = rand(2), rand(2).requires_grad_()
    assert fits([x, None]) and not fits([x, w]) and not fits([x.numpy()]) and not fits([x.to("meta")])
    with torch.no_grad():
        assert fits([x, w])
    with torch.inference_mode():
        inside = workspace(x, 2.0**10)
    assert inside is not workspace(x, 2.0**10) and inside is not workspace(x.float(), 2.0**10)
