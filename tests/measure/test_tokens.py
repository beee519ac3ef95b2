"""Laws of tokens against all sequences, one by one; mixtures and samples of sequences."""

from itertools import product

import pytest
import torch
from attention import Attention
from zoo import rand

import tnsim
from tnsim.algebra import Network, identity, poly
from tnsim.common.wires import SIDES
from tnsim.measure import Empirical, Gaussian, MarkovChain, MeasureError, Mixture, Tokens
from tnsim.measure.attention.links.onehot import front_of, read_behind
from tnsim.measure.pairings.expectation import expect, placed

V, S = 3, 3


def frequencies(*shape):
    p = rand(*shape, seed=7).abs() + 0.1
    return p / p.sum(-1, keepdim=True)


def network(seed, blocks=1, **kw):
    torch.manual_seed(seed)
    f = poly("E[out@k,in0@k] P[k]", E=rand(2, V), P=torch.ones(S).double())
    kw = dict(s=S, d=2, residual=0.6) | kw
    layers = [("embed", f)] + [(f"attention {k}", Attention(**kw).poly()) for k in range(blocks)]
    return Network(tuple(layers))


SEQUENCES = torch.tensor(list(product(range(V), repeat=S)))
ONE_HOT = torch.nn.functional.one_hot(SEQUENCES, V).double()
P, P0, STEP = frequencies(V), frequencies(V), frequencies(V, V)
PLACES = frequencies(S, V)
LAWS = {
    "tokens": (Tokens(P), P[SEQUENCES].prod(1)),
    "tokens by position": (Tokens(PLACES), PLACES[torch.arange(S), SEQUENCES].prod(1)),
    "chain": (MarkovChain(P0, STEP), P0[SEQUENCES[:, 0]] * STEP[SEQUENCES[:, :-1], SEQUENCES[:, 1:]].prod(1)),
}


@pytest.mark.parametrize("method", ["exact", "layerwise"])
@pytest.mark.parametrize("law", LAWS)
def test_one_layer_equals_all_sequences_one_by_one(law, method):
    law, weights = LAWS[law]
    a, b = network(1), network(2, rotary=True, n=2)
    u, v = (net(ONE_HOT).reshape(len(SEQUENCES), -1) for net in (a, b))
    expected = torch.einsum("z,zi,zj->ij", weights, u, v)
    got = tnsim.moments(a, b, under=law, method=method).reshape(expected.shape)
    assert (got - expected).abs().max() < 1e-10 * expected.abs().max()


@pytest.mark.parametrize("law", LAWS)
def test_behind_the_first_layer_mean_and_covariance_are_those_of_all_sequences(law):
    law, weights = LAWS[law]
    a, b = network(1), network(2)
    x = law.bound(a.domain, a.polys[0].like).push((a[0], b[0])).push((a[1], b[1]))
    hidden = [net(ONE_HOT).reshape(len(SEQUENCES), -1) for net in (a, b)]
    for side, h in enumerate(hidden):
        torch.testing.assert_close(x.mean_of(side).data.flatten(), weights @ h, rtol=1e-9, atol=1e-10)
    for i, j in ((0, 0), (0, 1), (1, 1)):
        u, v = (h - weights @ h for h in (hidden[i], hidden[j]))
        expected = torch.einsum("z,zi,zj->ij", weights, u, v)
        torch.testing.assert_close(
            x.cov_of(i, j).data.reshape(expected.shape), expected, rtol=1e-9, atol=1e-10
        )
    own = x.cov_of(0, 0).data.reshape(2 * S, 2 * S)
    assert torch.equal(own, own.T)


QK = ("Q1", "K1", "Q2", "K2")
BIASED = {
    "queries and keys": dict(bias=QK),
    "everything": dict(bias=(*QK, "V", "O"), rotary=True, n=2),
    "some": dict(bias=("K1", "V"), n=2, residual=None),
    "tied": dict(bias=("Q1", "K1"), tied=True, rotary=True),
}
ONE = torch.ones(S).double()


def embedding(kind):
    if kind == "residual":  # of the one-hot vectors themselves
        f = poly("E[out@k,in0@k] P[k]", E=rand(V, V), P=ONE)
        return f + identity(f.domain, f.like)
    f = poly("E[out@k,in0@k] P[k]", E=rand(2, V), P=ONE)
    if kind == "bias":
        return f + torch.ones(S, 1).double() * rand(2)
    if kind == "positions":
        return f + rand(S, 2)
    return f


def tokens_alone(kw):
    """Attention that reads one-hot vectors as they are."""
    return Network((("attention", Attention(s=S, d=V, o=V, residual=0.6, **kw).poly()),))


@pytest.mark.parametrize(
    "front",
    ["plain", "bias", "positions", *(pytest.param(f, marks=pytest.mark.slow) for f in ("residual", "none"))],
)
@pytest.mark.parametrize("kind", BIASED)
@pytest.mark.parametrize("method", ["exact", "layerwise"])
def test_biases_and_position_embeddings_are_forms_of_the_tokens(kind, front, method):
    law, weights = LAWS["chain"]
    kw = dict(residual=0.6) | BIASED[kind] | (dict(d=V, o=V) if front == "residual" else {})

    def made(kw):
        if front == "none":
            return tokens_alone({k: v for k, v in kw.items() if k != "residual"})
        return Network((("embed", embedding(front)), ("attention", Attention(s=S, **kw).poly())))

    a, b = made(kw), made(kw | dict(mask="none"))
    u, v = (net(ONE_HOT).reshape(len(SEQUENCES), -1) for net in (a, b))
    expected = torch.einsum("z,zi,zj->ij", weights, u, v)
    got = tnsim.moments(a, b, under=law, method=method).reshape(expected.shape)
    assert (got - expected).abs().max() < 1e-10 * expected.abs().max()
    together = tnsim.gram([a, b, a], under=law, method=method, progress=False).matrix
    torch.testing.assert_close(together[0, 1], expected.trace(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("front", ["plain", "positions"])
def test_biases_make_no_more_terms(front):
    for kw in (dict(), dict(bias=QK), dict(bias=(*QK, "V"), rotary=True)):
        net = Network((("embed", embedding(front)), ("attention", Attention(s=S, residual=0.6, **kw).poly())))
        embed, attention = net.polys
        assert [t.degree for t in read_behind(attention, front_of(embed)).terms] == [5, 1]


def test_positions_that_a_mask_excludes_are_not_summed_over():
    def closures(law, mask):
        f = Attention(s=4, d=V, o=V, mask=mask).poly()
        joint = law.bound(f.domain, f.like)
        pair = [placed(t, end, f"{end}/model:m", None) for t, end in zip(f.terms[:1] * 2, SIDES, strict=True)]
        return sum(1 for _ in joint.closures(pair, (0, 1)))

    assert closures(Tokens(P), "none") == 15 and closures(MarkovChain(P0, STEP), "none") == 75
    assert closures(Tokens(P), "diagonal") == 2 and closures(MarkovChain(P0, STEP), "diagonal") == 3
    assert closures(Tokens(P), "causal") < 15 and closures(MarkovChain(P0, STEP), "causal") < 40


def test_the_second_layer_is_that_of_a_gaussian():
    law, _ = LAWS["chain"]
    a, b = network(1, 2), network(2, 2)
    hidden = law.bound(a.domain, a.polys[0].like).push((a[0], b[0])).push((a[1], b[1]))
    expected = expect((a[2], b[2]), hidden, "sum")
    got = tnsim.inner(a, b, under=law, method="layerwise")
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)
    gram = tnsim.gram([a, b], under=Tokens(P), method="layerwise", progress=False)
    pair = tnsim.inner(a, b, under=Tokens(P), method="layerwise")
    torch.testing.assert_close(gram.matrix[0, 1], pair, rtol=1e-9, atol=1e-12)


def test_samples_of_sequences_come_as_vectors_or_ids():
    a, b = network(1), network(2)
    u, v = (net(ONE_HOT).flatten(1) for net in (a, b))
    expected = (u * v).sum() / len(u)
    for x in (SEQUENCES, ONE_HOT):
        torch.testing.assert_close(tnsim.inner(a, b, under=Empirical(x)), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", ["exact", "layerwise"])
def test_a_mixture_is_the_weighted_sum(method):
    a, b = network(1), network(2)
    parts = [Tokens(P), MarkovChain(P0, STEP), Gaussian(mean=rand(S, V))]
    mixture = Mixture(parts, [0.2, 0.3, 0.5])
    each = [tnsim.moments(a, b, under=law, method=method) for law in parts]
    expected = 0.2 * each[0] + 0.3 * each[1] + 0.5 * each[2]
    torch.testing.assert_close(
        tnsim.moments(a, b, under=mixture, method=method), expected, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tokens(torch.tensor([0.5, 0.6])), "add up to 1"),
        (lambda: Tokens(torch.tensor([1.5, -0.5])), "at least 0"),
        (lambda: MarkovChain(P0, torch.ones(2, 2) / 2), "write .n,. and .n, n."),
        (lambda: Tokens(P).bound((("d", V),), P), "sequences over 3 tokens"),
        (lambda: Tokens(PLACES).bound((("s", 5), ("d", V)), P), "p has 3 positions"),
        (lambda: Mixture([]), "needs a list of laws"),
        (lambda: Mixture([Tokens(P)], [0.5]), "add up to 1"),
    ],
)
def test_bad_laws_are_refused(make, message):
    with pytest.raises(MeasureError, match=message):
        make()


class Layers(torch.nn.Module):
    """An embedding, then linear layers and products of two."""

    def __init__(self, kinds):
        super().__init__()
        self.embed, self.kinds = torch.nn.Embedding(3, 2), kinds
        self.left, self.right = (
            torch.nn.ModuleList([torch.nn.Linear(2, 2) for _ in kinds]) for _ in range(2)
        )

    def forward(self, ids):
        h = self.embed(ids)
        for kind, left, right in zip(self.kinds, self.left, self.right, strict=True):
            h = left(h) * right(h) if kind == "q" else left(h)
        return h


def layered(*kinds):
    torch.manual_seed(1)
    ids = torch.zeros(1, 2, dtype=torch.long)
    return [tnsim.convert(Layers(k).double().requires_grad_(False), ids) for k in kinds]


P = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
SMALL = {"tokens": Tokens(P), "chain": MarkovChain(P, torch.stack([P, P.flip(0), P.roll(1)]))}


@pytest.mark.parametrize("law", SMALL)
def test_what_a_model_is_alone_layer_by_layer_does_not_depend_on_its_partner(law):
    """One is linear in the tokens for longer than the other, whose units are its own as well."""
    nets = layered("lqq", "qqq", "llq", "qqq")
    options = {"under": SMALL[law], "method": "layerwise"}
    gram = tnsim.gram(nets, progress=False, **options)
    inner = torch.stack([torch.stack([tnsim.inner(a, b, **options) for b in nets]) for a in nets])
    cosine = torch.stack([torch.stack([tnsim.similarity(a, b, **options) for b in nets]) for a in nets])
    torch.testing.assert_close(gram.matrix, inner, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(gram.similarity(), cosine, rtol=1e-10, atol=1e-14)


def test_indices_of_models_of_which_one_is_linear_for_longer_are_those_of_their_moments():
    """Their covariance alone is that of tokens, not of the Gaussian that the pair is taken for."""
    nets = layered("lqq", "qqq", "llq")
    options = {"under": SMALL["tokens"], "method": "layerwise"}
    norms = [[tnsim.moments(a, b, **options).square().sum() for b in nets] for a in nets]
    for i, a in enumerate(nets):
        for j, b in enumerate(nets):
            expected = norms[i][j] / (norms[i][i] * norms[j][j]).sqrt()
            torch.testing.assert_close(
                tnsim.cka(a, b, centred=False, **options), expected, rtol=1e-9, atol=1e-12
            )
            assert 0 <= tnsim.cka(a, b, **options) <= 1 + 1e-12


def test_many_ways_of_meeting_at_few_positions_are_planned():
    a, b = layered("lq", "qq")
    ids = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    weights = P[ids[:, 0]] * P[ids[:, 1]]
    want = weights @ (a(ids) * b(ids)).flatten(1).sum(1)
    torch.testing.assert_close(tnsim.inner(a, b, under=Tokens(P)), want, rtol=1e-10, atol=0)
