"""Truncations: exact at full rank, and what they report is what quadrature says."""

import pytest
import torch
from oracle import nodes
from zoo import KINDS, network, rand

import tnsim
from tnsim.algebra import poly, stack
from tnsim.analysis.explain.shrinking import parameters_of
from tnsim.measure import Frobenius, Gaussian, Symmetric


def by_quadrature(a, b, mean=None, cov=None, d=3):
    x, w = nodes(d, 8, mean, cov)
    f, g = a(x), b(x)
    ab, aa, bb = (torch.einsum("b,bo,bo->", w, p, q).item() for p, q in ((f, g), (f, f), (g, g)))
    return ab / (aa * bb) ** 0.5, (max(0.0, aa - 2 * ab + bb) / aa) ** 0.5


def places(net):
    return [*net.names[:-1], *(f"{n}.hidden" for n, f in net if f.degree == 2)]


@pytest.mark.parametrize("kind", KINDS)
def test_at_full_rank_nothing_changes(kind):
    net = network(**KINDS[kind])
    full = tnsim.truncate(net, rank=dict.fromkeys(places(net), 99))
    assert full.similarity == 1 and full.error == 0
    x = rand(20, 3)
    assert torch.equal(full.network(x), net(x))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_reported_equals_quadrature(kind):
    net = network(**KINDS[kind])
    mean = rand(3) / 2
    for under, m in ((None, None), (Gaussian(mean), mean)) if net.degree == 2 else ((None, None),):
        for p in places(net):
            small = tnsim.truncate(net, rank={p: 2}, under=under)
            cosine, error = by_quadrature(net, small.network, m)
            assert small.similarity == pytest.approx(cosine, abs=1e-10)
            assert small.error == pytest.approx(error, abs=1e-6)
            assert small.similarity < 1 - 1e-9 or small.left_out[p] < 1e-9


def test_for_the_last_hidden_units_what_is_left_out_is_the_squared_error():
    for net in (network(1, hidden=7), network(2, hidden=7), network(1, hidden=7, bias=True)):
        p = f"{net.names[-1]}.hidden"
        for r in range(1, 7):
            small = tnsim.truncate(net, rank={p: r})
            norm = tnsim.inner(net)
            energy = float((tnsim.unfold(net, p).values ** 2).sum())
            expected = small.left_out[p] * energy / float(norm)
            assert small.error**2 == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_units_are_merged_not_merely_dropped():
    """A unit twice over: dropping one of the two is free, since the other takes over its column."""
    D, L, R = rand(2, 4), rand(4, 3), rand(4, 3)
    L, R = torch.cat([L, 2 * L[:1]]), torch.cat([R, R[:1]])
    net = poly("D[out,hid] L[hid,in0] R[hid,in1]", D=torch.cat([D, rand(2, 1)], 1), L=L, R=R)
    small = tnsim.truncate(net, rank={"layer0.hidden": 4})
    assert small.error < 1e-6 and small.parameters == (32, 40)


def test_greedy_order_is_the_best_next_unit_by_brute_force():
    net = network(1, hidden=5)
    x, w = nodes(3, 8)
    D, L, R = (t.data for t in net.polys[0].terms[0].tensors)
    q = (x @ L.T) * (x @ R.T)
    root = w.sqrt()[:, None]

    def left_out(kept):
        basis = torch.linalg.qr(root * q[:, kept]).Q
        f = root * (q @ D.T)
        return (f - basis @ (basis.T @ f)).pow(2).sum().item()

    kept = []
    for _ in range(3):
        kept.append(min((j for j in range(5) if j not in kept), key=lambda j: left_out([*kept, j])))
        small = tnsim.truncate(net, rank={"blocks.0.hidden": len(kept)})
        assert small.error**2 * float(tnsim.inner(net)) == pytest.approx(left_out(kept), rel=1e-7)


def test_the_error_asked_for_is_met_and_the_parameters_too():
    net = network(2, d=3, width=5, hidden=6, embed=True)
    rough, fine = (tnsim.truncate(net, error=e) for e in (0.5, 0.05))
    assert rough.error <= 0.5 and fine.error <= 0.05
    assert rough.parameters[0] < fine.parameters[0] < fine.parameters[1]
    curve = tnsim.truncations(net, [120, 90, 50])
    assert [t.parameters[0] <= n for t, n in zip(curve, (120, 90, 50), strict=True)] == [True] * 3
    for t in curve:
        assert t.parameters[0] == parameters_of(t.network)
        assert t.similarity == pytest.approx(by_quadrature(net, t.network)[0], abs=1e-10)
    assert tnsim.truncate(net, parameters=10_000).similarity == pytest.approx(1)


def test_the_bound_is_above_the_error_and_made_of_computed_steps():
    net = network(2, width=5, hidden=6, embed=True)
    small = tnsim.truncate(net, rank={"embed": 2, "blocks.0": 3, "blocks.1.hidden": 4}, bound=True)
    assert small.error <= small.bound < 10 * small.error
    first = tnsim.truncate(net, rank={"embed": 2})
    assert small.steps["embed"] == pytest.approx(first.error)
    assert tnsim.truncate(net, rank=2).bound is None


def test_a_bond_of_low_rank_is_cut_for_nothing():
    first = poly("W[out,in0]", W=rand(6, 2)) @ network(1, d=3, out=2).collapse()
    second = poly("D[out,hid] L[hid,in0] R[hid,in1]", D=rand(2, 4), L=rand(4, 6), R=rand(4, 6))
    net = tnsim.Network((("a", first), ("b", second)))
    small = tnsim.truncate(net, error=1e-3)
    assert small.ranks["a"] == 2 and small.similarity == pytest.approx(1, abs=1e-12)


def test_other_laws_and_a_difference():
    a, b = network(2, hidden=5), network(2, hidden=5)
    delta = tnsim.difference(a, b)
    for under in (None, Symmetric()):
        small = tnsim.truncate(delta, rank=3, under=under)
        assert small.similarity == pytest.approx(
            float(tnsim.similarity(delta, small.network, under=under)), abs=1e-12
        )
    assert small.network["blocks.0"].out_shape == (3,)
    rough = tnsim.truncate(a, rank=1, method="layerwise")
    assert rough.similarity == pytest.approx(
        float(tnsim.similarity(a, rough.network, method="layerwise")), abs=1e-12
    )


def test_errors_say_what_to_write():
    net = network(2)
    with pytest.raises(ValueError, match="one of rank="):
        tnsim.truncate(net)
    with pytest.raises(ValueError, match="one of rank="):
        tnsim.truncate(net, rank=2, error=0.1)
    with pytest.raises(ValueError, match="no bond"):
        tnsim.truncate(net, rank={"blocks.1": 1})
    with pytest.raises(ValueError, match="hidden units"):
        tnsim.truncate(network(1), rank=2)
    with pytest.raises(ValueError, match="cannot be reached"):
        tnsim.truncate(net, parameters=3)
    with pytest.raises(ValueError, match="at least 1"):
        tnsim.truncate(net, rank=0)
    with pytest.raises(ValueError, match="above 0"):
        tnsim.truncate(net, error=0.0)
    with pytest.raises(ValueError, match="pick"):
        tnsim.truncate(stack([net, net]), rank=2)
    with pytest.raises(tnsim.MeasureError, match="as they are stored"):
        tnsim.truncate(net, rank=2, under=Frobenius())
