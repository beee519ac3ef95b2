"""The normal form: the same function, without layers that a neighbour can take in."""

import pytest
import torch
from zoo import KINDS, linear, network, rand

from tnsim.algebra import Network, identity, poly, stack
from tnsim.algebra.networks.normal import absorbed, folded


def same(layers, x, want):
    net = Network(tuple((str(k), f) for k, f in enumerate(layers)))
    torch.testing.assert_close(net(x), want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ends", ["embed", "head", "both", "around"])
def test_folding_keeps_the_function_and_drops_affine_layers(kind, ends):
    net, x = network(**KINDS[kind]), rand(5, 3)
    layers = list(net.polys)
    if ends in ("embed", "both", "around"):
        layers.insert(0, linear(3, 3, bias=True))
    if ends in ("head", "both", "around"):
        layers.append(linear(layers[-1].out_shape[0], 1, bias=True))
    if ends == "around":
        layers = [linear(3, 3), *layers, linear(1, 1)]
    want = Network(tuple((str(k), f) for k, f in enumerate(layers)))(x)
    short = folded(layers)
    same(short, x, want)
    assert all(f.degree > 1 for f in short)
    assert all(len(f.terms) <= f.degree + 1 for f in short)  # one term for every degree


def test_what_narrows_the_input_or_widens_the_output_stays():
    narrow, block, wide = linear(9, 3), network(1).polys[0], linear(2, 7)
    assert [f.degree for f in folded([narrow, block, wide])] == [1, 2, 1]
    assert [f.degree for f in folded([linear(3, 9), linear(9, 3), block])] == [2]


def test_a_chain_of_affine_layers_is_one():
    layers = [linear(3, 5, bias=True), linear(5, 2), linear(2, 2, bias=True)]
    x = rand(4, 3)
    short = folded(layers)
    assert len(short) == 1
    same(short, x, Network(tuple((str(k), f) for k, f in enumerate(layers)))(x))


def test_runs_are_folded_model_by_model():
    nets = [network(2, embed=True, bias=True, residual=0.5) for _ in range(3)]
    x = rand(4, 3)
    same(folded(stack(nets).polys), x, torch.stack([net(x) for net in nets]))


def test_gains_are_part_of_the_weights_that_read_them():
    gain = rand(2)
    f = poly("D[out,h] L[h,in0] R[h,in1]", D=rand(3, 4), L=rand(4, 2), R=rand(4, 2))
    g = f @ (identity((("d", 2),), rand(1)) * gain)
    x = rand(5, 2)
    assert [len(t.tensors) for t in absorbed(g).terms] == [3]
    torch.testing.assert_close(absorbed(g)(x), f(x * gain))


def test_shared_weights_stay_shared():
    weight, gain = rand(4, 2), rand(2)
    f = poly("D[out,h] L[h,in0] R[h,in1]", D=rand(3, 4), L=weight, R=weight)
    (t,) = absorbed(f @ (identity((("d", 2),), rand(1)) * gain)).terms
    assert t.tensors[1].data is t.tensors[2].data


def test_gains_of_a_run():
    def make():
        f = poly("D[out,h] L[h,in0] R[h,in1]", D=rand(3, 4), L=rand(4, 2), R=rand(4, 2))
        return Network((("0", f @ (identity((("d", 2),), rand(1)) * rand(2))),))

    nets, x = [make() for _ in range(3)], rand(5, 2)
    f = absorbed(stack(nets)["0"])
    assert len(f.terms[0].tensors) == 3
    torch.testing.assert_close(f(x), torch.stack([net(x) for net in nets]))


def test_a_gain_on_a_wire_stays():
    x = rand(4, 3)
    f = identity((("d", 3),), rand(1)) * rand(3)
    torch.testing.assert_close(absorbed(f)(x), f(x))
    assert len(absorbed(f).terms[0].tensors) == 1
