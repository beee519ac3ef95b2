"""The self-check of what exact questions see: layers composed into one polynomial."""

from dataclasses import replace

import pytest
import torch
from zoo import network, rand

import tnsim
from tnsim.algebra import Network, identity, poly
from tnsim.convert import ConvertError
from tnsim.convert.layers.composed import check_composed


def wrong(f):
    """Another polynomial: its last term is scaled."""
    return replace(f, terms=(*f.terms[:-1], f.terms[-1].scaled(1.001)))


@pytest.mark.parametrize(
    "net",
    [
        network(2, bias=True),
        network(3, residual=0.5, bias=True),  # too large as a whole: in parts
        network(2, residual=0.1, bias=True, embed=True, d=2),
    ],
)
def test_a_composition_that_is_another_function_is_found(net, monkeypatch):
    check_composed(net)
    right = Network.collapse
    monkeypatch.setattr(Network, "collapse", lambda self: wrong(right(self)))
    with pytest.raises(ConvertError, match="composed into one polynomial"):
        check_composed(net)


def test_attention_behind_attention_is_compared_term_by_term(monkeypatch):
    model = tnsim.nn.Transformer(8, 4, 2, 3, ("attn", "attn")).double().eval()
    net = tnsim.convert(model, torch.zeros(1, 3, dtype=torch.long))
    right = Network.collapse
    calls = []
    monkeypatch.setattr(Network, "collapse", lambda self: calls.append(len(self)) or wrong(right(self)))
    with pytest.raises(ConvertError, match="composed"):
        check_composed(net)
    assert calls


def test_it_is_made_on_conversion(monkeypatch):
    model = tnsim.nn.BilinearMLP(3, 3, 3, 2, 2)
    tnsim.convert(model)
    right = Network.collapse
    monkeypatch.setattr(Network, "collapse", lambda self: wrong(right(self)))
    with pytest.raises(ConvertError, match="composed into one polynomial"):
        tnsim.convert(model)


def test_rounding_of_terms_that_cancel_is_not_taken_for_a_fault():
    big, small = (poly("W[out,in0]", W=w) for w in (1e8 * rand(3, 3), 1e-8 * rand(3, 3)))
    square = identity((("d", 3),), rand(1)) ** 2
    check_composed(
        Network((("0", big @ square - big @ square @ (1.0 * big) + small), ("1", square - square + small)))
    )
