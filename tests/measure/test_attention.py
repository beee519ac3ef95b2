"""Moments through attention against quadrature, and against the pairings one by one."""

import pytest
import torch
from attention import Attention
from oracle import nodes
from zoo import rand

import tnsim
from tnsim.algebra import Network, poly, stack
from tnsim.measure import Gaussian, MeasureError, expect, plan
from tnsim.measure.attention.links.family import Sheet, families
from tnsim.measure.laws.gaussian import JointGaussian
from tnsim.measure.pairings.measure import Block

ALL = ("V", "Q1", "K1", "Q2", "K2")
KINDS = {
    "one head": dict(),
    "two heads": dict(n=2),
    "no mask": dict(mask="none"),
    "diagonal mask": dict(mask="diagonal", n=2),
    "rotary": dict(rotary=True),
    "tied": dict(tied=True),
    "tied, rotary, biased, residual": dict(
        tied=True, rotary=True, bias=("Q1", "K1", "Q2", "K2"), residual=0.35
    ),
    "residual": dict(residual=0.7),
    "biased scores": dict(bias=("Q1", "K1", "Q2", "K2"), n=2),
    "biased": dict(bias=(*ALL, "O")),
    "biased, residual, rotary": dict(bias=ALL, residual=0.5, rotary=True),
    "numbers for heads": dict(c=1, n=2, d=1),
    "wide heads": dict(c=3, d=2),
}


def moments(f, g, law, s, d):
    """E f, E g, E[f gᵀ] by quadrature that is exact to degree 10."""
    x, w = nodes(s * d, 10, **law)
    u, v = (h(x.reshape(-1, s, d)).flatten(1) for h in (f, g))
    return w @ u, w @ v, torch.einsum("b,bi,bj->ij", w, u, v)


def spd(n, seed):
    a = rand(n, n, seed=seed)
    return a @ a.T / n + 0.3 * torch.eye(n, dtype=torch.float64)


LAWS = {
    "standard": lambda n: {},
    "any covariance": lambda n: dict(cov=spd(n, 3)),
    "mean and covariance": lambda n: dict(mean=rand(n, seed=4), cov=spd(n, 3)),
    "mean": lambda n: dict(mean=rand(n, seed=4)),
    "independent positions": lambda n: dict(
        mean=rand(n, seed=4), cov=torch.block_diag(*(spd(n // 2, k) for k in (3, 6)))
    ),
    "diagonal": lambda n: dict(cov=torch.linspace(0.2, 1.5, n, dtype=torch.float64)),
}


def ratio(actual, expected):
    return ((actual - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", KINDS)
def test_moments_of_one_layer_equal_quadrature(kind, law):
    a, b = Attention(**KINDS[kind]), Attention(**KINDS[kind])
    n = a.s * a.d
    args = LAWS[law](n)
    mean_a, mean_b, second = moments(a, b, args, a.s, a.d)
    f, g = a.poly(), b.poly()
    x = Gaussian(**args).bound(f.domain, f.like)
    got = expect((f, g), x).reshape(second.shape)
    assert ratio(got, second) < 1e-9
    covariance = second - torch.outer(mean_a, mean_b)
    got = expect((f, g), x, connected=True).reshape(second.shape)
    assert (got - covariance).abs().max() < 1e-9 * second.abs().max()
    assert (expect((f,), x, sides=(0,)).flatten() - mean_a).abs().max() < 1e-9 * (1 + mean_a.abs().max())


def test_chains_and_loops_are_the_sum_over_single_pairings():
    f = Attention(n=2, c=3).poly()
    g = poly("W[out@p,in0@p] P[p]", W=rand(2, 2), P=rand(2))
    for args in ({}, dict(mean=rand(4), cov=spd(4, 5))):
        law = Gaussian(**args).bound(f.domain, f.like)
        one_by_one = sum(c.value() for c in plan((f, g), law))
        assert ratio(expect((f, g), law), one_by_one) < 1e-12
        crossing = sum(c.value() for c in plan((f, g), law, connected=True))
        assert ratio(expect((f, g), law, connected=True), crossing) < 1e-12


def test_biases_make_one_product_of_affine_forms():
    def sizes_of(f):
        numbers = {}
        sheets = tuple(
            Sheet(
                tuple((x.inds, numbers.setdefault(id(x.data), len(numbers))) for x in t.tensors),
                t.legs,
                t.out,
                1.0,
            )
            for t in f.terms
        )
        return len(families(sheets, tuple(tuple(t.sizes.items()) for t in f.terms)))

    f = Attention(bias=("Q1", "K1", "Q2", "K2"), rotary=True).poly()
    assert (len(f.terms), sizes_of(f)) == (16, 1)
    f = Attention(bias=("Q1", "K1", "Q2", "K2"), tied=True).poly()
    assert sizes_of(f) == 1


def test_output_slices_and_what_is_kept_agree_with_the_full_matrix():
    f, g = (Attention(n=2, residual=0.4, bias=("K1",)).poly() for _ in range(2))
    law = Gaussian(cov=spd(4, 5)).bound(f.domain, f.like)
    full = expect((f, g), law)
    close = dict(rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(expect((f, g), law, "diagonal"), torch.einsum("sdsd->sd", full), **close)
    torch.testing.assert_close(expect((f, g), law, "sum"), torch.einsum("sdsd->", full), **close)
    torch.testing.assert_close(expect((f[1], g[0]), law), full[1, :, 0], **close)
    torch.testing.assert_close(expect((f[..., 1], g), law), full[:, 1], **close)
    own = expect((f, f), law)
    torch.testing.assert_close(expect((f, f), law, "sum", (0, 0)), torch.einsum("sdsd->", own), **close)
    torch.testing.assert_close(expect((f, f), law, "all", (0, 0)), own, **close)


def test_a_model_s_own_covariance_is_symmetric_to_the_last_bit():
    f, g = (Attention(n=2, residual=0.4, bias=("K1", "V")).poly() for _ in range(2))
    law = Gaussian(mean=rand(4), cov=spd(4, 5)).bound(f.domain, f.like).push((f, g))
    own = law.cov_of(0, 0).data.reshape(4, 4)
    assert torch.equal(own, own.T)
    assert torch.linalg.eigvalsh(own).min() > 0
    across = law.push((f, g)).cov_of(0, 1).data  # and two layers deep, from both sides
    turned = JointGaussian(
        law.means[::-1], {(0, 0): law.covs[1, 1], (1, 1): law.covs[0, 0], (0, 1): _turned(law)}
    )
    assert ratio(turned.push((g, f)).cov_of(0, 1).data.permute(2, 3, 0, 1), across) < 1e-12


def _turned(law):
    return Block(law.covs[0, 1].data.permute(2, 3, 0, 1))


def test_stacked_models_give_all_pairs():
    kw = dict(n=2, residual=0.3, bias=("Q1", "K2"))
    nets = [Network((("a", Attention(**kw).poly()), ("b", Attention(**kw).poly()))) for _ in range(3)]
    run = stack(nets)
    law = Gaussian().bound(run.domain, run.polys[0].like).push((run["a"],))
    moments = expect((run["b"],) * 2, law, "sum", (0, 0))
    for i, net in enumerate(nets):
        one = Gaussian().bound(net.domain, net.polys[0].like).push((net["a"],))
        torch.testing.assert_close(
            moments[i], expect((net["b"],) * 2, one, "sum", (0, 0)), rtol=1e-10, atol=1e-10
        )
    gram = tnsim.gram(nets, method="layerwise").similarity()
    for i, a in enumerate(nets):
        for j, b in enumerate(nets):
            pair = tnsim.similarity(a, b, method="layerwise")
            assert gram[i, j].item() == pytest.approx(pair.item(), rel=1e-9)
            assert pair.item() == pytest.approx(tnsim.similarity(b, a, method="layerwise").item(), rel=1e-12)


@pytest.mark.parametrize("gain", [1.0, 3.0, 10.0])
def test_a_gain_in_front_changes_the_balance_with_the_residual_as_it_should(gain):
    """A rescaled padded moment gave −.484 for an exact cosine of +.308."""
    a, b = (Attention(n=2, residual=0.35, rotary=True, bias=("Q1", "K1")) for _ in range(2))
    eye = gain * torch.eye(2, dtype=torch.float64)
    scale = poly("E[out@p,in0@p] P[p]", E=eye, P=torch.ones(2, dtype=torch.float64))
    nets = [Network((("embed", scale), ("attention", x.poly()))) for x in (a, b)]
    *_, ab = moments(a, b, dict(cov=gain**2 * torch.ones(4, dtype=torch.float64)), 2, 2)
    *_, aa = moments(a, a, dict(cov=gain**2 * torch.ones(4, dtype=torch.float64)), 2, 2)
    *_, bb = moments(b, b, dict(cov=gain**2 * torch.ones(4, dtype=torch.float64)), 2, 2)
    cosine = (ab.trace() / aa.trace().sqrt() / bb.trace().sqrt()).item()
    for method in ("exact", "layerwise"):
        assert tnsim.similarity(*nets, method=method).item() == pytest.approx(cosine, rel=1e-9)


def test_numpy_arrays_work_as_torch_tensors_do():
    f, g = (Attention(n=2, residual=0.3, bias=("K1",)).poly() for _ in range(2))
    law = Gaussian(mean=rand(4), cov=spd(4, 5)).bound(f.domain, f.like)
    arrays = {}
    u, v = (h.mapped(lambda x: arrays.setdefault(id(x), x.numpy())) for h in (f, g))
    assert ratio(torch.as_tensor(expect((u, v), law.bound(u.domain, u.like))), expect((f, g), law)) < 1e-12


def test_gradients_reach_the_weights():
    a, b = Attention(n=2, residual=0.3), Attention(n=2, residual=0.3)
    a.w["Q1"].requires_grad_()

    def value():
        return tnsim.inner(a.poly(), b.poly(), method="layerwise")

    value().backward()
    step = torch.zeros_like(a.w["Q1"])
    step[1, 0, 1] = 1e-4
    with torch.no_grad():
        a.w["Q1"] += step
        more = value()
        a.w["Q1"] -= 2 * step
        less = value()
    assert ((more - less) / 2e-4).item() == pytest.approx(a.w["Q1"].grad[1, 0, 1].item(), rel=1e-6)


def test_the_price_is_an_upper_bound_and_known_beforehand():
    f, g = (Attention(d=4, s=3, n=2, c=2).poly() for _ in range(2))
    price = tnsim.cost(f, g, method="layerwise")
    assert 1e4 < price.flops < 1e9
    with pytest.raises(tnsim.CostError, match="flops"):
        tnsim.inner(f, g, method="layerwise", budget=1e3)


def test_a_law_of_one_position_is_one_of_all():
    f, g = (Attention(n=2, residual=0.4).poly() for _ in range(2))
    one, mean, between = spd(2, 8), rand(2, seed=9), spd(2, 10)
    apart = torch.einsum("pq,ij->piqj", torch.eye(2, dtype=torch.float64), one)
    joined = torch.einsum("pq,ij->piqj", between, one)
    same = [
        (Gaussian(mean, one, n_ctx=2), Gaussian(mean.expand(2, 2).flatten(), apart)),
        (Gaussian(cov=one, across=between), Gaussian(cov=joined)),
        (Gaussian(across=between), Gaussian(cov=torch.einsum("pq,ij->piqj", between, torch.eye(2).double()))),
        (
            Gaussian(cov=torch.tensor([0.5, 2.0])),
            Gaussian(cov=torch.tensor([[0.5, 2.0], [0.5, 2.0]]).flatten()),
        ),
    ]
    for short, long in same:
        values = [expect((f, g), law.bound(f.domain, f.like).centred((f, g))[1]) for law in (short, long)]
        torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12)
    with pytest.raises(MeasureError, match="law has 3 positions; the model reads 2"):
        Gaussian(n_ctx=3).bound(f.domain, f.like)
    with pytest.raises(MeasureError, match="across is not symmetric"):
        Gaussian(across=torch.tensor([[1.0, 2.0], [0.0, 1.0]]))


def test_slices_of_positions_and_of_pairs_of_positions():
    """output=, Gram slices and moments of a sequence model, against quadrature."""
    layers = [Attention(n=2, residual=0.5, o=2) for _ in range(2)]
    a, b = (Network((("attn", f.poly()),)) for f in layers)
    x, w = nodes(4, 10)
    u, v = (f(x.reshape(-1, 2, 2)) for f in layers)
    every = torch.einsum("z,zia,zjb->iajb", w, u, v)
    close = dict(rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(tnsim.moments(a, b), every, **close)
    products = tnsim.gram([a, b], progress=False).products.reshape(2, 2, 2, 2)
    torch.testing.assert_close(products[..., 0, 1], torch.einsum("iaia->ia", every), **close)
    for key in (1, (1, 0), (slice(None), 1)):
        expected = w @ (u[:, *key] * v[:, *key] if isinstance(key, tuple) else u[:, key] * v[:, key])
        torch.testing.assert_close(tnsim.inner(a, b, output=key), expected.sum(), **close)
