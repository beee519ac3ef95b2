"""What is planned for models nobody here wrote: counted in operations weighed, of which ten thousand take about a second.

Of all public questions about all modules of the zoos these weigh most, or take longest.
"""

import copy

import pytest
import torch
from idiom_zoo import ANYWHERE, FLAT, SEQUENCE, SEQUENCES, module
from image_zoo import IMAGES
from published_zoo import GPT2, MODULES, MPS, Hyena, LinAttn

import tnsim
from tnsim.algebra import CostError
from tnsim.engine.effort import planning

MOST = 150_000  # with slack
QUIET = dict(progress=False)


def idiom(zoo, name, shape):
    return lambda: (module(zoo[name]), shape)


def image(name):
    make, shape = IMAGES[name]
    return lambda: (make().double().eval(), shape)


def published(kind, shape):
    return lambda: (kind().double().eval(), shape)


def pair(made):
    """A module, and the same with other weights."""
    torch.manual_seed(0)
    model, shape = made()
    model, other = copy.deepcopy(model), copy.deepcopy(model)  # those of the zoo share their parts
    for p in other.parameters():
        p.data += 0.3 * torch.randn_like(p) * p.abs().mean()
    x = torch.randn(2, *shape, dtype=torch.float64)
    return [tnsim.convert(m.requires_grad_(False), x) for m in (model, other)]


DEAREST = {
    "heads after each other in the batch": (
        idiom(SEQUENCES, "heads after each other in the batch", SEQUENCE),
        lambda a, b: tnsim.gram([a, b], **QUIET),
    ),
    "det of three rows": (
        idiom(ANYWHERE, "det of three rows", FLAT),
        lambda a, b: tnsim.cost(a, b, method="layerwise"),
    ),
    "attention between patches": (
        image("attention between patches"),
        lambda a, b: tnsim.attribute(a, b, to="layers"),
    ),
    "LinAttn": (published(LinAttn, (3, 4)), lambda a, b: tnsim.spectrum(a)),
    "GPT2": (published(GPT2, (3, 4)), lambda a, b: tnsim.attribute(a, b, to="layers")),
    "Hyena": (published(Hyena, (3, 4)), lambda a, b: tnsim.spectrum(a)),
    "MPS": (published(MPS, (4,)), lambda a, b: tnsim.attribute(a, b, to="inputs")),
}


ALWAYS = ("det of three rows", "Hyena")


@pytest.mark.parametrize(
    "name", [n if n in ALWAYS else pytest.param(n, marks=pytest.mark.slow) for n in DEAREST]
)
def test_the_dearest_questions_are_planned_answered_or_refused(name):
    made, question = DEAREST[name]
    a, b = pair(made)
    with planning(MOST) as now:  # more is an error
        try:
            question(a, b)
        except CostError as refused:
            assert refused.cost is not None
    assert 0 < now.weighed < MOST


@pytest.mark.parametrize(("kind", "shape"), MODULES, ids=lambda v: getattr(v, "__name__", str(v)))
def test_prices_of_published_modules(kind, shape):
    a, b = pair(published(kind, shape))
    for method in ("exact", "layerwise"):
        with planning(MOST) as now:
            tnsim.cost(a, b, method=method)
        assert now.weighed < MOST


def test_two_attention_layers_are_refused_before_their_products_are_listed():
    """Two heads, four tokens at two positions: the products that meet are sifted, and that is weighed."""
    nets = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = tnsim.nn.Transformer(4, 4, 2, 2, ("attn", "attn"), scale=0.5).double()
        nets.append(tnsim.convert(model.requires_grad_(False), torch.zeros(1, 2, dtype=torch.long)))
    with planning(MOST), pytest.raises(CostError, match="takes so much to plan"):
        tnsim.similarity(*nets)
