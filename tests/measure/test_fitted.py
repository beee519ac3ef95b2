"""Laws made of data: their moments are those of the data, few samples are shrunk towards the truth, ids are counted."""

import collections
import itertools

import numpy as np
import pytest
import torch

import tnsim
from tnsim import Empirical, Gaussian, MarkovChain, MeasureError, Tokens


def sampled(n, d, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d)) / d**0.5 * np.linspace(0.1, 3, d)
    return rng.normal(size=(n, d)) @ root.T + 1.0, root @ root.T


def test_linear_models_cannot_tell_it_from_the_samples():
    x, _ = sampled(200, 5)
    rng = np.random.default_rng(1)
    a, b = (tnsim.poly("W[out,in0]", W=rng.normal(size=(3, 5))) + rng.normal(size=3) for _ in range(2))
    law = Gaussian.of(x)
    assert repr(law) == "Gaussian(mean=(5,), cov=(5, 5), of 200 samples)"
    np.testing.assert_allclose(
        tnsim.inner(a, b, under=law), tnsim.inner(a, b, under=Empirical(x)), rtol=1e-12
    )


def test_few_samples_are_shrunk_towards_the_truth():
    d, n = 20, 30
    gained = []
    for seed in range(10):
        x, cov = sampled(n, d, seed)
        law, plain = Gaussian.of(x), Gaussian.of(x, shrink=False)
        np.testing.assert_allclose(law.cov.diagonal(), plain.cov.diagonal())
        np.testing.assert_allclose(plain.cov, np.cov(x.T, bias=True))
        assert np.linalg.eigvalsh(law.cov)[0] >= -1e-12
        gained.append(np.linalg.norm(law.cov - cov) / np.linalg.norm(plain.cov - cov))
    assert "of 30 samples, covariance shrunk by" in repr(law) and np.mean(gained) < 1


def test_the_amount_is_the_best_on_average():
    """The λ that minimises E‖(1 − λ) S + λ diag S − Σ‖², for the unbiased S, by brute force over many draws."""
    d, n = 3, 25
    cov = 0.1 * np.eye(d) + 0.9
    rng = np.random.default_rng(0)
    draws = [rng.multivariate_normal(np.zeros(d), cov, n) for _ in range(2000)]
    off = ~np.eye(d, dtype=bool)
    S = np.array([np.cov(x.T)[off] for x in draws])
    best = ((S - cov[off]) * S).sum() / (S**2).sum()
    found = np.mean([1 - Gaussian.of(x, shrink=True).cov[0, 1] / np.cov(x.T, bias=True)[0, 1] for x in draws])
    assert found == pytest.approx(best, rel=0.25), (found, best)


@pytest.mark.parametrize("kind", ["images", "sequences", "torch", "float32"])
def test_shapes(kind):
    x, _ = sampled(500, 6)
    given = x.reshape(-1, 3, 2)
    given = (
        torch.from_numpy(given)
        if kind == "torch"
        else given.astype("float32")
        if kind == "float32"
        else given
    )
    law = Gaussian.of(given)
    assert law.cov.shape == (3, 2, 3, 2)
    f = tnsim.poly("W[out,in0] V[out,in1]", W=np.ones((2, 6)), V=np.eye(6)[:2])
    wanted = tnsim.inner(f, under=Gaussian.of(x))
    np.testing.assert_allclose(tnsim.inner(f, under=law), wanted, rtol=1e-5 if kind == "float32" else 1e-12)


def test_sequences_keep_what_positions_have_in_common():
    model = tnsim.nn.Transformer(5, 4, 1, 3, ("attn",)).double()
    ids = torch.randint(5, (400, 3), generator=torch.Generator().manual_seed(0))
    net = tnsim.convert(model, ids[:2])
    x = torch.nn.functional.one_hot(ids, 5).double()
    tnsim.inner(net[:1], under=Gaussian.of(x))
    torch.testing.assert_close(
        tnsim.inner(net[:1], under=Gaussian.of(x)),
        tnsim.inner(net[:1], under=Empirical(x)),
        rtol=1e-10,
        atol=1e-10,
    )


def test_tokens_are_counted():
    ids = torch.randint(6, (50, 7), generator=torch.Generator().manual_seed(0))
    count = collections.Counter(ids.flatten().tolist())
    np.testing.assert_allclose(Tokens.of(ids).p, [count[k] / 350 for k in range(6)])
    np.testing.assert_allclose(Tokens.of(ids, 8, smoothing=1).p[6:], 1 / 358)
    law = MarkovChain.of(ids)
    pairs = collections.Counter(
        itertools.chain.from_iterable(itertools.pairwise(row) for row in ids.tolist())
    )
    for a, b in itertools.product(range(6), repeat=2):
        assert law.P[a, b] == pytest.approx(pairs[a, b] / sum(pairs[a, c] for c in range(6)))
    first = collections.Counter(ids[:, 0].tolist())
    np.testing.assert_allclose(law.p0, [first[k] / 50 for k in range(6)])


def test_a_text_and_a_token_that_nothing_follows():
    law = MarkovChain.of([0, 1, 0, 2], n_vocab=4)
    np.testing.assert_allclose(law.p0, [0.5, 0.25, 0.25, 0])
    np.testing.assert_allclose(
        law.P, [[0, 0.5, 0.5, 0], [1, 0, 0, 0], [0.5, 0.25, 0.25, 0], [0.5, 0.25, 0.25, 0]]
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Gaussian.of([[1.0, 2.0]]), "at least two samples"),
        (lambda: Gaussian.of([[1.0], [np.nan]]), "not finite"),
        (lambda: Tokens.of([0.5, 1.0]), "token ids are whole numbers; got float64"),
        (lambda: Tokens.of([0, 5], 5), "between 0 and n_vocab − 1 = 4; got 0 to 5"),
        (lambda: MarkovChain.of([[-1, 0]]), "got -1 to 0"),
        (lambda: MarkovChain.of([[0, 1]], smoothing=-1), "smoothing is -1"),
    ],
)
def test_what_is_no_data(make, says):
    with pytest.raises(MeasureError, match=says):
        make()
