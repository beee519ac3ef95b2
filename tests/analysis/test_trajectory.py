"""The geometry of a run, against the functions written out on quadrature nodes."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from oracle import nodes
from zoo import KINDS, linear, network, rand

import tnsim
from tnsim.algebra import Network


def run_of(kind, n=6):
    return [network(**KINDS[kind]) for _ in range(n)]


def features(run):
    """Values on quadrature nodes, so that inner products of rows are expectations."""
    x, w = nodes(3, 8)
    return torch.stack([(f(x) * w[:, None] ** 0.5).flatten() for f in run])


@pytest.mark.parametrize("kind", ["one layer, residual and bias", "two layers"])
def test_points_are_the_principal_components_of_the_values(kind):
    run = run_of(kind)
    path = tnsim.trajectory(tnsim.gram(run))
    values = features(run)
    _, s, v = torch.linalg.svd(values - values.mean(0), full_matrices=False)
    points = (values - values.mean(0)) @ v[:5].T
    points = torch.where(points[-1] < 0, -points, points)
    torch.testing.assert_close(path.points, points, rtol=1e-7, atol=1e-7 * points.abs().max().item())
    torch.testing.assert_close(path.explained, s[:5] ** 2 / (s[:5] ** 2).sum(), rtol=1e-8, atol=1e-10)
    assert path.points.shape == (6, 5)


def test_distances_are_those_of_the_values():
    run = run_of("one layer, residual")
    gram = tnsim.gram(run, labels=[0, 1, 3, 4, 8, 10])
    path, values = tnsim.trajectory(gram), features(run)
    steps = (values[1:] - values[:-1]).norm(dim=1)
    torch.testing.assert_close(path.steps, steps, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(path.travelled[3], steps[:3].sum(), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(path.from_start, (values - values[0]).norm(dim=1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        path.speed, steps / torch.tensor([1.0, 2, 1, 4, 2], dtype=torch.float64), rtol=1e-8, atol=0
    )
    one = tnsim.trajectory(gram, output=1)
    x, w = nodes(3, 8)
    moved = w @ (run[3](x) - run[2](x))[:, 1] ** 2
    torch.testing.assert_close(one.steps[2], moved**0.5, rtol=1e-8, atol=1e-10)


def test_a_straight_run_has_one_axis_and_no_detour():
    a, b = linear(3, 2), linear(3, 2)
    run = [Network((("f", a * (1 - s) + b * s),)) for s in (0.0, 0.1, 0.4, 0.5, 1.0)]
    path = tnsim.trajectory(tnsim.gram(run))
    assert path.points.shape[1] == 1 and path.explained.tolist() == [1.0]
    torch.testing.assert_close(path.travelled, path.from_start, rtol=1e-7, atol=1e-9)
    place = (path.points[:, 0] - path.points[0, 0]) / (path.points[-1, 0] - path.points[0, 0])
    torch.testing.assert_close(
        place, torch.tensor([0.0, 0.1, 0.4, 0.5, 1.0], dtype=torch.float64), rtol=1e-8, atol=1e-8
    )


def test_a_run_that_stands_still():
    a = network(1)
    path = tnsim.trajectory(tnsim.gram([a, a, a]))
    assert float(path.points.abs().max()) < 1e-6 and torch.isfinite(path.explained).all()


def test_the_nearest_checkpoint():
    run = run_of("two layers, bias", 4)
    model = Network((("f", run[2].collapse() + 0.01 * network(1).collapse()),))
    found, values = tnsim.nearest(model, run), features([*run, model])
    assert found.index == 2
    torch.testing.assert_close(found.distances, (values[:4] - values[4]).norm(dim=1), rtol=1e-6, atol=1e-6)
    cosines = torch.nn.functional.cosine_similarity(values[:4], values[4:], dim=1)
    torch.testing.assert_close(found.similarities, cosines, rtol=1e-9, atol=1e-9)
    assert "checkpoint 2 of 4" in repr(found)


def brute(s, k):
    """All ways of cutting."""
    n = len(s)
    options = []
    for cuts in combinations(range(1, n), k - 1):
        edges = (0, *cuts, n)
        cost = sum((1 - s[i:j, i:j]).sum() / 2 for i, j in pairwise(edges))
        options.append((cost, cuts))
    return min(options)


@pytest.mark.parametrize("k", range(1, 8))
def test_phases_are_the_best_of_all(k):
    for seed in range(5):
        walk = np.random.default_rng(seed).normal(size=(7, 4)).cumsum(0)
        s = walk @ walk.T
        s = s / np.sqrt(np.outer(s.diagonal(), s.diagonal()))
        found, (cost, cuts) = tnsim.segment(s, k), brute(s, k)
        assert found.boundaries == cuts and len(found) == k
        assert found.cost == pytest.approx(cost, abs=1e-12)


def test_phases_of_a_run_with_two_turns():
    a, b, c = (network(1) for _ in range(3))
    run = [Network((("f", f.collapse() + 0.05 * network(1).collapse()),)) for f in (a, a, a, b, b, c, c, c)]
    phases = tnsim.segment(tnsim.gram(run, labels=[10 * i for i in range(8)]), 3)
    assert phases.boundaries == (3, 5) and phases.spans == ((0, 3), (3, 5), (5, 8))
    assert repr(phases).startswith("Phases(0–20, 30–40, 50–70; cost ")


def test_errors():
    gram = tnsim.gram([network(1) for _ in range(3)], labels=["a", "b", "c"])
    with pytest.raises(ValueError, match="needs numbers as labels"):
        _ = tnsim.trajectory(gram).speed
    with pytest.raises(ValueError, match="labels that increase"):
        _ = tnsim.trajectory(tnsim.gram([network(1), network(1)], labels=[2, 1])).speed
    with pytest.raises(ValueError, match="at least two models"):
        tnsim.trajectory(tnsim.gram([network(1)]))
    with pytest.raises(ValueError, match="3 models cannot be cut into 4"):
        tnsim.segment(gram, 4)
    with pytest.raises(ValueError, match="square, symmetric and finite"):
        tnsim.segment(rand(3, 3), 2)
    with pytest.raises(ValueError, match="square, symmetric and finite"):
        tnsim.segment(np.full((3, 3), np.nan), 2)
    with pytest.raises(ValueError, match="goes with a Gram matrix"):
        tnsim.segment(np.eye(3), 2, output=1)
    with pytest.raises(ValueError, match="the run is empty"):
        tnsim.nearest(network(1), [])
