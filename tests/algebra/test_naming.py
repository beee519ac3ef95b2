"""Names of indices: renaming is injective, whatever layers and inner indices are called."""

import pytest
import quimb.tensor as qtn
import torch
from oracle import nodes
from torch import nn
from zoo import rand

import tnsim
from tnsim.algebra import Network, Poly, WireError, identity, poly
from tnsim.algebra.polys.axes import tie
from tnsim.algebra.polys.derivative import jacobian
from tnsim.algebra.polys.rewriting import lift
from tnsim.algebra.terms.term import Term, canonical, compose, multiply
from tnsim.common.wires import avoiding, rename

HOSTILE = (
    "hid:h",
    "hid1:h",
    "0/hid:h",
    "0x/hid:h",
    "1/hid:h",
    "a/hid:h",
    "in0:d",
    "in1:d",
    "out:d",
    "0/out:d",
    "pick:d",
)


def test_what_is_in_the_way_steps_aside():
    full = avoiding({"a:d": "hid:h", "b:d": "a:d"}, ["a:d", "b:d", "hid:h", "hid1:h", "x/hid:h"])
    names = rename(["a:d", "b:d", "hid:h", "hid1:h", "x/hid:h"], full)
    assert names[:2] == ("hid:h", "a:d") and len(set(names)) == 5


def test_merging_is_refused():
    with pytest.raises(WireError, match="merge"):
        avoiding({"a:d": "c:d", "b:d": "c:d"}, ["a:d", "b:d"])
    with pytest.raises(WireError, match="merge"):
        avoiding({"a:d": "b:d"}, ["a:d", "b:d"], kept={"b:d"})
    t = Term((qtn.Tensor(rand(2, 2), ("out:d", "in0:d")),), (("in0:d",),), ("out:d",))
    with pytest.raises(WireError, match="merge"):
        t.renamed({"in0:d": "out:d"})
    with pytest.raises(WireError, match="not all different"):
        Term((qtn.Tensor(rand(2), ("out:d",)),), (), ("out:d", "out:d"))


def layers(names):
    """D((Lx)∘(Rx)), and V(x + U x²) with a wire as its legs, under given names of inner indices and of the wire."""
    inner, wire = names
    star = Term(
        (
            qtn.Tensor(rand(3, 4, seed=1), ("out:d", inner)),
            qtn.Tensor(rand(4, 3, seed=2), (inner, "in0:d")),
            qtn.Tensor(rand(4, 3, seed=3), (inner, "in1:d")),
        ),
        (("in0:d",), ("in1:d",)),
        ("out:d",),
    )
    squares = Term(
        (qtn.Tensor(rand(3, 5, seed=4), ("out:d", "mid:h")), qtn.Tensor(rand(5, 3, seed=5), ("mid:h", wire))),
        ((wire,), (wire,)),
        ("out:d",),
    )
    space = (("d", 3),)
    return Poly((star,), space, space), Poly((squares, *identity(space, rand(1)).terms), space, space)


INNER = [ix for ix in HOSTILE if ix not in ("in0:d", "in1:d", "out:d")]
PAIRS = [(a, b) for k, a in enumerate(INNER) for b in (a, HOSTILE[k - 2], "in0:d") if a != b and b != "out:d"]


@pytest.mark.parametrize("names", PAIRS, ids="|".join)
def test_no_operation_depends_on_names(names):
    x = rand(6, 3, seed=9)
    want, got = layers(("hid:h", "wire:h")), layers(names)
    for f, g in ((want, got), (want[::-1], got[::-1])):
        torch.testing.assert_close((g[0] @ g[1])(x), f[0](f[1](x)))
        torch.testing.assert_close((g[0] * g[1])(x), f[0](x) * f[1](x))

        torch.testing.assert_close(jacobian(g[1])(x), torch.func.vmap(torch.func.jacrev(f[1]))(x))
        one = torch.cat([torch.ones(6, 1, dtype=x.dtype), x], -1)
        torch.testing.assert_close(lift(g[1])(one)[:, 1:], f[1](x))
        torch.testing.assert_close((g[0] @ (g[1] * g[1]))(x), f[0](f[1](x) ** 2))
        for own in (("0", "1"), ("a", "0"), ("hid", "out"), ("ket", "bra"), ("in0", "0x")):
            net = Network(tuple(zip(own, g, strict=True)))
            torch.testing.assert_close(net.collapse()(x), f[1](f[0](x)))
    net = Network((("0", got[0]), ("1", got[1])))
    xw, w = nodes(3, 8)
    values = want[1](want[0](xw))
    torch.testing.assert_close(tnsim.moments(net), values.T * w @ values, rtol=1e-10, atol=1e-9)


def test_composing_keeps_a_leg_that_names_one_index_twice():
    """A leg that reads the diagonal of two positions."""
    space = (("s", 3), ("s1", 3), ("d", 2))
    trace = tie(identity(space, rand(1)), 0, 1)
    net = Network((("0", identity(space, rand(1)) * rand(3, 3, 2)), ("1", trace)))
    x = rand(4, 3, 3, 2)
    torch.testing.assert_close(net.collapse()(x), net(x))


def test_terms_that_are_not_nested_keep_apart():
    a = Term(
        (qtn.Tensor(rand(2, 2), ("out:d", "0/hid:h")), qtn.Tensor(rand(2, 2), ("0/hid:h", "in0:d"))),
        (("in0:d",),),
        ("out:d",),
    )
    b = Term(
        (qtn.Tensor(rand(2), ("0/hid:h",)), qtn.Tensor(rand(2, 2), ("0/hid:h", "out:d"))), (), ("out:d",)
    )
    x = rand(5, 2)
    f, g = (Poly((t,), (("d", 2),), (("d", 2),)) for t in (a, b))
    for s, t in ((a, b), (b, a), (a, a)):
        p = Poly((canonical(multiply(s, t), ["d"]),), (("d", 2),), (("d", 2),))
        u, v = (f if y is a else g for y in (s, t))
        torch.testing.assert_close(p(x), u(x) * v(x))
    torch.testing.assert_close(Poly((compose(a, [a]),), (("d", 2),), (("d", 2),))(x), f(f(x)))
    torch.testing.assert_close(Poly((compose(a, [b]),), (("d", 2),), (("d", 2),))(x), f(g(x)))


def test_a_selection_of_a_selection():
    f = identity((("d", 5),), rand(1))
    x = rand(3, 5)
    torch.testing.assert_close(f[1:4][[2, 0]][1](x), x[:, 1])
    torch.testing.assert_close((f * f)[1:4][[2, 0]](x), x[:, [3, 1]] ** 2)


def test_truncating_nothing_is_exact_whatever_the_layers_are_called():
    torch.manual_seed(0)
    square = poly("V[out,a] C[a,in0]", V=rand(4, 4), C=torch.tril(torch.ones(4, 4, dtype=torch.float64)))
    f = square @ (identity((("d", 4),), rand(1)) ** 2)
    net = Network((("0", f), ("1", poly("W[out,in0]", W=rand(3, 4)))))
    whole = tnsim.truncate(net, rank=4)
    assert whole.error == 0 and whole.similarity == 1
    small = tnsim.truncate(net, rank=2)
    x, w = nodes(4, 8)
    gap = (w[:, None] * (net(x) - small.network(x)) ** 2).sum() / (w[:, None] * net(x) ** 2).sum()
    torch.testing.assert_close(small.error, float(gap.detach()) ** 0.5, rtol=1e-9, atol=0)


class Shared(nn.Module):
    """Sums of squares beside the input, in layers that a Sequential calls 0, 1, …"""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        return self.head(x + (x**2).sum(-1, keepdim=True))


@pytest.mark.parametrize("depth", [1, 2])
def test_a_module_and_quadrature_agree(depth):
    torch.manual_seed(0)
    a, b = (nn.Sequential(*(Shared() for _ in range(depth))).double() for _ in range(2))
    x, w = nodes(3, 8)
    with torch.no_grad():
        dot = lambda f, g: (w[:, None] * f(x) * g(x)).sum()  # noqa: E731
        want = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        got = tnsim.similarity(a, b)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


class Called(nn.Module):
    """A bilinear layer whose factors have names of their own."""

    def __init__(self, left, right, gain):
        super().__init__()
        self.called = left, right, gain
        self.add_module(left, nn.Linear(4, 5))
        self.add_module(right, nn.Linear(4, 5))
        self.register_parameter(gain, nn.Parameter(torch.randn(5)))
        self.d = nn.Linear(5, 3)

    def forward(self, x):
        left, right, gain = (getattr(self, name) for name in self.called)
        return self.d(left(x) * right(x) * gain)


@pytest.mark.parametrize("names", [("I", "pick", "view"), ("pick", "place", "I"), ("view", "ONE", "c")])
def test_no_name_makes_a_weight_a_wire(names):
    """Wires are left as they are where models are stacked, counted and split; weights never are."""

    def asked(*called):
        torch.manual_seed(0)
        models = [Called(*called).double() for _ in range(3)]
        small = tnsim.truncate(models[0], rank=2)
        return tnsim.gram(models).matrix, torch.tensor([*small.parameters, small.error])

    for mine, usual in zip(asked(*names), asked("l", "r", "g"), strict=True):
        torch.testing.assert_close(mine, usual, rtol=1e-12, atol=1e-12)


def test_no_name_of_a_factor_or_a_layer_makes_a_weight_a_wire():
    def run(factor, layer):
        torch.manual_seed(0)
        weights = [torch.randn(3, 4, dtype=torch.float64) for _ in range(3)]
        return [Network(((layer, tnsim.poly(f"{factor}[out,in0]", **{factor: w})),)) for w in weights]

    assert torch.equal(tnsim.gram(run("I", "I")).matrix, tnsim.gram(run("W", "layer")).matrix)
