"""Spectra and unfoldings against dense matrices: quadrature points, automatic differentiation, coefficient tensors."""

import pytest
import torch
from oracle import dense, nodes
from zoo import KINDS, network, rand

import tnsim
from tnsim.algebra import poly, stack
from tnsim.analysis.bonds.places import place_at
from tnsim.analysis.explain.modes import leading
from tnsim.measure import Empirical, Frobenius, Gaussian, MeasureError, Symmetric

close = dict(rtol=1e-9, atol=1e-9)


def law(d=3):
    b = rand(d, d)
    return rand(d) / 2, b @ b.T / d + 0.3 * torch.eye(d, dtype=torch.float64)


def jacobian_of(f, x):
    return torch.func.vmap(torch.func.jacrev(lambda y: f(y[None])[0]))(x)


def assert_modes_of(modes, matrix, metric):
    """Readers and patterns are dual, uncorrelated, and diagonalise the matrix."""
    n = len(modes)
    torch.testing.assert_close(modes.readers @ modes.patterns.T, torch.eye(n, dtype=torch.float64), **close)
    torch.testing.assert_close(
        modes.readers @ metric @ modes.readers.T, torch.eye(n, dtype=torch.float64), **close
    )
    inside = modes.patterns @ matrix @ modes.patterns.T
    torch.testing.assert_close(inside, inside.diagonal().diag(), rtol=0, atol=1e-9 * inside.abs().max())


# ---------------------------------------------------------------------- interaction matrices


@pytest.mark.parametrize("d", [3, 8])
def test_interaction_is_the_eigendecomposition_of_the_dense_matrix(d):
    net = network(1, d=d, hidden=12)
    mean, cov = law(d)
    for k in range(2):
        matrix = dense(lambda x, k=k: net(x)[:, k], d, 2)[2]
        for metric, under in ((torch.eye(d, dtype=torch.float64), None), (cov, Gaussian(mean, cov))):
            modes = tnsim.spectrum(net, k, under=under)
            root = torch.linalg.cholesky(metric)
            expected = torch.linalg.eigvalsh(root.T @ matrix @ root)
            torch.testing.assert_close(modes.values.sort().values, expected, **close)
            assert_modes_of(modes, matrix, metric)
            rebuilt = torch.einsum("r,ri,rj->ij", modes.values, modes.readers, modes.readers)
            torch.testing.assert_close(rebuilt, matrix, **close)


@pytest.mark.parametrize("kind", ["one layer", "one layer, bias", "one layer, residual and bias"])
def test_interaction_linear_part_and_constant_are_the_orders(kind):
    net, (mean, cov) = network(**KINDS[kind]), law()
    under = Gaussian(mean, cov)
    modes = tnsim.spectrum(net, 1, under=under)
    expected = torch.stack(
        [
            (modes.constant + modes.values.sum()) ** 2,
            modes.linear @ cov @ modes.linear,
            2 * (modes.values**2).sum(),
        ]
    )
    torch.testing.assert_close(tnsim.orders(net, output=1, under=under), expected, **close)


def test_few_hidden_units_of_many_inputs_and_lanczos_equal_the_dense_matrix():
    """Inputs that are not read are left out; and of large operators only products with vectors are needed."""
    D, L, R = rand(2, 5), rand(5, 40), rand(5, 40)
    net = poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D, L=L, R=R)
    matrix = torch.einsum("h,hi,hj->ij", D[1], L, R)
    matrix = (matrix + matrix.T) / 2
    _, cov = law(40)
    modes = tnsim.spectrum(net, 1, under=Gaussian(cov=cov))
    assert len(modes) == 10
    root = torch.linalg.cholesky(cov)
    expected = torch.linalg.eigvalsh(root.T @ matrix @ root)
    expected = expected[expected.abs().argsort(descending=True)[:10]]
    torch.testing.assert_close(modes.values, expected, **close)
    assert_modes_of(modes, matrix, cov)
    assert "rank" in repr(modes) and "rank" not in repr(tnsim.spectrum(net, 1, top=3))

    calls = []
    wide = rand(1200, 3)

    def operator(v):
        calls.append(v.shape[1])
        return wide @ (torch.tensor([3.0, -2.0, 1.0], dtype=torch.float64)[:, None] * (wide.T @ v))

    values, vectors = leading(operator, 1200, wide, 3)
    assert max(calls) < 20  # never the whole matrix
    for value, vector in zip(values, vectors.T, strict=True):
        torch.testing.assert_close(operator(vector[:, None])[:, 0], value * vector, rtol=1e-7, atol=1e-7)
    r = torch.linalg.qr(wide).R
    exact = torch.linalg.eigvalsh(r @ torch.diag(torch.tensor([3.0, -2.0, 1.0], dtype=torch.float64)) @ r.T)
    torch.testing.assert_close(values.sort().values, exact, **close)


def test_degenerate_values_are_one_group():
    """f = (x₀² + x₁² + x₂²) − 2 (x₃² + x₄²) + x₅²/2: three groups, whatever basis is found in each."""
    weights = torch.tensor([1.0, 1, 1, -2, -2, 0.5], dtype=torch.float64)
    turn = torch.linalg.qr(rand(6, 6)).Q
    net = poly("D[out,hid] L[hid,in0] R[hid,in1]", D=weights[None], L=turn, R=turn)
    modes = tnsim.spectrum(net, 0)
    groups = modes.groups()
    assert [len(g) for g in groups] == [2, 3, 1]
    torch.testing.assert_close([g.value for g in groups], [-2.0, 1.0, 0.5])
    for group, rows in zip(groups, (turn[3:5], turn[:3], turn[5:]), strict=True):
        found = modes.readers[list(group.members)]
        torch.testing.assert_close(found.T @ found, rows.T @ rows, **close)


def test_opposite_values_are_two_groups():
    one = torch.ones(1, 2, dtype=torch.float64)
    eye = torch.eye(4, dtype=torch.float64)
    modes = tnsim.spectrum(poly("D[out,hid] L[hid,in0] R[hid,in1]", D=one, L=eye[:2], R=eye[2:]), 0)
    assert sorted(len(g) for g in modes.groups()) == [2, 2]
    assert float(modes.effective_rank) == pytest.approx(4)


# ---------------------------------------------------------------------- gradients


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_the_outer_product_under_quadrature(kind):
    net = network(**KINDS[kind])
    mean, cov = law()
    for m, c in ((None, None), (mean, cov)):
        x, w = nodes(3, 8, m, c)
        jac = jacobian_of(net, x)
        metric = torch.eye(3, dtype=torch.float64) if c is None else c
        for output in (None, 1):
            j = jac if output is None else jac[:, output : output + 1]
            outer = torch.einsum("b,boi,boj->ij", w, j, j)
            root = torch.linalg.cholesky(metric)
            expected = torch.linalg.eigvalsh(root.T @ outer @ root).flip(0)
            modes = tnsim.spectrum(net, output, of="gradient", under=Gaussian(m, c))
            torch.testing.assert_close(
                modes.values**2, expected, rtol=1e-9, atol=1e-9 * expected.max().item()
            )
            assert_modes_of(modes, outer, metric)


def test_gradient_of_three_layers_under_quadrature():
    net = network(3, d=2, width=2, hidden=2)
    x, w = nodes(2, 14)
    jac = jacobian_of(net, x)
    outer = torch.einsum("b,boi,boj->ij", w, jac, jac)
    values, expected = tnsim.spectrum(net).values ** 2, torch.linalg.eigvalsh(outer).flip(0)
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-9 * expected[0].item())


def test_gradient_and_interaction_of_one_layer_tell_the_same():
    net, (_, cov) = network(1), law()
    inter = tnsim.spectrum(net, 0, under=Gaussian(cov=cov))
    grad = tnsim.spectrum(net, 0, of="gradient", under=Gaussian(cov=cov))
    torch.testing.assert_close(grad.values, 2 * inter.values.abs(), **close)
    torch.testing.assert_close(
        (grad.readers @ inter.patterns.T).abs(), torch.eye(3, dtype=torch.float64), **close
    )


def test_data_are_averaged_over():
    net, x = network(2, bias=True), rand(50, 3)
    jac = jacobian_of(net, x)
    outer = torch.einsum("boi,boj->ij", jac, jac) / 50
    cov = torch.cov(x.T, correction=0)
    modes = tnsim.spectrum(net, under=Empirical(x))
    root = torch.linalg.cholesky(cov)
    torch.testing.assert_close(
        modes.values**2, torch.linalg.eigvalsh(root.T @ outer @ root).flip(0), rtol=1e-9, atol=1e-9
    )
    assert_modes_of(modes, outer, cov)


def test_layer_by_layer_is_the_recursion_over_gaussian_hidden_states():
    net = network(2, bias=True)
    first, second = net.polys
    x, w = nodes(3, 8)
    h = first(x)
    mean = w @ h
    cov = torch.einsum("b,bi,bj->ij", w, h - mean, h - mean)
    y, v = nodes(3, 8, mean, cov)
    upper = jacobian_of(second, y)
    weight = torch.einsum("b,boi,boj->ij", v, upper, upper)
    lower = jacobian_of(first, x)
    outer = torch.einsum("b,bpi,pq,bqj->ij", w, lower, weight, lower)
    modes = tnsim.spectrum(net, method="layerwise")
    torch.testing.assert_close((modes.values**2).flip(0), torch.linalg.eigvalsh(outer), **close)
    assert not torch.allclose(modes.values, tnsim.spectrum(net).values, rtol=1e-2)
    one = network(1, bias=True)
    exact = tnsim.spectrum(one, of="gradient").values
    torch.testing.assert_close(tnsim.spectrum(one, of="gradient", method="layerwise").values, exact, **close)


# ---------------------------------------------------------------------- unfoldings


def kernel(net, at, x, w):
    """The matrix √w_y J(h(y)) h(x) √w_x, over all quadrature points."""
    place = place_at(net, at)
    h = place.below(x)
    jac = torch.eye(h.shape[1], dtype=torch.float64).expand(len(x), -1, -1)
    if place.at < len(place.net):
        jac = jacobian_of(place.net[place.at :], h)
    h, jac = h[:, : place.size], jac[:, :, : place.size]
    return torch.einsum("b,c,boi,ci->boc", w.sqrt(), w.sqrt(), jac, h).reshape(-1, len(x))


@pytest.mark.parametrize("kind", KINDS)
def test_every_unfolding_is_the_svd_of_the_dense_matrix(kind):
    net = network(**KINDS[kind])
    mean, cov = law()
    under = Gaussian(mean, cov) if "bias" in kind else None
    x, w = nodes(3, 8, mean, cov) if "bias" in kind else nodes(3, 8)
    for at in ["in", *net.names, "out", *(f"{n}.hidden" for n, f in net if f.degree == 2)]:
        modes = tnsim.unfold(net, at, under=under)
        expected = torch.linalg.svdvals(kernel(net, at, x, w))
        assert not (expected[len(modes) :] > 1e-9 * expected[0]).any()
        expected = expected[: len(modes)]
        torch.testing.assert_close(modes.values, expected, rtol=1e-9, atol=1e-9 * expected[0].item())


@pytest.mark.parametrize("d", [3, 8])
def test_of_symmetric_tensors_it_is_the_unfolding_of_the_coefficients(d):
    for depth in (1, 2) if d == 3 else (1,):
        net = network(depth, d=d, hidden=3)
        degree = 2**depth
        tensor = dense(net, d, degree)[degree]
        expected = degree * torch.linalg.svdvals(tensor.movedim(1, 0).reshape(d, -1))
        modes = tnsim.unfold(net, "in", under=Symmetric())
        expected = torch.cat([expected, torch.zeros(d)])[: len(modes)]
        torch.testing.assert_close(modes.values, expected, rtol=1e-9, atol=1e-9 * expected[0].item())


def test_at_the_output_it_is_the_second_moment():
    net = network(2, bias=True)
    expected = torch.linalg.eigvalsh(tnsim.moments(net)).flip(0)
    torch.testing.assert_close(tnsim.unfold(net, "out").values ** 2, expected, **close)


def test_a_bond_that_is_too_wide_shows_it():
    """A hidden state of six coordinates that only ever moves in two."""
    first = poly("W[out,in0]", W=rand(6, 2)) @ network(1, d=3, out=2).collapse()
    second = poly("D[out,hid] L[hid,in0] R[hid,in1]", D=rand(2, 4), L=rand(4, 6), R=rand(4, 6))
    modes = tnsim.unfold(tnsim.Network((("a", first), ("b", second))), "a")
    assert modes.rank() == 2 and len(modes) == 2 and float(modes.effective_rank) <= 2


def test_a_run_has_its_axis_in_front_and_a_difference_is_a_model():
    nets = [network(2) for _ in range(3)]
    both = tnsim.unfold(stack(nets), "blocks.0")
    for i, net in enumerate(nets):
        torch.testing.assert_close(both.pick(i).values, tnsim.unfold(net, "blocks.0").values, **close)
    delta = tnsim.difference(nets[0], nets[1])
    x, w = nodes(3, 8)
    jac = jacobian_of(nets[0], x) - jacobian_of(nets[1], x)
    outer = torch.einsum("b,boi,boj->ij", w, jac, jac)
    torch.testing.assert_close(
        (tnsim.spectrum(delta).values ** 2).flip(0), torch.linalg.eigvalsh(outer), **close
    )
    a, b = (network(1).polys[0] for _ in range(2))
    delta = tnsim.spectrum(tnsim.difference(a, b), 1)
    torch.testing.assert_close(delta.values, tnsim.spectrum(a - b, 1).values, **close)


def test_orders_of_every_output_add_up():
    net = network(2, bias=True)
    each = tnsim.orders(net, each=True)
    assert each.shape == (5, 2)
    torch.testing.assert_close(each.sum(-1), tnsim.orders(net), **close)
    torch.testing.assert_close(each[:, 1], tnsim.orders(net, output=1), **close)


def test_errors_say_what_to_write():
    net = network(2)
    with pytest.raises(ValueError, match='of="gradient"'):
        tnsim.spectrum(net, 0, of="interaction")
    with pytest.raises(ValueError, match='write "interaction" or "gradient"'):
        tnsim.spectrum(net, of="energy")
    with pytest.raises(MeasureError, match="Gaussian"):
        tnsim.spectrum(net, under=Symmetric())
    with pytest.raises(MeasureError, match="as they are stored"):
        tnsim.unfold(net, "in", under=Frobenius())
    with pytest.raises(KeyError, match=r"blocks\.1\.hidden"):
        tnsim.unfold(net, "blocks.7")
    with pytest.raises(ValueError, match="no hidden units"):
        tnsim.unfold(network(1, embed=True), "embed.hidden")
    with pytest.raises(ValueError, match="pick"):
        tnsim.unfold(stack([net, net]), "in").groups()


def test_one_output_of_a_sequence_has_a_place_on_every_axis():
    weights = {"D": rand(2, 3), "L": rand(3, 4), "R": rand(3, 4)}
    f = poly("D[out@s,hid] L[hid,in0@s] R[hid,in1@s] E[s]", E=rand(5), **weights)
    position = tnsim.spectrum(f, output=1)  # two outputs are left, and have no one interaction matrix
    assert position.what.startswith("root mean square") and tnsim.spectrum(f, (1, 0)).what.startswith(
        "eigenvalues"
    )
    both = sum((tnsim.spectrum(f, (1, k), of="gradient").values ** 2).sum() for k in (0, 1))
    torch.testing.assert_close((position.values**2).sum(), both, **close)
    with pytest.raises(ValueError, match="for every axis"):
        tnsim.spectrum(f, 1, of="interaction")
