"""Models and laws of any size: what is asked of them is that of the same models of ordinary size."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

import tnsim
from tnsim.algebra.networks.ranges import in_range
from tnsim.algebra.networks.stacking import stack
from tnsim.analysis.explain.tangent import kernel_alignment
from tnsim.common.scaled import Scaled, ScaleError

TIGHT = dict(rtol=1e-10, atol=1e-12)


def rescaled(net, *powers):
    """Every weight array times a power of two, in turn from those given; of a homogeneous model the same cosines."""
    made = iter(powers * 1000)
    return dataclasses.replace(
        net, layers=tuple((k, f.mapped(lambda x: x * 2.0 ** next(made))) for k, f in net.layers)
    )


def mlp(depth, seed, dtype="float64", bias=False, width=4):
    torch.manual_seed(seed)
    module = tnsim.nn.BilinearMLP(width, width, width, 2, depth, bias=bias, residual=None)
    return tnsim.convert(module.requires_grad_(False)).to(dtype=dtype)


def test_default_weights_eight_layers_deep():
    nets = [mlp(8, seed, width=16) for seed in range(3)]
    want = tnsim.similarity(nets[0], nets[1], method="layerwise")
    gram = tnsim.gram(nets, method="layerwise", progress=False)
    torch.testing.assert_close(gram.similarity()[0, 1], want, **TIGHT)
    near = tnsim.nearest(nets[0], nets[1:], method="layerwise") if _fits(gram) else None
    assert near is None or torch.allclose(near.similarities[0], want)


def _fits(gram):
    try:
        gram.distance()
    except ScaleError:
        return False
    return True


@pytest.mark.parametrize("power", [-996, -17, 100, 996])
@pytest.mark.parametrize("method", ["exact", "layerwise"])
@pytest.mark.parametrize("law", [tnsim.Gaussian(), "mean", "data", "mixture", tnsim.Symmetric()], ids=str)
def test_cosines_of_any_gain(power, method, law):
    if isinstance(law, tnsim.Symmetric) and method == "layerwise":
        return
    mean = torch.ones(4, dtype=torch.float64) / 3
    depth = 1 if law == "mixture" else 2
    law = {
        "mean": tnsim.Gaussian(mean, mean),
        "data": tnsim.Empirical(torch.randn(9, 4, dtype=torch.float64)),
        "mixture": tnsim.Mixture([tnsim.Gaussian(mean, mean), tnsim.Gaussian(-mean, 2 * mean)]),
    }.get(law, law)
    a, b = mlp(depth, 0), mlp(depth, 1)
    want = tnsim.similarity(a, b, under=law, method=method)
    c, d = rescaled(a, power), rescaled(b, power, -power, power // 2)
    torch.testing.assert_close(tnsim.similarity(c, d, under=law, method=method), want, **TIGHT)
    torch.testing.assert_close(tnsim.similarity(a, c, under=law, method=method).item(), 1.0, **TIGHT)
    gram = tnsim.gram([c, d, a], under=law, method=method, progress=False)
    torch.testing.assert_close(gram.similarity()[0, 1], want, **TIGHT)
    torch.testing.assert_close(gram.similarity()[0, 2].item(), 1.0, **TIGHT)
    runs = tnsim.similarity(stack([c, d]), stack([a, b]), under=law, method=method)
    torch.testing.assert_close(runs[0, 1], want, **TIGHT)


@pytest.mark.parametrize("power", [-99, 99])
@pytest.mark.parametrize("method", ["exact", "layerwise"])
def test_cosines_in_single_precision(power, method):
    a, b = mlp(2, 0, "float32"), mlp(2, 1, "float32")
    want = tnsim.similarity(a, b, method=method)
    c, d = rescaled(a, power), rescaled(b, power)
    assert tnsim.similarity(c, d, method=method).item() == pytest.approx(want.item(), rel=1e-4)
    assert tnsim.gram([c, d], method=method, progress=False).similarity()[0, 1].item() == pytest.approx(
        want.item(), rel=1e-4
    )


def test_a_residual_keeps_its_share_whatever_the_gain():
    """x + s f(x): with s = 2ᵏ tiny the residual is all there is, with s huge f is; in between it is as it was."""
    f, g = (mlp(1, seed).collapse() for seed in (0, 1))
    line = tnsim.poly("W[out,in0]", W=torch.eye(4, dtype=torch.float64)[:2])

    def net(s, h):
        return tnsim.Network((("f", line + h * 2.0**s),))

    assert tnsim.similarity(net(-400, f), net(-400, g)).item() == pytest.approx(1.0)
    want = tnsim.similarity(*(tnsim.Network((("f", h),)) for h in (f, g)))
    assert tnsim.similarity(net(400, f), net(400, g)).item() == pytest.approx(want.item())


@pytest.mark.parametrize("size", [1e-200, 1e-30, 1e30, 1e200])
def test_laws_of_any_size(size):
    """A homogeneous model under a law of another size: the same cosines."""
    a, b = mlp(2, 0), mlp(2, 1)
    cov = torch.tensor([1.0, 2, 3, 0.5], dtype=torch.float64)
    x = torch.randn(7, 4, dtype=torch.float64)
    pairs = [
        (tnsim.Gaussian(cov=cov), tnsim.Gaussian(cov=cov * size)),
        (tnsim.Empirical(x), tnsim.Empirical(x * size)),
        (tnsim.Gaussian(cov / 2, cov), tnsim.Gaussian(cov / 2 * math.sqrt(size), cov * size)),
    ]
    for law, other in pairs:
        want = tnsim.similarity(a, b, under=law)
        torch.testing.assert_close(tnsim.similarity(a, b, under=other), want, **TIGHT)


def test_values_are_put_back_or_refused_by_name():
    a = tnsim.poly("W[out,in0]", W=torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    for power in (-400, 0, 400):
        big = a * 2.0**power
        assert Fraction(tnsim.inner(big).item()) == 25 * Fraction(2) ** (2 * power)
        assert tnsim.moments(big).item() == tnsim.inner(big).item()
        distance = tnsim.gram([big, a * 0.0], progress=False).distance()
        assert Fraction(distance[0, 1].item()) == 5 * Fraction(2) ** power
    for power, word in ((-600, "underflows"), (600, "overflows")):
        big = a * 2.0**power
        run = tnsim.gram([big, a * 2.0 ** (power + 1)], progress=False)
        for ask in (
            lambda big=big: tnsim.inner(big),
            lambda big=big: tnsim.moments(big),
            lambda run=run: run.matrix,
            lambda run=run: run.products,
            lambda big=big: tnsim.attribute(big, big * 2.0, to="outputs"),
            lambda big=big: tnsim.attribute(big, big * 2.0, to="inputs"),
            lambda big=big: tnsim.orders(big),
        ):
            with pytest.raises(ScaleError, match=word):
                ask()
        path = tnsim.trajectory(run)
        assert Fraction(path.steps[0].item()) == 5 * Fraction(2) ** power
        near = tnsim.nearest(big, [a * 2.0 ** (power + 1), big])
        assert near.index == 1 and Fraction(near.distances[0].item()) == 5 * Fraction(2) ** power
        assert near.similarities.tolist() == pytest.approx([1.0, 1.0])


def test_eigenvalues_and_singular_values_of_any_gain():
    net = mlp(2, 0)
    want = tnsim.unfold(net, 0).values
    for power in (-60, 60):
        got = tnsim.unfold(rescaled(net, power), 0).values
        shift = math.log2(got[0].item() / want[0].item())
        torch.testing.assert_close(got * 2.0**-shift, want, rtol=1e-8, atol=1e-10)
        assert shift == pytest.approx(power * sum(1 for _ in _uses(net)), abs=1e-9)


def _uses(net):
    """How often every array is multiplied into the output."""
    times = 1
    for f in reversed(net.polys):
        (t,) = f.terms
        yield from range(times * len(t.tensors))
        times *= t.degree


def test_zero_and_out_of_range_are_told_apart():
    zero = rescaled(mlp(2, 0), 0)
    zero = dataclasses.replace(zero, layers=tuple((k, f.mapped(lambda x: x * 0)) for k, f in zero.layers))
    other = mlp(2, 1)
    for ask in (lambda: tnsim.similarity(zero, other), lambda: tnsim.unfold(zero, "out")):
        with pytest.raises(ValueError, match="zero function"):
            ask()
    bad = dataclasses.replace(
        other, layers=tuple((k, f.mapped(lambda x: x * math.inf)) for k, f in other.layers)
    )
    with pytest.raises(ScaleError, match="overflows"):
        tnsim.similarity(bad, other)
    with pytest.raises(ScaleError, match="overflows"):
        tnsim.gram([bad, other], progress=False)
    wide = tnsim.poly("W[out,in0]", W=torch.tensor([[1.0, 1e-200]], dtype=torch.float64))
    law = tnsim.Gaussian(cov=torch.tensor([0.0, 1.0], dtype=torch.float64))
    with pytest.raises(ScaleError, match="underflow"):
        tnsim.similarity(wide, wide, under=law)


def test_baselines_of_any_gain():
    a, b = tnsim.nn.BilinearLayer(4, 5, 3).double(), tnsim.nn.BilinearLayer(4, 5, 3).double()
    na, nb = tnsim.convert(a), tnsim.convert(b)
    for power in (-900, 900):
        ca, cb = rescaled(na, power), rescaled(nb, power)
        torch.testing.assert_close(tnsim.weight_cosine(ca, cb), tnsim.weight_cosine(na, nb), **TIGHT)
        torch.testing.assert_close(
            tnsim.aligned_weight_cosine(ca, cb), tnsim.aligned_weight_cosine(na, nb), **TIGHT
        )
        f, g = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
        for index in (tnsim.output_cosine, tnsim.linear_cka):
            torch.testing.assert_close(index(f * 2.0**power, g), index(f, g), **TIGHT)
    zero = rescaled(na, 0)
    zero = dataclasses.replace(zero, layers=tuple((k, f.mapped(lambda x: x * 0)) for k, f in zero.layers))
    for index in (tnsim.weight_cosine, tnsim.aligned_weight_cosine, kernel_alignment):
        with pytest.raises(ValueError, match="zero"):
            index(zero, nb)
    for index, word in ((tnsim.output_cosine, "zero"), (tnsim.linear_cka, "same for all")):
        with pytest.raises(ValueError, match=word):
            index(f * 0, g)


def test_tangent_kernels_of_another_gain():
    a, b = (tnsim.convert(tnsim.nn.BilinearLayer(3, 2, 2).double()) for _ in range(2))
    want = kernel_alignment(a, b)
    torch.testing.assert_close(kernel_alignment(rescaled(a, 200), rescaled(b, -200)), want, **TIGHT)


def test_gradients_of_distances_are_finite():
    a, b = tnsim.nn.BilinearLayer(5, 4, 3).double(), tnsim.nn.BilinearLayer(5, 4, 3).double()
    tnsim.gram([a, b], progress=False).distance().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for m in (a, b) for p in m.parameters())
    weight = next(a.parameters())
    value = tnsim.gram([a, b], progress=False).distance()[0, 1]
    (slope,) = torch.autograd.grad(value, [weight])
    step = 1e-6 * torch.randn_like(weight)
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * step
            ends.append(tnsim.gram([a, b], progress=False).distance()[0, 1])
            weight -= sign * step
    assert (slope * step).sum().item() == pytest.approx((ends[0] - ends[1]).item() / 2, rel=1e-6)


def test_the_square_of_a_difference_is_not_negative():
    for seed in range(20):
        torch.manual_seed(seed)
        a = tnsim.convert(tnsim.nn.BilinearMLP(4, 3, 5, 2, n_layer=2).double())
        d = tnsim.difference(a, rescaled(a, 0))
        assert tnsim.inner(d).item() >= 0 and tnsim.inner(d, d).item() >= 0
        assert bool((tnsim.attribute(a, rescaled(a, 0)) >= 0).all())
        assert tnsim.inner(d).item() <= 1e-14 * tnsim.inner(a).item()


def attention(seed, bias):
    torch.manual_seed(seed)
    m = tnsim.nn.Transformer(5, 4, 2, 3, ("attn",)).double().eval().requires_grad_(False)
    return tnsim.convert(m, torch.zeros(1, 3, dtype=torch.long))


@pytest.mark.parametrize("law", [tnsim.Gaussian(), "tokens"], ids=str)
def test_attention_with_embeddings_of_any_gain(law):
    """An embedding times s and an unembedding times t: with everything in between divided, the same function."""
    law = tnsim.Tokens(torch.ones(5, dtype=torch.float64) / 5) if law == "tokens" else law
    a, b = attention(0, False), attention(1, False)
    want = tnsim.similarity(a, b, under=law)
    last = len(a) - 1
    for power in (-500, 500):
        c = dataclasses.replace(
            a,
            layers=tuple((k, f * 2.0**power if n == last else f) for n, (k, f) in enumerate(a.layers)),
        )
        torch.testing.assert_close(tnsim.similarity(c, b, under=law), want, **TIGHT)
        gram = tnsim.gram([c, b], under=law, progress=False)
        torch.testing.assert_close(gram.similarity()[0, 1], want, **TIGHT)


@pytest.mark.parametrize("bias", [False, True])
def test_ranges_change_no_value(bias):
    """g is f to the last bit, times a power of two."""
    x = torch.randn(4, 4, dtype=torch.float64)
    net = mlp(3, 0, bias=bias)
    g, e = in_range(net)
    assert torch.equal(g(x) * 2.0**e, net(x))
    net, ids = attention(0, bias), torch.tensor([[0, 3, 1]])
    g, e = in_range(net)
    torch.testing.assert_close(g(ids) * 2.0**e, net(ids), rtol=1e-14, atol=0)


def test_scaled_numbers():
    big, small = Scaled(np.array([0.5]), np.array(2000.0)), Scaled(np.array([0.75]), np.array(1999.0))
    total = Scaled.total([(1.0, big), (-1.0, small)])
    assert total.mantissa.tolist() == [0.125] and total.exponent == 2000
    assert Scaled(total.root().mantissa ** 2, 2 * total.root().exponent).at(2000).tolist() == pytest.approx(
        [0.125]
    )
    with pytest.raises(ScaleError, match="x overflows float64"):
        big.value("x")
    assert Scaled(np.array([0.5, 0.0]), np.array(-1000.0)).value("x").tolist() == [2.0**-1001, 0.0]
