"""Norms of data are no polynomials: refused, or fixed at their root mean square under a law, by name."""

import itertools
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from modules import Forward, assert_close, fails, p
from torch import nn

import tnsim
from tnsim.convert import convert

D, N = 4, 3
EPS = 0.1


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(D) + 0.5)

    def norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS)

    def forward(self, x):
        return self.norm(x.double()).type_as(x) * self.weight


class T5(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.variance_epsilon = nn.Parameter(torch.rand(D) + 0.5), EPS

    def forward(self, hidden):
        variance = hidden.to(torch.float64).pow(2).mean(-1, keepdim=True)
        hidden = hidden * torch.rsqrt(variance + self.variance_epsilon)
        if self.weight.dtype in (torch.float16, torch.bfloat16):
            hidden = hidden.to(self.weight.dtype)
        return self.weight * hidden


def gained(fn):
    return lambda: Forward(lambda s, x: fn(x) * s.weight, weight=nn.Parameter(torch.rand(D) + 0.5))


def by_mean(x):
    around = x - x.mean(-1, keepdim=True)
    return around / torch.sqrt(around.pow(2).mean(-1, keepdim=True) + EPS)


# a module, whether it takes the mean off, and what it divides by, given the mean square
MEAN = lambda square: (square + EPS) ** 0.5  # noqa: E731
SUM = lambda square: (D * square) ** 0.5  # noqa: E731
NORMS = {
    "RMSNorm": (lambda: nn.RMSNorm(D, eps=EPS), False, MEAN),
    "LayerNorm": (lambda: nn.LayerNorm(D, eps=EPS, bias=False), True, MEAN),
    "rms_norm": (gained(lambda x: F.rms_norm(x, (D,), None, EPS)), False, MEAN),
    "layer_norm": (gained(lambda x: F.layer_norm(x, (D,), None, None, EPS)), True, MEAN),
    "LLaMA": (Llama, False, MEAN),
    "T5": (T5, False, MEAN),
    "a power": (gained(lambda x: x * (x.square().mean(-1, keepdim=True) + EPS) ** -0.5), False, MEAN),
    "one over a root": (gained(lambda x: x * (1 / torch.sqrt((x * x).mean(-1, True) + EPS))), False, MEAN),
    "a reciprocal": (
        gained(lambda x: x * torch.sqrt((x * x).mean(-1, True) + EPS).reciprocal()),
        False,
        MEAN,
    ),
    "mean and deviation": (gained(by_mean), True, MEAN),
    "var": (
        gained(lambda x: (x - x.mean(-1, True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + EPS)),
        True,
        MEAN,
    ),
    "std": (
        gained(lambda x: (x - x.mean(-1, True)) / (x.std(-1, keepdim=True) + EPS)),
        True,
        lambda square: (square * D / (D - 1)) ** 0.5 + EPS,
    ),
    "norm": (gained(lambda x: x / x.norm(dim=-1, keepdim=True)), False, SUM),
    "vector_norm": (gained(lambda x: x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)), False, SUM),
    "a norm and a small number": (
        gained(lambda x: x / (x.norm(2, -1, True) + EPS)),
        False,
        lambda square: SUM(square) + EPS,
    ),
    "normalize": (gained(lambda x: F.normalize(x, dim=-1)), False, SUM),
    "a scaled, clamped norm": (
        gained(lambda x: x / (torch.norm(x, dim=-1, keepdim=True) * D**-0.5).clamp(min=1e-5)),
        False,
        lambda square: square**0.5,
    ),
    "cast back by type_as": (
        gained(lambda x: x / x.norm(dim=-1, keepdim=True).type_as(x).expand_as(x)),
        False,
        SUM,
    ),
    "a clamped square": (
        gained(lambda x: x * x.pow(2).sum(-1, keepdim=True).clamp_min(1e-6).rsqrt()),
        False,
        SUM,
    ),
    "einsum": (
        gained(lambda x: x / torch.sqrt(torch.einsum("...i,...i->...", x, x)[..., None])),
        False,
        SUM,
    ),
    "in place": (gained(lambda x: x.clone().div_(x.norm(dim=-1, keepdim=True))), False, SUM),
}


def around(norm):
    return Forward(lambda s, x: s.b(s.norm(s.a(x))), a=nn.Linear(D, D), norm=norm, b=nn.Linear(D, 2)).double()


@pytest.mark.parametrize("shape", [(D,), (N, D)])
@pytest.mark.parametrize("name", NORMS)
def test_the_scale_is_the_root_mean_square(name, shape):
    """y = A x + a has E y² = |A_i|² + a_i² under N(0, 1): what follows is written by hand."""
    make, centres, divisor = NORMS[name]
    torch.manual_seed(0)
    model = around(make())
    law = tnsim.Gaussian() if len(shape) == 1 else tnsim.Gaussian(n_ctx=N)
    net = convert(model, torch.zeros(1, *shape), norm="fixed", under=law)
    centre = torch.eye(D, dtype=torch.float64) - (1 / D if centres else 0)
    matrix, bias = centre @ model.a.weight, centre @ model.a.bias
    square = (matrix.square().sum(1) + bias.square()).mean()
    x = torch.randn(5, *shape, dtype=torch.float64)
    y = x @ matrix.T + bias
    want = model.b(y / divisor(square) * model.norm.weight)
    assert_close(net(x), want)
    assert "1 exactly" in net.notes[0] and "Gaussian(" in net.notes[0] and "approximation: norm=" in repr(net)
    assert net.degree == 1


def test_gains_biases_and_groups():
    torch.manual_seed(0)
    norm = nn.GroupNorm(2, D, eps=EPS)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1), norm.bias.normal_()
    model = around(norm)
    net = convert(model, norm="fixed", under=tnsim.Gaussian())
    centre = torch.block_diag(*[torch.eye(2, dtype=torch.float64) - 0.5] * 2)
    matrix, bias = centre @ model.a.weight, centre @ model.a.bias
    square = (matrix.square().sum(1) + bias.square()).reshape(2, 2).mean(1).repeat_interleave(2)
    x = torch.randn(5, D, dtype=torch.float64)
    want = model.b((x @ matrix.T + bias) / MEAN(square) * norm.weight + norm.bias)
    assert_close(net(x), want)


def test_behind_a_product_it_is_that_of_quadrature():
    torch.manual_seed(0)
    model = Forward(
        lambda s, x: s.n(x + s.l(s.m(x)) * s.r(s.m(x))),
        l=nn.Linear(2, 2),
        r=nn.Linear(2, 2),
        m=nn.RMSNorm(2, eps=EPS),
        n=nn.RMSNorm(2, eps=EPS),
    ).double()
    net = convert(model, torch.zeros(1, 2), norm="fixed", under=tnsim.Gaussian())
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    x = torch.tensor(list(itertools.product(nodes, nodes)))
    w = torch.tensor([a * b / (2 * np.pi) for a, b in itertools.product(weights, weights)])
    inner = x / (1 + EPS) ** 0.5
    y = x + model.l(inner) * model.r(inner)
    want = y / MEAN((w @ y.square()).mean())
    assert_close(net(x), want)


def test_every_position_has_its_own_scale_under_tokens():
    torch.manual_seed(0)
    frequencies = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], dtype=torch.float64)
    model = Forward(
        lambda s, t: F.layer_norm(s.e(t) + s.e(t).mean(1, keepdim=True), (D,), eps=EPS), e=nn.Embedding(3, D)
    ).double()
    net = convert(model, torch.zeros(1, 2, dtype=torch.long), norm="fixed", under=tnsim.Tokens(frequencies))
    ids = torch.tensor(list(itertools.product(range(3), range(3))))
    weights = frequencies[0, ids[:, 0]] * frequencies[1, ids[:, 1]]
    y = model.e(ids) + model.e(ids).mean(1, keepdim=True)
    y = y - y.mean(-1, keepdim=True)
    square = torch.einsum("b,bsd->s", weights, y.square()) / D
    assert_close(net(ids), y / MEAN(square)[:, None])


def test_samples_are_a_law_and_the_deviation_is_told():
    torch.manual_seed(0)
    model = Forward(
        lambda s, x: s.b(s.n(s.a(x) ** 2)), a=nn.Linear(D, D), n=nn.LayerNorm(D), b=nn.Linear(D, 3)
    ).double()
    x = torch.randn(50, D, dtype=torch.float64) + 1
    weights = torch.rand(50, dtype=torch.float64)
    net = convert(model, norm="fixed", under=tnsim.Empirical(x, weights=weights))
    y = model.a(x) ** 2
    y = y - y.mean(1, keepdim=True)
    square = (weights / weights.sum()) @ y.square().mean(1)
    assert_close(net(x), model.b(y / (square + 1e-5) ** 0.5 * model.n.weight + model.n.bias))
    error = weights @ (net(x) - model(x)).square().sum(1) / (weights @ model(x).square().sum(1))
    told = re.search(r"deviate by ([\d.e-]+)", net.notes[0])
    assert abs(float(told[1]) / float(error.sqrt()) - 1) < 0.05


LAWS = {
    "gaussian": tnsim.Gaussian(mean=np.array([1.0, 0.0]), cov=np.array([[2.0, 0.5], [0.5, 1.0]])),
    "mixture": tnsim.Mixture([tnsim.Gaussian(mean=np.array([m, 0.0])) for m in (-2.0, 2.0)], [0.3, 0.7]),
}


def deep(n):
    torch.manual_seed(0)
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(n))
    norms = nn.ModuleList(nn.RMSNorm(2) for _ in range(n))

    def run(s, x):
        for layer, norm in zip(s.layers, s.norms, strict=True):
            x = x + layer(norm(x)) ** 2
        return x

    return Forward(run, layers=layers, norms=norms).double()


@pytest.mark.parametrize("name", ["gaussian", pytest.param("mixture", marks=pytest.mark.slow)])
def test_what_is_too_dear_is_drawn_from_the_law_by_a_generator_of_its_own(name):
    models = [deep(5), deep(5)]
    state = torch.random.get_rng_state()
    nets = [convert(model, torch.zeros(1, 2), norm="fixed", under=LAWS[name]) for model in models]
    assert "draws (mean squares ±" in nets[0].notes[0]
    assert torch.equal(state, torch.random.get_rng_state())
    x = torch.randn(4, 2, dtype=torch.float64)
    assert torch.equal(nets[0](x), nets[1](x))


def test_tokens_of_a_chain_are_drawn_in_order():
    torch.manual_seed(0)
    law = tnsim.MarkovChain(torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    model = Forward(lambda s, t: F.rms_norm(s.e(t), (2,), eps=EPS), e=nn.Embedding(2, 2)).double()
    net = convert(model, torch.zeros(1, 3, dtype=torch.long), norm="fixed", under=law)
    ids = torch.tensor([[0, 1, 0]])  # the only sequence there is: nothing is approximated
    assert_close(net(ids), model(ids))
    assert float(re.search(r"deviate by ([\d.e-]+)", net.notes[0])[1]) < 1e-9


@pytest.mark.parametrize(
    "fn",
    [
        lambda s, h: h.abs(),
        lambda s, h: torch.sqrt(h * h + 1e-3),
        lambda s, h: h * torch.rsqrt(h.square() + 1),
        lambda s, h: h.mean(-1, keepdim=True).relu() * h,
        lambda s, h: h / h.sum(-1, keepdim=True),
        lambda s, h: h / h.square().sum(-1, keepdim=True),
        lambda s, h: F.softmax(h, -1),
        lambda s, h: h.clamp_min(0.1) * h.norm(dim=-1, keepdim=True),
        lambda s, h: h / h.norm(p=1, dim=-1, keepdim=True),
    ],
)
def test_only_norms_are_fixed(fn):
    model = Forward(lambda s, x: fn(s, s.w(x)), w=nn.Linear(D, D))
    fails(model, "no polynomial form", norm="fixed", under=tnsim.Gaussian())


@pytest.mark.parametrize(
    "norm", [nn.LayerNorm(D), nn.RMSNorm(D), nn.GroupNorm(2, D), Llama(), T5(), NORMS["normalize"][0]()]
)
def test_refusals_offer_it_by_name(norm):
    fails(around(norm), "norm of the data", 'norm="fixed", under=law', "no polynomial is equal", "BatchNorm")


def test_cosines_are_called_what_they_are():
    model = Forward(lambda s, x: F.cosine_similarity(s.w(x), x, dim=-1)[:, None], w=nn.Linear(D, D))
    fails(model, "cosine_similarity", "norm of the data")


def test_the_two_arguments_go_together():
    fails(around(nn.RMSNorm(D)), "under=law", norm="fixed")
    fails(around(nn.RMSNorm(D)), "under=law", under=tnsim.Gaussian())
    fails(around(nn.RMSNorm(D)), "under=law", norm="layer", under=tnsim.Gaussian())
    with pytest.raises(TypeError, match=r"tnsim\.Gaussian\(\)"):
        convert(around(nn.RMSNorm(D)), norm="fixed", under=tnsim.Gaussian)
    with pytest.raises(tnsim.MeasureError, match="there is nothing to draw"):
        convert(around(nn.RMSNorm(D)), norm="fixed", under=tnsim.Frobenius())


def test_without_norms_nothing_is_noted():
    model = nn.Linear(3, 2)
    assert convert(model, norm="fixed", under=tnsim.Gaussian()).notes == ()


def test_notes_go_along():
    nets = [convert(around(nn.RMSNorm(D)), norm="fixed", under=tnsim.Gaussian()) for _ in range(2)]
    note = nets[0].notes
    assert note and tnsim.stack(nets[:1]).notes == note
    made = [
        nets[0][:1],
        nets[0].to(dtype="float32"),
        tnsim.difference(*nets),
        tnsim.stack(nets),
        tnsim.gram(nets),
    ]
    for other in made:
        assert note[0] in other.notes and f"approximation: {note[0]}" in repr(other)


def test_weights_that_are_trained_keep_their_gradients():
    model = around(nn.RMSNorm(D, eps=EPS))
    net = convert(model, norm="fixed", under=tnsim.Gaussian())
    net(torch.ones(1, D, dtype=torch.float64)).sum().backward()
    assert all(q.grad is not None and q.grad.abs().sum() > 0 for q in model.parameters())


def test_a_norm_that_is_zero_cannot_be_fixed():
    model = Forward(lambda s, x: s.w(x) / (0 * x).norm(dim=-1, keepdim=True), w=nn.Linear(D, D))
    fails(model, "is zero", norm="fixed", under=tnsim.Gaussian())


def test_attention_with_normalised_queries():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(D, D) for _ in range(3))
            self.g = p(2, 1, 1)

        def forward(self, x):
            q, k, v = (f(x).unflatten(-1, (2, 2)).transpose(1, 2) for f in (self.q, self.k, self.v))
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
            return x + ((q @ k.mT * self.g).tril() @ v).transpose(1, 2).flatten(2)

    torch.manual_seed(0)
    model = Attention().double()
    law = tnsim.Gaussian(n_ctx=N)
    net = convert(model, torch.zeros(1, N, D), norm="fixed", under=law)
    assert net.domain == (("s", N), ("d", D)) and "2 norms" in net.notes[0]
    x = torch.randn(2, N, D, dtype=torch.float64)
    sizes = [
        (f.weight.square().sum(1) + f.bias.square()).reshape(2, 2).sum(1).sqrt() for f in (model.q, model.k)
    ]
    q, k, v = (f(x).unflatten(-1, (2, 2)).transpose(1, 2) for f in (model.q, model.k, model.v))
    q, k = (t / size[:, None, None] for t, size in zip((q, k), sizes, strict=True))
    assert_close(net(x), x + ((q @ k.mT * model.g).tril() @ v).transpose(1, 2).flatten(2))
