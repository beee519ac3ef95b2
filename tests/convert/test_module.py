"""A network as a torch module again: it computes the same, trains, and is the network of what it learned."""

import copy

import pytest
import torch
from module_zoo import ZOO, build
from published_zoo import MODULES
from torch import nn
from zoo import KINDS, network

import tnsim
from tnsim.algebra.polys.claims import check_claims
from tnsim.common.wires import is_constant

NETS = [name for name in ZOO if name != "identity"]


def shaken(module, size=0.1):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(size * torch.randn_like(p))
    return module


@pytest.mark.parametrize("name", NETS)
def test_the_module_is_the_network_before_and_after_training(name):
    model, x = build(name)
    net = tnsim.convert(model, x[:1])
    module = net.to_module()
    assert torch.equal(module(x), net(x))
    assert not any(p.data_ptr() == q.data_ptr() for p in module.parameters() for q in model.parameters())
    again = tnsim.convert(shaken(module))
    assert again.names == net.names and torch.equal(again(x), module(x)) and not torch.equal(again(x), net(x))
    check_claims(
        again, 1e-16, 2**28
    )  # what is known of exchanges and units holds for the new weights as well
    assert again.dtype == "float64" and tnsim.convert(module, dtype=torch.float32).dtype == "float32"


@pytest.mark.parametrize("kind", [kind for kind, _ in MODULES], ids=lambda kind: kind.__name__)
def test_modules_as_people_publish_them(kind):
    shape = dict(MODULES)[kind]
    torch.manual_seed(0)
    x = torch.randn(4, *shape, dtype=torch.float64)
    net = tnsim.convert(kind().double().eval(), x[:1])
    module = net.to_module()
    assert torch.equal(module(x), net(x))
    again = tnsim.convert(shaken(module))
    torch.testing.assert_close(again(x), module(x), rtol=1e-12, atol=1e-12)
    check_claims(again, 1e-16, 2**28)


@pytest.mark.parametrize("kind", KINDS)
def test_networks_that_come_from_no_module(kind):
    net = network(**KINDS[kind])
    x = torch.randn(5, 3, dtype=torch.float64)
    assert torch.equal(net.to_module()(x), net(x))


def test_it_is_a_part_like_any_other():
    """Inside another module it is traced like one."""
    model, x = build("mlp bias")
    whole = nn.Sequential(shaken(tnsim.convert(model, x[:1]).to_module()), nn.Linear(3, 2).double())
    torch.testing.assert_close(tnsim.convert(whole, x[:1])(x), whole(x), rtol=1e-10, atol=1e-12)


def test_a_truncated_model_is_fine_tuned_and_truncated_again():
    """Fewer parameters, trained on the outputs of the large model: closer than before, and still a network."""
    torch.manual_seed(0)
    model, _ = build("mlp bias")
    cut = tnsim.truncate(model, rank=2)
    module = cut.network.to_module()
    x = torch.randn(512, 6, dtype=torch.float64)
    want = model(x).detach()
    optimiser = torch.optim.Adam(module.parameters(), lr=3e-3)
    for _ in range(150):
        optimiser.zero_grad()
        (module(x) - want).square().mean().backward()
        optimiser.step()
    tuned = tnsim.convert(module)
    assert float(tnsim.similarity(model, tuned)) > cut.similarity + 1e-3
    assert tuned.names == cut.network.names
    assert tnsim.truncate(tuned, rank=1).parameters[1] == cut.parameters[0]


class Causal(nn.Module):
    """Attention as many write it: a buffer under a name of its own, and a table of positions that is learned."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 4, bias=False) for _ in range(3))
        self.mix = nn.Parameter(torch.randn(3, 3))
        self.register_buffer("tril", torch.tril(torch.ones(3, 3)))

    def forward(self, x):
        scores = (self.q(x) @ self.k(x).transpose(-2, -1)).masked_fill(self.tril == 0, 0.0)
        return x + scores @ self.v(x) + self.mix @ x


def test_masks_do_not_train_and_weights_over_positions_do():
    torch.manual_seed(0)
    model = Causal().double()
    net = tnsim.convert(model, torch.zeros(1, 3, 4))
    module = shaken(net.to_module())
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in model.parameters())
    model.mix.requires_grad_(False).zero_()
    blind = shaken(tnsim.convert(model, torch.zeros(1, 3, 4)).to_module())
    x = torch.randn(1, 3, 4, dtype=torch.float64)
    later = x.clone()
    later[0, 2] += 1
    for m, looks_ahead in ((module, True), (blind, True)):  # through the learned table
        assert bool((m(x) - m(later))[0, :2].abs().max() > 1e-9) == looks_ahead
    table = next(p for name, p in blind.named_parameters() if "mix" in name)
    with torch.no_grad():
        table.zero_()
    assert (blind(x) - blind(later))[0, :2].abs().max() == 0  # and not through the mask


@pytest.mark.parametrize("name", [name for name in ZOO if name not in ("direct", "shape logic", "rule")])
def test_what_carries_gradients_is_what_trains(name):
    """Roles tell weights from constants, also where a conversion is under ``no_grad`` and tensors do not tell.

    Of three modules constants were merged into a bias or a linear part of the network, which trains as a whole.
    """
    model, x = build(name)
    for f in tnsim.convert(model, x[:1]).polys:
        for tensor in (tensor for t in f.terms for tensor in t.tensors):
            assert tensor.data.requires_grad != is_constant(tensor.tags), list(tensor.tags)
    frozen = tnsim.convert(model.requires_grad_(False), x[:1]).to_module()
    with torch.no_grad():
        bare = tnsim.convert(model, x[:1]).to_module()
    names = [[name for name, _ in m.named_parameters()] for m in (frozen, bare)]
    assert names[0] == names[1] and (names[0] or name == "identity")


def test_what_is_fixed_stays():
    model, x = build("mlp bias")
    net = tnsim.convert(model, x[:1])
    module = net.to_module(fixed="embed")
    assert {name for name, _ in net.to_module().named_parameters()} - {
        name for name, _ in module.named_parameters()
    } == {"embed/embed"}
    with pytest.raises(ValueError, match=r"fixed= names the roles \['emb'\]; this network has"):
        net.to_module(fixed=["emb"])


def test_it_does_what_modules_do(tmp_path):
    model, x = build("shared")
    module = tnsim.convert(model, x[:1]).to_module()
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in model.parameters())
    twin = copy.deepcopy(module)
    shaken(module)
    assert not torch.equal(twin(x), module(x))
    twin.load_state_dict(module.state_dict())
    assert torch.equal(twin(x), module(x))
    torch.save(module.state_dict(), tmp_path / "m.pt")
    assert torch.equal(tnsim.load(copy.deepcopy(twin), tmp_path / "m.pt")(x), module(x))
    assert copy.deepcopy(module).float()(x.float()).dtype == torch.float32
    assert "Network(degree" in repr(module)
    ids = torch.tensor([[0, 2], [4, 1]])
    words = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2)).double()
    assert torch.equal(tnsim.convert(words, ids).to_module()(ids), tnsim.convert(words, ids)(ids))


def test_a_stack_is_a_module_of_all_its_models():
    models = [tnsim.nn.BilinearLayer(4, 5, 3) for _ in range(3)]
    run = tnsim.stack([tnsim.convert(m) for m in models])
    x = torch.randn(7, 4, dtype=torch.float64)
    assert torch.equal(run.to_module()(x), run(x)) and run(x).shape == (3, 7, 3)


def test_its_layers_and_outputs_are_settled():
    module = network(2).to_module()
    with pytest.raises(tnsim.ConvertError, match="a network already"):
        tnsim.convert(module, cut=[])
    with torch.no_grad():
        module.get_parameter(next(iter(dict(module.named_parameters())))).fill_(float("nan"))
    with pytest.raises(tnsim.ConvertError, match="NaN or infinite"):
        tnsim.convert(module)
