"""Covariances that are diagonal along positions, or of which only equal positions are read, against whole ones."""

import pytest
import torch
from zoo import rand

import tnsim
from tnsim.algebra import Network, identity
from tnsim.algebra.polys.axes import is_local
from tnsim.analysis.asking.problem import Problem, hidden_laws, law_for
from tnsim.measure import Gaussian, expect
from tnsim.measure.pairings.arrays import Block

KINDS = {
    "attention only": dict(blocks=("attn", "attn")),
    "no mask, biases": dict(blocks=("attn", "attn"), mask=None, bias=True),
    "diagonal mask": dict(blocks=("attn", "attn"), mask="diagonal", residual="lerp"),
    "MLP between": dict(blocks=("attn", "mlp", "attn")),
    "MLP behind, biases": dict(blocks=("attn", "attn", "mlp"), bias=True),
    "tied, biased scores, no residual": dict(blocks=("attn", "attn"), tied=True, bias="qk", residual=None),
}
LAWS = {
    "standard": lambda: None,
    "mean": lambda: Gaussian(mean=rand(3, seed=1)),
    "across positions": lambda: Gaussian(across=torch.tensor([[1.0, 0.4], [0.4, 0.7]])),
}


def models(kind, count=2):
    torch.manual_seed(0)
    ids = torch.zeros(1, 2, dtype=torch.long)
    options = dict(scale=0.5) | KINDS[kind]
    made = (tnsim.nn.Transformer(3, 4, 2, 2, d_hidden=3, **options).double() for _ in range(count))
    return [tnsim.convert(model, ids) for model in made]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_out_is_not_needed(kind, law):
    a, b = models(kind)
    under = LAWS[law]()
    bound = law_for((a, b), under)
    whole = Problem.of((a, b), bound, "layerwise")
    some = Problem.of((a, b), bound, "layerwise", keep="diagonal")
    close = dict(rtol=1e-11, atol=1e-13)
    for i, j in ((0, 1), (0, 0), (1, 1)):
        exponent = whole.exponent(i, j)
        full = whole.product(i, j, "all").at(exponent)
        diagonal = torch.einsum("sdsd->sd", full)
        torch.testing.assert_close(some.product(i, j, "diagonal").at(exponent), diagonal, **close)
        torch.testing.assert_close(some.product(i, j, "sum").at(exponent), diagonal.sum(), **close)
        torch.testing.assert_close(whole.product(i, j, "diagonal").at(exponent), diagonal, **close)
    with pytest.raises(ValueError, match="reduced to what keep='diagonal' needs"):
        some.product(0, 1, "all")


def test_only_layers_that_map_positions_apart_let_others_be_left_out():
    a, b = models("MLP behind, biases")
    bound = law_for((a, b), None)
    joined = [law.cov_of(0, 0).joined for law in hidden_laws(a, bound, "diagonal")]
    assert joined == [(0,), (), (0,), (0,)]  # embedding, attention, attention, MLP
    assert [law.cov_of(0, 0).joined for law in hidden_laws(a, bound)] == [(0,), (), (), ()]
    assert [is_local(f, 0) for f in a.polys] == [True, False, False, True, True]


def test_slices_of_positions_and_stacked_models():
    nets = models("MLP between", 3)
    gram = tnsim.gram(nets, method="layerwise", progress=False)
    moments = [[tnsim.moments(a, b, method="layerwise") for b in nets] for a in nets]
    for i in range(3):
        for j in range(3):
            expected = torch.einsum("sdsd->sd", moments[i][j]).flatten()
            torch.testing.assert_close(gram.products[:, i, j], expected, rtol=1e-10, atol=1e-12)
    a, b = nets[:2]
    for key in (1, (0, 2), (slice(None), 1), slice(0, 1), slice(1, 2)):
        rows = torch.arange(6).reshape(2, 3)[key].reshape(-1)
        expected = moments[0][1].reshape(6, 6)[rows, rows].sum()
        found = tnsim.inner(a, b, method="layerwise", output=key)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_a_covariance_that_is_diagonal_along_an_axis():
    full = torch.einsum("st,sij->sitj", torch.eye(2, dtype=torch.float64), rand(2, 3, 3))
    short = Block(torch.einsum("sisj->sij", full), (), (0,))
    assert torch.equal(short.dense(2), full)
    assert torch.equal(short.diagonal(2), torch.einsum("sisi->si", full))
    assert torch.equal(Block(full).diagonal(2), torch.einsum("sisi->si", full))
    assert torch.equal(short.turned(2).dense(2), full.permute(2, 3, 0, 1))
    assert torch.equal(Block(full[0, :, 0, :].diagonal()).dense(1), torch.diag(full[0, :, 0, :].diagonal()))
    run = Block(torch.stack([short.data, 2 * short.data]), (0,), (0,))
    assert torch.equal(run.dense(2), torch.stack([full, 2 * full]))


def test_outputs_are_kept_axis_by_axis():
    (net,) = models("attention only", 1)
    f = net["blocks.0"]
    law = Gaussian(across=torch.tensor([[1.0, 0.4], [0.4, 0.7]])).bound(f.domain, f.like)
    plain = Network((("x", identity(f.domain, f.like)),)).polys[0]
    for g in (f, plain):
        full = expect((f, g), law)
        for keep, equation in {
            ("diagonal", "all"): "sise->sie",
            ("sum", "all"): "sise->ie",
            ("all", "diagonal"): "siti->sit",
            ("sum", "diagonal"): "sisi->i",
        }.items():
            expected = torch.einsum(equation, full)
            torch.testing.assert_close(expect((f, g), law, keep), expected, rtol=1e-11, atol=1e-13)
    own = torch.einsum("sise->sie", expect((f, f), law, sides=(0, 0)))
    torch.testing.assert_close(expect((f, f), law, ("diagonal", "all"), (0, 0)), own, rtol=1e-11, atol=1e-13)
