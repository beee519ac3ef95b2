"""Copies and constants that are added up count as often as they occur, whatever reads them under laws of tokens."""

from itertools import product

import pytest
import torch
from torch import nn

import tnsim
from tnsim.algebra.terms.collecting import collect
from tnsim.algebra.terms.term import Term
from tnsim.common.wires import WIRE

S, V, D = 2, 3, 2
IDS = torch.tensor(list(product(range(V), repeat=S)))
P = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
MOVE = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]], dtype=torch.float64)
LAWS = {
    "tokens": (tnsim.Tokens(P), P[IDS].prod(1)),
    "chain": (tnsim.MarkovChain(P, MOVE), P[IDS[:, 0]] * MOVE[IDS[:, 0], IDS[:, 1]]),
}


class Model(nn.Module):
    """A table of tokens, and a layer that reads it."""

    def __init__(self, layer, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.layer, self.e = layer, nn.Embedding(V, D)
        self.w, self.u = nn.Linear(D, D), nn.Linear(D, D, bias=False)
        self.c, self.p = nn.Parameter(torch.randn(D)), nn.Parameter(torch.randn(S, D))

    def copies(self, n):
        """A constant at every position of every sample."""
        return self.c.expand(n, S, D)

    def attention(self, h):
        """Squared scores."""
        return (self.w(h) @ self.u(h).mT) ** 2 @ self.w(h)

    def forward(self, ids):
        return self.layer(self, self.e(ids))


LAYERS = {
    "copies of the data": lambda s, h: s.w(h.unsqueeze(1).expand(-1, 3, -1, -1).sum(1)),
    "copies, squared": lambda s, h: s.u(h.unsqueeze(1).expand(-1, 3, -1, -1).sum(1)) ** 2,
    "a constant": lambda s, h: h + s.c.expand(S, D).sum(0),
    "a constant alone": lambda s, h: 0 * h + s.c.expand(3, D).sum(0) ** 2,
    "two constants": lambda s, h: s.c.expand(3, D).sum(0) + s.p * s.c.expand(S, D).sum(0) + s.u(h),
    "repeated": lambda s, h: s.u(h).repeat(1, 3, 1).sum(1, keepdim=True) * h,
    "einsum": lambda s, h: torch.einsum("bsd,k->bsd", h, torch.ones(4, dtype=h.dtype)) + s.w(h),
    "attention of constants": lambda s, h: s.attention(s.c + 0 * h),
    "attention with constants": lambda s, h: s.attention(s.p + 0 * h) + h,
    "attention by constants": lambda s, h: (s.w(s.copies(len(h))) @ s.u(s.copies(len(h))).mT) @ s.u(h),
    "a mean": lambda s, h: s.w(h) * s.w(s.p).mean(0) + s.copies(len(h)).mean(1, keepdim=True),
    "a running sum": lambda s, h: s.copies(len(h)).cumsum(1) + h,
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", LAYERS)
def test_inner_products_are_sums_over_all_sequences(name, law):
    modules = [Model(LAYERS[name], seed).double().requires_grad_(False) for seed in (0, 1)]
    nets = [tnsim.convert(module, IDS[:1]) for module in modules]
    under, weights = LAWS[law]
    f, g = (module(IDS).flatten(1) for module in modules)
    want = (weights[:, None] * f * g).sum()
    torch.testing.assert_close(tnsim.inner(*nets, under=under), want, rtol=1e-12, atol=1e-12)
    gram = tnsim.gram(nets, under=under, progress=False)
    torch.testing.assert_close(gram.products.sum(0)[0, 1], want, rtol=1e-12, atol=1e-12)


def test_constants_are_added_up_with_what_is_summed():
    """One of three constants counts four times: its index is on nothing else."""
    out = ("out:s", "out:d")
    value = torch.tensor([1.0, 2.0], dtype=torch.float64)
    tensor = tnsim.poly("W[out,in0]", W=torch.eye(2)).terms[0].tensors[0]

    def term(*parts):
        made = []
        for inds in parts:
            data = value if inds == ("out:d",) else torch.ones(4 if inds == ("k:s",) else 3).double()
            made.append(
                type(tensor)(data, inds, tags="c" if inds == ("out:d",) else WIRE),
            )
        return Term(tuple(made), (), out)

    place, feature, summed = ("out:s",), ("out:d",), ("k:s",)
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        terms = [term(place, feature), term(place, feature, summed), term(feature, place)]
        found = collect([terms[k] for k in order])
        whole = sum(torch.as_tensor(_dense(t)) for t in found)
        torch.testing.assert_close(whole, (6 * value).expand(3, 2))


def _dense(t):
    letters = {ix: chr(97 + k) for k, ix in enumerate(sorted({ix for x in t.tensors for ix in x.inds}))}
    parts = ",".join("".join(letters[ix] for ix in x.inds) for x in t.tensors)
    ends = "".join(letters[ix] for ix in t.out)
    return t.coefficient * torch.einsum(f"{parts}->{ends}", *(x.data for x in t.tensors))
