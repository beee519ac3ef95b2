"""Where a model is cut into layers, and what they are called. Values do not depend on it; pictures do."""

import pytest
import torch
from modules import Forward, fails, p
from torch import nn

import tnsim
from tnsim.convert import convert
from tnsim.nn import BilinearClassifier, BilinearLayer, BilinearMLP

torch.set_num_threads(1)


class Square(nn.Module):
    def forward(self, x):
        return x**2


def lin(n=4, m=4):
    return nn.Linear(n, m)


def blocks(n=2):
    return nn.ModuleList(BilinearLayer(4, 5, 4) for _ in range(n))


def loop(self, x):
    for block in self.blocks:
        x = x + block(x)
    return x


def tower(self, x):
    return self.head(loop(self, self.embed(x)))


def carried(self, x):
    return self.c(self.b(self.a(x)) * self.a(x) + x)


CASES = {
    "bilinear layer": (lambda: BilinearLayer(3, 4, 2), ["l+r+d"]),
    "classifier": (lambda: BilinearClassifier(6, 4, 3), ["w+head"]),
    "mlp": (lambda: BilinearMLP(6, 4, 5, 3, 2), ["embed", "blocks.0", "blocks.1", "head"]),
    "residual mlp": (
        lambda: BilinearMLP(6, 4, 5, 3, 2, "add", bias=True),
        ["embed", "blocks.0", "blocks.1", "head"],
    ),
    "residual in the parent": (
        lambda: Forward(tower, embed=lin(6), blocks=blocks(), head=lin()),
        ["embed", "blocks.0", "blocks.1", "head"],
    ),
    "learned gain": (
        lambda: Forward(lambda s, x: x + s.gain * s.block(x), gain=p(), block=BilinearLayer(4, 5, 4)),
        ["block"],
    ),
    "one linear": (lambda: nn.Linear(3, 2), ["linear"]),
    "one linear inside": (lambda: Forward(lambda s, x: s.w(x), w=lin()), ["w"]),
    "linears": (lambda: Forward(lambda s, x: s.b(s.a(x)), a=lin(), b=lin()), ["a", "b"]),
    "projection, then head": (
        lambda: Forward(lambda s, x: s.head(s.d(s.l(x) * s.r(x))), l=lin(), r=lin(), d=lin(), head=lin()),
        ["l+r+d", "head"],
    ),
    "scaled product": (lambda: Forward(lambda s, x: s.d(s.l(x) ** 2 / 3), l=lin(), d=lin()), ["l+d"]),
    "product in a child": (
        lambda: nn.Sequential(lin(), Square(), lin(), Square(), lin()),
        ["0", "2", "4"],
    ),
    "residual product": (
        lambda: Forward(lambda s, x: s.head(x + s.l(x) * s.r(x)), l=lin(), r=lin(), head=lin()),
        ["l+r", "head"],
    ),
    "nested sequential": (
        lambda: nn.Sequential(nn.Sequential(lin(), BilinearLayer(4, 5, 4)), lin()),
        ["0.0", "0.1", "1"],
    ),
    "sequential child": (
        lambda: Forward(
            lambda s, x: s.head(s.net(x)), net=nn.Sequential(lin(), BilinearLayer(4, 5, 4)), head=lin()
        ),
        ["net.0", "net.1", "head"],
    ),
    "shared": (
        lambda: Forward(lambda s, x: s.head(s.b(s.b(s.b(x)))), b=BilinearLayer(4, 5, 4), head=lin()),
        ["b", "b#2", "b#3", "head"],
    ),
    "wrapper": (
        lambda: Forward(lambda s, x: s.model(x.flatten(1) / 255), model=BilinearMLP(6, 4, 5, 3, 1)),
        ["model.embed", "model.blocks.0", "model.head"],
    ),
    "wrapper of one layer": (
        lambda: Forward(lambda s, x: s.inner(x), inner=BilinearLayer(4, 5, 4)),
        ["inner"],
    ),
    "wrapper of a wrapper": (
        lambda: nn.Sequential(Forward(lambda s, x: s.m(x), m=nn.Sequential(lin(), lin()))),
        ["0.m.0", "0.m.1"],
    ),
    "flatten and reshape": (
        lambda: nn.Sequential(
            nn.Flatten(), lin(), nn.Unflatten(1, (2, 2)), nn.Flatten(), nn.Dropout(0.0), lin()
        ),
        ["1", "5"],
    ),
    "parameters": (lambda: Forward(lambda s, x: (x @ s.W) @ s.V, W=p(4, 5), V=p(5, 4)), ["W", "V"]),
    "parameters of a product": (
        lambda: Forward(lambda s, x: ((x @ s.L) * (x @ s.R)) @ s.D, L=p(4, 5), R=p(4, 5), D=p(5, 2)),
        ["L+R+D"],
    ),
    "branches that meet": (
        lambda: Forward(carried, a=lin(), b=BilinearLayer(4, 5, 4), c=lin()),
        ["a+b", "c"],
    ),
    "too many to name": (
        lambda: Forward(lambda s, x: s.z(sum(h(x) for h in s.hs)), hs=blocks(5), z=lin()),
        ["layer0", "z"],
    ),
    "nothing but a square": (lambda: Forward(lambda s, x: s.sq(x[:, :3]), sq=Square()), ["sq"]),
    "unused parts": (
        lambda: Forward(lambda s, x: (s.b(x).relu(), s.a(x))[1], a=lin(), b=lin()),
        ["a"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_layers(name):
    make, expected = CASES[name]
    torch.manual_seed(0)
    model = make().double()
    example = torch.zeros(4) if name == "nothing but a square" else None
    net = convert(model, example)
    assert list(net.names) == expected
    x = torch.randn(3, *net.in_shape, dtype=torch.float64)
    assert torch.allclose(net(x), model(x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["mlp", "residual mlp", "residual in the parent"])
def test_a_layer_is_what_its_module_computes(name):
    """The cut is at the tensors between the children, not somewhere near them."""
    make, _ = CASES[name]
    model = make().double()
    net = convert(model)
    x = torch.randn(3, *net["blocks.1"].in_shape, dtype=torch.float64)
    want = model.blocks[1](x) + (x if name == "residual in the parent" else 0)
    assert torch.allclose(net["blocks.1"](x), want, rtol=1e-10, atol=1e-12)
    x = torch.randn(3, 6, dtype=torch.float64)
    assert torch.allclose(net[:1](x), model.embed(x))


class Two(nn.Module):
    """Two residual products in one module."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (
            BilinearLayer(4, 5, 4),
            nn.ModuleDict(dict(up=lin(4, 6), gate=lin(4, 6), down=lin(6, 4))),
        )

    def attend(self, x):
        return x + self.first(x)

    def mix(self, x):
        return x + self.second["down"](self.second["up"](x) * self.second["gate"](x))

    def forward(self, x):
        return self.mix(self.attend(x))


class Part(nn.Module):
    def __init__(self, owner, run):
        super().__init__()
        self.owner, self.run = owner, run

    def forward(self, x):
        return getattr(self.owner, self.run)(x)


def written_otherwise(block):
    """The same function as its own modules tell it: nested, in parts of their own, or without any."""
    yield block
    yield nn.Sequential(block)
    yield nn.Sequential(Part(block, "attend"), Part(block, "mix"))
    yield nn.Sequential(nn.Sequential(nn.Identity(), nn.Sequential(block)), nn.Identity())
    yield Forward(lambda s, x: block.mix(block.attend(x)), block=block)


def test_two_residual_products_in_one_module_are_two_layers():
    model = Forward(lambda s, x: s.head(s.b(s.a(x))), a=Two(), b=Two(), head=lin()).double()
    net = convert(model)
    assert list(net.names) == [
        "a.first",
        "a.second.up+second.gate+second.down",
        "b.first",
        "b.second.up+second.gate+second.down",
        "head",
    ]
    x = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(net["a"](x), model.a(x))
    assert len(net["b"]) == 2
    with pytest.raises(KeyError):
        net["c"]


def test_values_do_not_depend_on_modules():
    torch.manual_seed(0)
    other = convert(Two().double())
    blocks = list(written_otherwise(Two().double()))
    nets = [convert(m, torch.zeros(1, 4)) for m in blocks]
    values = [tnsim.similarity(net, other, method="layerwise") for net in nets]
    assert all(len(net) == 2 for net in nets)
    torch.testing.assert_close(torch.stack(values), values[0].expand(len(values)), rtol=1e-12, atol=1e-12)


def test_degrees_do_not_depend_on_the_grouping():
    assert convert(BilinearMLP(6, 4, 5, 3, 3)).degree == 8


def test_each_bilinear_layer_is_one_term():
    net = convert(BilinearMLP(6, 4, 5, 3, 2))
    assert [len(f.terms) for f in net.polys] == [1, 1, 1, 1]
    net = convert(BilinearMLP(6, 4, 5, 3, 2, "add"))
    assert [len(f.terms) for f in net.polys] == [1, 2, 2, 1]


def test_two_products_without_weights_are_two_layers():
    models = [
        nn.Sequential(lin(), Square(), Square()),
        Forward(lambda s, x: s.sq(s.a(x) ** 2), a=lin(), sq=Square()),
        Forward(lambda s, x: (s.a(x) ** 2) ** 2, a=lin()),
        nn.Sequential(nn.Sequential(lin(), Square()), nn.Sequential(Square())),
    ]
    for model in models:
        net = convert(model.double(), torch.zeros(1, 4))
        assert [f.degree for f in net.polys] == [2, 2]


def chain():
    torch.manual_seed(0)
    return (
        Forward(
            lambda s, x: s.head(s.blocks[1](s.blocks[0](s.embed(x)))),
            embed=lin(6),
            blocks=nn.ModuleList(Two() for _ in range(2)),
            head=lin(4, 2),
        )
        .double()
        .eval()
    )


def runs(net):
    """What the recursion sees: degrees of the layers with products."""
    return [f.degree for f in net.polys if f.degree > 1]


def test_the_same_forward_in_other_modules():
    """As one module, as several, as Sequential: the same cuts, and the same similarity layer by layer."""
    law = tnsim.Gaussian(mean=torch.ones(6, dtype=torch.float64))
    model, other = chain(), convert(chain().requires_grad_(False), torch.zeros(1, 6))
    torch.manual_seed(1)
    with torch.no_grad():
        for q in model.parameters():
            q.add_(torch.randn_like(q) / 3)
    b = model.blocks

    def flat(s, x):
        x = s.m.embed(x)
        for block in s.m.blocks:
            x = x + block.first(x)
            x = x + block.second["down"](block.second["up"](x) * block.second["gate"](x))
        return s.m.head(x)

    written = [
        model,
        Forward(flat, m=model),
        nn.Sequential(nn.Sequential(model.embed, b[0]), nn.Sequential(nn.Sequential(b[1]), model.head)),
        nn.Sequential(
            model.embed, *(Part(block, run) for block in b for run in ("attend", "mix")), model.head
        ),
    ]
    nets = [convert(m, torch.zeros(1, 6)) for m in written]
    assert all(runs(net) == [2] * 4 for net in nets)
    with torch.no_grad():
        values = torch.stack([tnsim.similarity(net, other, method="layerwise", under=law) for net in nets])
    torch.testing.assert_close(values, values[:1].expand(len(values)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("cut", "names", "degrees"),
    [
        ("blocks.*", ["embed", "blocks.0", "blocks.1", "head"], [1, 4, 4, 1]),
        (["blocks.1"], ["layer0", "blocks.1", "head"], [4, 4, 1]),
        (["embed", "blocks.*.first", "head"], None, [1, 2, 2, 2, 2, 1]),
    ],
)
def test_fewer_cuts(cut, names, degrees):
    model = chain()
    net = convert(model, torch.zeros(1, 6), cut=cut)
    assert [f.degree for f in net.polys] == degrees
    assert names is None or list(net.names) == names
    x = torch.randn(3, 6, dtype=torch.float64) / 10
    torch.testing.assert_close(net(x), model(x))


def test_one_layer_of_what_is_small():
    model = Forward(lambda s, x: s.head(s.b(s.a(x))), a=Two(), b=BilinearLayer(4, 5, 4), head=lin()).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    for cut, names in (([], ["layer0"]), ("a", ["a", "b+head"]), (("a", "head"), ["a", "b", "head"])):
        net = convert(model, torch.zeros(1, 4), cut=cut)
        assert list(net.names) == names
        torch.testing.assert_close(net(x), model(x))
    assert len(convert(model, torch.zeros(1, 4), cut=[]).polys) == 1


def test_a_module_called_again_is_cut_out_every_time():
    torch.manual_seed(0)
    model = Forward(lambda s, x: s.block(s.block(x)), block=Two()).double()
    net = convert(model, torch.zeros(1, 4), cut="block")
    assert list(net.names) == ["block", "block#2"] and [f.degree for f in net.polys] == [4, 4]


def test_what_cannot_be_cut():
    model = Forward(lambda s, x: s.head(x + s.a(x)), a=BilinearLayer(4, 5, 4), head=lin())
    fails(model, "'a.l'", "all data passes", example=torch.zeros(1, 4), cut="a.l")
    fails(model, "names no module", "Did you mean 'head'", example=torch.zeros(1, 4), cut=["heads"])
    fails(model, "cut=3", "blocks.*", example=torch.zeros(1, 4), cut=3)
