import pytest
import torch
from zoo import network, rand

import tnsim


def test_weight_cosine_by_hand():
    a, b = tnsim.nn.BilinearLayer(3, 4, 2), tnsim.nn.BilinearLayer(3, 4, 2)
    u, v = (torch.nn.utils.parameters_to_vector(m.parameters()).double() for m in (a, b))
    torch.testing.assert_close(tnsim.weight_cosine(a, b), torch.cosine_similarity(u, v, dim=0))
    net = network(1)
    assert tnsim.weight_cosine(net, net).item() == pytest.approx(1)


def test_output_cosine_by_hand():
    f, g = torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 2.0], [6.0, 8.0]])
    assert tnsim.output_cosine(f, g).item() == pytest.approx(0.5)


def test_cka_is_blind_to_rotation_scale_and_shift_and_to_nothing_else():
    f = rand(50, 4)
    q = torch.linalg.qr(rand(4, 4)).Q
    assert tnsim.linear_cka(f, 3 * f @ q + 1).item() == pytest.approx(1)
    assert tnsim.linear_cka(f, f @ torch.diag(torch.tensor([9.0, 1, 1, 1]).double())) < 0.9
    g = rand(50, 3)
    k, m = (h @ h.T for h in (f - f.mean(0), g - g.mean(0)))
    expected = (k * m).sum() / (k.norm() * m.norm())
    torch.testing.assert_close(tnsim.linear_cka(f, g), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tnsim.weight_cosine(network(1), network(1, hidden=5)), "same shapes"),
        (lambda: tnsim.output_cosine(rand(3, 2), rand(3, 4)), r"need outputs of shapes \(N, o\)"),
        (lambda: tnsim.linear_cka(rand(3, 2), rand(4, 2)), r"need outputs of shapes \(N, p\)"),
        (lambda: tnsim.linear_cka(rand(3, 2) * float("nan"), rand(3, 2)), "not finite"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
