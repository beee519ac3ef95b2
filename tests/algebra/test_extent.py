"""Extent: which networks are best left in their own units."""

import dataclasses

import pytest
import torch

import tnsim
from tnsim.algebra.networks.extents import extent
from tnsim.analysis.asking.units import in_units


def network(layers=2, gain=1.0, width=4):
    torch.manual_seed(layers)
    m = tnsim.nn.BilinearMLP(width, width, width, 3, n_layer=layers, bias=True).double().requires_grad_(False)
    net = tnsim.convert(m)
    return dataclasses.replace(net, layers=tuple((k, f * gain) for k, f in net.layers))


def test_a_model_of_usual_size_stays_as_it_is():
    net = network()
    (same,), law, (e,) = in_units((net,), None)
    assert same is net and e.item() == 0 and isinstance(law, tnsim.Gaussian)
    cov = torch.eye(4, dtype=torch.float64) * 4
    assert in_units((net,), tnsim.Gaussian(cov=cov))[0][0] is net


@pytest.mark.parametrize("gain", [2.0**60, 2.0**-60, float("nan")])
def test_others_do_not(gain):
    net = network(gain=gain)
    assert not extent(net).moderate()
    assert in_units((net,), None)[0][0] is not net


def test_a_law_of_unusual_size():
    net = network()
    wide = tnsim.Gaussian(cov=torch.eye(4, dtype=torch.float64) * 2.0**200)
    assert in_units((net,), wide)[0][0] is not net
    plain = tnsim.similarity(
        net, network(layers=1), under=tnsim.Gaussian(cov=torch.eye(4, dtype=torch.float64))
    )
    assert torch.isfinite(plain)


def test_layer_by_layer_asks_for_less():
    """Layers that are composed multiply their weights; layers that a law is pushed through do not."""
    deep = network(layers=7)
    assert extent(deep).moderate(layerwise=True) and not extent(deep).moderate()


def test_units_change_no_answer():
    """A last layer times a power of two is the same function up to that factor, moderate or not."""
    a, b = network(), network(layers=1)
    *front, (name, last) = a.layers
    big = dataclasses.replace(a, layers=(*front, (name, last * 2.0**300)))
    assert extent(a).moderate() and not extent(big).moderate()
    for under in (None, tnsim.Gaussian(mean=torch.ones(4, dtype=torch.float64))):
        want = tnsim.similarity(a, b, under=under)
        torch.testing.assert_close(tnsim.similarity(big, b, under=under), want, rtol=1e-12, atol=0)


def test_weights_that_change_in_place_are_measured_again():
    net = network()
    assert extent(net).moderate()
    for x in net.polys[1].arrays():
        x.mul_(2.0**200)
    assert not extent(net).moderate()


def test_one_model_of_a_run_is_enough():
    calm, wild = network(), network()
    wild.polys[0].like.mul_(2.0**200)
    assert extent(tnsim.stack([calm, calm])).moderate()
    assert not extent(tnsim.stack([calm, wild])).moderate()


def test_weights_without_a_version_are_measured_every_time():
    """Tensors of inference mode do not tell whether they have changed; arrays of numpy do not either."""
    with torch.inference_mode():
        net = network()
        assert extent(net).moderate() and torch.isfinite(tnsim.similarity(net, network(layers=1)))
        net.polys[1].like.mul_(2.0**200)
        assert not extent(net).moderate()
    net = network()
    layers = tuple((name, f.mapped(lambda x: x.numpy().copy())) for name, f in net)
    plain = dataclasses.replace(net, layers=layers)
    assert extent(plain).moderate()
    plain.polys[1].like[:] *= 2.0**200
    assert not extent(plain).moderate()
