"""A law of tokens must keep to the ids that the tables of a model have rows for."""

import pytest
import torch
from modules import Forward, assert_close
from torch import nn

import tnsim
from tnsim import Empirical, MarkovChain, Mixture, Tokens
from tnsim.convert import convert
from tnsim.engine.contract import Contraction

IDS = torch.tensor([[a, b] for a in range(5) for b in range(7)])


def model(seed, first=5):
    torch.manual_seed(seed)
    parts = dict(a=nn.Embedding(first, 3), b=nn.Embedding(7, 3), h=nn.Linear(3, 3))
    return Forward(lambda s, t: s.h(s.a(t[:, 0]) * s.b(t[:, 1])), **parts).double()


def uniform(*sizes):
    rows = [(torch.arange(7) < n).double() for n in sizes]
    return torch.stack([row / row.sum() for row in rows])


FITS = Tokens(uniform(5, 7))
LAWS = {
    "tokens": Tokens(uniform(7)[0]),
    "tokens by position": Tokens(uniform(7, 5)),
    "a chain": MarkovChain(uniform(7)[0], uniform(7)[0].expand(7, 7)),
    "a mixture": Mixture([FITS, Tokens(uniform(7)[0])]),
    "samples": Empirical(torch.tensor([[0, 1], [5, 1]])),
}
QUESTIONS = {
    "similarity": lambda a, b, law: tnsim.similarity(a, b, under=law),
    "layer by layer": lambda a, b, law: tnsim.similarity(a, b, under=law, method="layerwise"),
    "from draws": lambda a, b, law: tnsim.similarity(a, b, under=law, error=0.1),
    "cost": lambda a, b, law: tnsim.cost(a, b, under=law),
    "gram": lambda a, b, law: tnsim.gram([b, a, b], under=law),
    "moments": lambda a, b, law: tnsim.moments(b, a, under=law),
    "outputs": lambda a, b, law: tnsim.attribute(a, b, to="outputs", under=law),
    "inputs": lambda a, b, law: tnsim.attribute(a, b, to="inputs", under=law),
    "localise": lambda a, b, law: tnsim.localise(a, b, under=law),
    "layers": lambda a, b, law: tnsim.layers(a, b, under=law),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("law", LAWS)
def test_a_law_with_unknown_tokens_is_refused(law, question):
    with torch.no_grad():
        a, b = convert(model(0), IDS[:1]), convert(model(1, first=7), IDS[:1])
    assert a.ids == (range(5), range(7)) and not b.ids
    with pytest.raises(ValueError, match=r"position 0.* know the tokens 0 … 4"):
        QUESTIONS[question](a, b, LAWS[law])


def test_the_position_is_named():
    with torch.no_grad():
        a = convert(model(0), IDS[:1])
    with pytest.raises(tnsim.MeasureError, match=r"tokens 5, 6 at position 0 with probability 0\.29"):
        tnsim.similarity(a, a, under=LAWS["tokens by position"])
    chain = MarkovChain(uniform(5)[0], uniform(7)[0].expand(7, 7))  # 5 and 6 come second
    assert float(tnsim.similarity(a, a, under=chain)) == pytest.approx(1)


def test_nothing_is_computed_before(monkeypatch):
    with torch.no_grad():
        a = convert(model(0), IDS[:1])
    monkeypatch.setattr(Contraction, "value", lambda *_: pytest.fail("computed"))
    with pytest.raises(tnsim.MeasureError):
        tnsim.similarity(a, a, under=LAWS["tokens"])


def test_a_law_of_known_tokens_is_the_mean_over_them():
    with torch.no_grad():
        models = [model(0), model(1)]
        a, b = (convert(m, IDS[:1]) for m in models)
        x, y = (m(IDS) for m in models)
        want = (x * y).sum() / ((x * x).sum() * (y * y).sum()) ** 0.5
        assert_close(tnsim.similarity(a, b, under=FITS), want)


def test_norms_are_not_fixed_under_unknown_tokens():
    parts = dict(a=nn.Embedding(5, 3), b=nn.Embedding(7, 3), n=nn.RMSNorm(3))
    normed = Forward(lambda s, t: s.n(s.a(t[:, 0]) * s.b(t[:, 1])), **parts).double()
    with pytest.raises(tnsim.MeasureError, match="position 0"):
        convert(normed, IDS[:1], norm="fixed", under=LAWS["tokens"])
    assert convert(normed, IDS[:1], norm="fixed", under=FITS).notes
