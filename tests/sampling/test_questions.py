"""Questions with ``error=``: from draws, they are what they are exactly, within their errors."""

from importlib import import_module

import pytest
import torch
from zoo import network, rand

import tnsim
from tnsim.analysis.asking import sampled
from tnsim.measure import Empirical, Gaussian
from tnsim.sampling.forward import Forward

F64 = torch.float64
FILES = [
    f"tnsim.analysis.{name}"
    for name in (
        "grams.grams",
        "change.changes",
        "change.localisation",
        "explain.spectra",
        "change.trajectories",
    )
]


@pytest.fixture
def never_exact(monkeypatch):
    """Everything is too dear."""
    for module in (sampled, *map(import_module, FILES)):
        monkeypatch.setattr(module, "exactly", lambda question, under: None)


def models(n=2, **options):
    torch.manual_seed(11)
    base = network(2, residual=0.5, bias=True)
    nets = []
    for _ in range(n):
        other = network(2, residual=0.5, bias=True)
        nets.append(tnsim.Network(tuple((k, f + 0.5 * other[k]) for k, f in base.layers)))
    return nets


def within(found, exact, times=4.5):
    assert found.method == "sampled" and found.value.shape == exact.shape
    assert ((found.value - exact).abs() <= times * found.error + 1e-12).all(), (
        found.value - exact
    ) / found.error


PAIRS = {
    "inner": tnsim.inner,
    "moments": tnsim.moments,
    "cka": tnsim.cka,
    "cka, not centred": lambda a, b, **o: tnsim.cka(a, b, centred=False, **o),
    "procrustes": tnsim.procrustes,
    "one output": lambda a, b, **o: tnsim.similarity(a, b, output=1, **o),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name, never_exact):
    a, b = models()
    for under in (None, Gaussian(rand(3, seed=2), cov=1e-6 * torch.ones(3, dtype=F64))):
        exact = PAIRS[name](a, b, under=under)
        within(PAIRS[name](a, b, under=under, error=0.02), exact)


def test_a_gram_matrix_has_errors_of_every_entry(never_exact, tmp_path):
    nets = models(4)
    exact = tnsim.gram(nets, progress=False)
    for slices in (True, False):
        found = tnsim.gram(nets, slices=slices, error=0.02, progress=False)
        within(found.estimate(), exact.similarity())
        assert found.estimate().error.max() <= 0.02 and found.method == "sampled"
        assert found.estimate().error.diagonal().max() == 0.0
        torch.testing.assert_close(found.estimate().value, found.similarity())
        torch.testing.assert_close(found.matrix, exact.matrix, rtol=0.1, atol=0)
    found = tnsim.gram(nets, error=0.02, progress=False)
    for k in range(2):
        within(found.estimate(k), exact.similarity(k))
    assert tnsim.gram(nets, method="layerwise", progress=False).method == "layerwise"


def test_rounds_of_a_gram_matrix_are_kept(never_exact, tmp_path, monkeypatch):
    nets, path = models(3), tmp_path / "gram"
    first = tnsim.gram(nets, error=0.02, checkpoint=path, progress=False)
    calls = []
    forward = sampled.Forward.__call__
    monkeypatch.setattr(sampled.Forward, "__call__", lambda self, x: calls.append(len(x)) or forward(self, x))
    again = tnsim.gram(nets, error=0.02, checkpoint=path, progress=False)
    assert torch.equal(first.mantissas, again.mantissas) and torch.equal(
        first.estimate().error, again.estimate().error
    )
    fit = sum(calls)
    finer = tnsim.gram(nets, error=first.estimate().error.max().item() * 0.6, checkpoint=path, progress=False)
    assert sum(calls) - fit < fit + finer.drawn.seen.count  # first rounds are not drawn again
    with pytest.raises(ValueError, match=r"other models|another"):
        tnsim.gram(nets[:2], error=0.02, checkpoint=path, progress=False)


def test_a_gram_matrix_from_draws_that_are_there(never_exact):
    nets = models(3)
    law = tnsim.draws(None, nets, n=2**14, progress=False)
    found = tnsim.gram(nets, under=law, error=0.1, progress=False)
    torch.testing.assert_close(found.similarity(), tnsim.gram(nets, under=law, progress=False).similarity())
    assert 0 < found.estimate().error.max() < 0.1


def test_exact_matrices_have_no_error():
    nets = models(2)
    found = tnsim.gram(nets, error=0.01, progress=False)
    assert found.method == "exact" and found.estimate().error.max() == 0
    with pytest.raises(ValueError, match="not known"):
        tnsim.gram(nets, method="layerwise", progress=False).estimate()


def test_a_vocabulary_is_contracted_away(never_exact):
    """100 outputs over 2 positions, of models that are 4 wide."""
    torch.manual_seed(0)
    ids = torch.zeros(1, 2, dtype=torch.long)
    nets = [
        tnsim.convert(tnsim.nn.Transformer(100, 4, 2, 2, ("attn", "mlp")).double(), ids) for _ in range(2)
    ]
    law = tnsim.Tokens(torch.full((100,), 0.01, dtype=F64))
    models = sampled.Models(nets, law, narrow=True)
    drawn = torch.randint(100, (50, 2))
    small, whole = models.forward(drawn), [net(drawn) for net in nets]
    assert small[0].shape[-1] <= 10
    for i in range(2):
        for j in range(2):
            torch.testing.assert_close((small[i] * small[j]).sum((1, 2)), (whole[i] * whole[j]).sum((1, 2)))
    found = tnsim.similarity(*nets, under=law, error=0.01)
    x = torch.randint(100, (20000, 2))
    assert abs(found - tnsim.similarity(*nets, under=Empirical(x))) < 0.02


def test_zero_models_are_refused(never_exact):
    a, _ = models()
    zero = tnsim.Network(tuple((k, f * 0.0 if k == "head" else f) for k, f in a.layers))
    with pytest.raises(ValueError, match="zero"):
        tnsim.similarity(a, zero, error=0.01)


@pytest.mark.parametrize(
    "to, options",
    [("outputs", {}), ("inputs", {"output": 1}), ("hidden", {"layer": "blocks.1"}), ("layers", {})],
)
def test_splits_have_errors(to, options, never_exact):
    a, b = pairs_of_modules()
    law = Gaussian(rand(3, seed=5) / 2)
    exact = tnsim.attribute(a, b, to=to, under=law, **options)
    found = tnsim.attribute(a, b, to=to, under=law, error=0.05, **options)
    within(found, exact)
    total = tnsim.inner(tnsim.difference(a, b), under=law, output=options.get("output"))
    assert found.error.max() < 0.06 * total and found.error.min() > 0


def pairs_of_modules():
    nets = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        nets.append(tnsim.convert(tnsim.nn.BilinearMLP(3, 3, 4, 2, 2, residual="add").double()))
    return nets


def test_a_spectrum_has_errors(never_exact):
    a, _ = pairs_of_modules()
    for under in (None, Gaussian(rand(3, seed=5) / 2, torch.tensor([0.5, 1.0, 2.0], dtype=F64))):
        exact = tnsim.spectrum(a, under=under)
        found = tnsim.spectrum(a, under=under, error=0.02)
        within(found.estimate, exact.values)
        assert (found.patterns[0] @ exact.readers[0]).abs() > 0.98


@pytest.mark.slow
def test_localise_has_errors(never_exact):
    torch.manual_seed(0)
    nets = [network(2, d=5, width=4, hidden=6, out=5) for _ in range(3)]
    small = tnsim.Network(tuple((k, f + 0.1 * nets[1][k]) for k, f in nets[0].layers))
    for history in ((), (nets[2],)):
        exact = tnsim.localise(nets[0], small, history=history)
        found = tnsim.localise(nets[0], small, history=history, error=0.05)
        assert found.output == exact.output
        for k, value in enumerate((exact.prominence, exact.concentration)):
            assert abs(found.estimate[k] - value) < 4.5 * found.estimate.error[k] < 0.3 * value


def test_nearest_has_errors(never_exact):
    nets = models(4)
    exact = tnsim.nearest(nets[0], nets[1:])
    found = tnsim.nearest(nets[0], nets[1:], error=0.01)
    within(found.similarities, exact.similarities)
    within(found.distances, exact.distances)
    assert "Nearest(checkpoint" in repr(found) and found.index in (0, 1, 2)


def test_a_trajectory_has_errors(never_exact):
    nets = models(4)
    exact = tnsim.trajectory(tnsim.gram(nets, progress=False))
    found = tnsim.trajectory(nets, error=0.01)
    within(found.estimate[0], exact.from_start)
    torch.testing.assert_close(found.estimate.value.diagonal(1), found.steps)
    with pytest.raises(ValueError, match="error= is for models"):
        tnsim.trajectory(tnsim.gram(nets, progress=False), error=0.01)


def test_a_single_output_is_sampled_like_several():
    """A model that puts out one number has an output without axes."""
    torch.manual_seed(0)
    a, b = (tnsim.convert(tnsim.nn.BilinearLayer(4, 5, 3)) for _ in range(2))
    exact = tnsim.attribute(a, b, to="inputs", output=2)
    found = tnsim.attribute(a, b, to="inputs", output=2, error=0.01, budget=100)
    assert found.method == "sampled"
    assert ((found.value - exact).abs() <= 5 * found.error + 1e-12).all()
    like = tnsim.similarity(a, b, output=2, error=0.005, budget=100)
    assert like.method == "sampled" and abs(float(like - tnsim.similarity(a, b, output=2))) <= 5 * like.error


def test_models_whose_units_are_bounded_far_too_high_are_brought_to_size(never_exact):
    """In single precision squares of outputs would underflow; of 16 positions 10⁻¹⁷ and less is left of the bound."""
    torch.manual_seed(0)
    modules = [tnsim.nn.Transformer(20, 16, 2, 16, ("attn", "attn", "attn")).eval() for _ in range(2)]
    law, ids = tnsim.Tokens(torch.full((20,), 1 / 20, dtype=F64)), torch.zeros(1, 16, dtype=torch.long)
    single, double = (
        tnsim.similarity(
            *(tnsim.convert(m.requires_grad_(False), ids, dtype=dtype) for m in modules),
            under=law,
            error=0.05,
            progress=False,
        )
        for dtype in (torch.float32, F64)
    )
    assert single.method == "sampled" and single.samples == double.samples
    assert abs(float(single) - float(double)) < 1e-4


@pytest.mark.parametrize("size", [1e-30, 1e-9, 1e9, 1e30])
def test_laws_of_any_size(size, never_exact):
    """A homogeneous model under a law of another size is the same one, times a power of it."""
    nets = [network(2), network(2)]
    plain, far = (Gaussian(cov=torch.eye(nets[0].in_shape[0], dtype=F64) * s**2) for s in (1.0, size))
    within(tnsim.similarity(*nets, under=far, error=0.05), tnsim.similarity(*nets, under=plain))
    x = tnsim.draws(far, nets, n=2048, progress=False)
    weights = x.weights / x.weights.sum()
    assert ((weights[:, None] * (x.x / size) ** 2).sum(0) - 1).abs().max() < 0.2
    within(tnsim.similarity(*nets, under=x, error=0.3), tnsim.similarity(*nets, under=plain))


@pytest.mark.parametrize("size", [1e-60, 1.0, 1e60])
def test_a_sampled_spectrum_of_any_size(size, never_exact):
    """Its values are measured in units; what is beyond the dtype is named."""
    torch.manual_seed(0)
    D, L, R = rand(2, 4), rand(4, 3), rand(4, 3)

    def of_size(factor):
        return tnsim.poly("D[out,h] L[h,in0] R[h,in1]", D=factor * D, L=factor * L, R=R)

    f = of_size(1.0)
    exact = tnsim.spectrum(f, of="gradient").values
    found = tnsim.spectrum(size * f, error=0.02)
    within(found.estimate, size * exact)
    torch.testing.assert_close(found.values, found.estimate.value)
    for beyond, said in ((1e-200, "underflows"), (1e200, "overflows")):
        with pytest.raises(tnsim.ScaleError, match=said):
            tnsim.spectrum(of_size(beyond), error=0.1)


def test_the_price_of_a_draw_is_the_formula_of_the_page():
    """Attention 2n(6d² + 3nd), an MLP 6ndh, heads of two models 8nd², where a vocabulary is contracted away."""
    n, d, hidden, vocabulary = 32, 64, 128, 1000
    modules = [tnsim.nn.Transformer(vocabulary, d, 4, n, ("attn", "mlp"), d_hidden=hidden) for _ in range(2)]
    ids = torch.zeros(1, n, dtype=torch.long)
    nets = [tnsim.convert(m.eval().requires_grad_(False), ids, dtype=torch.float32) for m in modules]
    flops, _ = Forward(tuple(nets), True).price(ids)
    said = 2 * (2 * n * (6 * d**2 + 3 * n * d) + 6 * n * d * hidden) + 8 * n * d**2
    assert 0.7 < flops / said < 1.4
