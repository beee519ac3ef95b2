"""Laws that somebody else wrote: whatever they carry, and whatever they look at, they give what they say."""

from itertools import product

import pytest
import torch
from zoo import network, rand

import tnsim
from tnsim.engine.costs import CostError
from tnsim.measure import Gaussian
from tnsim.measure.pairings.measure import Block


class Tagged(Gaussian):
    """A Gaussian law that carries something else."""

    def __init__(self, note, **fields):
        super().__init__(**fields)
        object.__setattr__(self, "note", note)

    def bound(self, domain, like):
        law = super().bound(domain, like)
        own = object.__new__(type(self))
        own.__dict__.update(vars(law), note=self.note)
        return own


class Box:
    def __init__(self, content):
        self.content = content


class Boxed(Tagged):
    """Its covariance is in a box."""

    def cov_of(self, a, b):
        return Block(self.note.content)


class Looking(Tagged):
    """It looks at the numbers that it has computed."""

    def push(self, layers, known=(), apart=()):
        law = super().push(layers, known, apart)
        assert all(float(block.data.abs().max()) > 0 for block in law.covs.values())
        assert all(block.data.detach().numpy().size for block in law.covs.values())
        return law


SPREAD = torch.linspace(0.5, 2, 8, dtype=torch.float64)
EVERYWHERE = torch.einsum("st,ij->sitj", torch.eye(3, dtype=torch.float64), torch.diag(SPREAD))
OWN = {
    "a set": (Tagged({1, "two"}), Gaussian()),
    "an object": (Tagged(Box(rand(2, seed=0))), Gaussian()),
    "a function": (Tagged(lambda x: x), Gaussian()),
    "an object beside a mean": (Tagged(object(), mean=rand(8, seed=1)), Gaussian(mean=rand(8, seed=1))),
    "a tensor out of sight": (Boxed(Box(EVERYWHERE)), Gaussian(cov=torch.diag(SPREAD))),
    "values": (Looking(None), Gaussian()),
}
QUESTIONS = {
    "similarity": lambda a, b, **ask: tnsim.similarity(a, b, **ask),
    "gram": lambda a, b, **ask: tnsim.gram([a, b, a], progress=False, **ask).similarity(),
    "nearest": lambda a, b, **ask: tnsim.nearest(a, [b, a], **ask).similarities,
    "moments": lambda a, b, **ask: tnsim.moments(a, b, **ask),
    "outputs": lambda a, b, **ask: tnsim.attribute(a, b, **ask),
    "heads": lambda a, b, **ask: tnsim.attribute(a, b, to="heads", **ask),
    "unfold": lambda a, b, **ask: tnsim.unfold(a, "in", **ask).values,
    "cka": lambda a, b, **ask: tnsim.cka(a, b, **ask),
}


def is_slow(name, question):
    """What is dear is asked under one of the laws."""
    return question == "unfold" and name != "an object"


def transformers():
    ids = torch.zeros(1, 3, dtype=torch.long)
    models = [tnsim.nn.Transformer(8, 4, 2, 3, ("attn",)).double().eval().requires_grad_(False) for _ in "ab"]
    return [tnsim.convert(m, ids) for m in models]


@pytest.mark.parametrize(
    ("name", "question"),
    [
        pytest.param(name, question, marks=[pytest.mark.slow] if is_slow(name, question) else [])
        for name, question in product(OWN, QUESTIONS)
    ],
)
def test_attention_under_a_law_of_ones_own(name, question):
    law, same = OWN[name]
    a, b = transformers()
    ask = QUESTIONS[question]
    got, want = (torch.as_tensor(ask(a, b, under=u, method="layerwise")) for u in (law, same))
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9 * float(want.abs().max()))


@pytest.mark.parametrize("name", ["a set", "an object", "values"])
@pytest.mark.parametrize("method", ["exact", "layerwise"])
def test_and_layers_of_products(name, method):
    law, same = OWN[name]
    a, b = (network(2, bias=True, residual=0.5) for _ in "ab")
    for ask in (tnsim.similarity, tnsim.inner, tnsim.moments):
        torch.testing.assert_close(
            ask(a, b, under=law, method=method), ask(a, b, under=same, method=method), rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("name", OWN)
def test_what_is_too_dear_is_refused(name):
    a, b = transformers()
    with pytest.raises(CostError, match="the budget is"):
        tnsim.similarity(a, b, under=OWN[name][0], method="layerwise", budget=10.0)
