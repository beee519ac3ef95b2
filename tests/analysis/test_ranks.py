"""Ranks of bonds: beside eigenvalues of covariances by quadrature, and where they are known beforehand."""

import inspect
import subprocess
import sys

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.colors import to_hex
from oracle import nodes
from torch import nn

import tnsim
from tnsim.algebra.networks.network import Network

torch.set_num_threads(1)


class Net(nn.Module):
    """An embedding, layers with residuals and biases, a head."""

    def __init__(self, d=4, width=3, hidden=5, out=2, n_layer=1, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.embed, self.head = nn.Linear(d, width), nn.Linear(width, out)
        self.blocks = nn.ModuleList(Block(width, hidden) for _ in range(n_layer))
        self.double()

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Block(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.left, self.right, self.down = (
            nn.Linear(width, hidden),
            nn.Linear(width, hidden),
            nn.Linear(hidden, width),
        )

    def forward(self, x):
        return x + self.down(self.left(x) * self.right(x))


def states(model, x):
    """What the module's own layers put out on x, by the names of bonds."""
    found = {}
    with torch.no_grad():
        h = found["embed"] = model.embed(x)
        for k, block in enumerate(model.blocks):
            found[f"blocks.{k}.hidden"] = block.left(h) * block.right(h)
            h = found[f"blocks.{k}"] = block(h)
        found["head"] = model.head(h)
    return found


def shares(h, w, centred=True):
    z = h - w @ h if centred else h
    values = torch.linalg.eigvalsh((z.T * w) @ z).flip(0)
    return values / values.sum()


def entropy_rank(p):
    p = p[p > 0]
    return float(torch.exp(-(p * p.log()).sum()))


COV = torch.tensor(
    [[2.0, 0.5, 0, 0], [0.5, 1, 0.2, 0], [0, 0.2, 0.7, 0], [0, 0, 0, 1.5]], dtype=torch.float64
)
MEAN = torch.tensor([0.3, -1.0, 0.5, 0.0], dtype=torch.float64)
LAWS = {"standard": (None, None), "with mean": (MEAN, None), "any": (MEAN, COV)}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("centred", [True, False])
def test_up_to_the_first_nonlinear_layer_it_is_quadrature(law, centred):
    model, (mean, cov) = Net(), LAWS[law]
    found = tnsim.convert(model).ranks(tnsim.Gaussian(mean, cov), centred=centred)
    x, w = nodes(4, 4, mean, cov)
    want = {name: shares(h, w, centred) for name, h in states(model, x).items()}
    assert found.places == ("embed", "blocks.0.hidden", "blocks.0", "head") and all(found.exact)
    for name, got in zip(found.places, found.spectra, strict=True):
        torch.testing.assert_close(got, want[name].clamp(min=0), rtol=1e-10, atol=1e-10)
        assert found.effective[name] == pytest.approx(entropy_rank(want[name].clamp(min=1e-30)), abs=1e-9)


def test_deeper_it_says_that_it_is_approximate_and_exactly_it_is_quadrature():
    model = Net(d=3, n_layer=2)
    net = tnsim.convert(model)
    near, exact = net.ranks(), net.ranks(method="exact")
    x, w = nodes(3, 8)
    want = {name: shares(h, w) for name, h in states(model, x).items()}
    sure = dict(zip(near.places, near.exact, strict=True))
    assert [name for name, is_sure in sure.items() if is_sure] == ["embed", "blocks.0.hidden", "blocks.0"]
    assert "exact for 3 of 6 bonds" in repr(near) and repr(near).count("(approximate)") == 3
    assert all(exact.exact) and "approximate" not in repr(exact)
    for k, name in enumerate(exact.places):
        torch.testing.assert_close(exact.spectra[k], want[name].clamp(min=0), rtol=1e-10, atol=1e-10)
        if sure[name]:
            torch.testing.assert_close(near.spectra[k], exact.spectra[k], rtol=1e-10, atol=1e-12)
    off = (near.spectra[-1] - exact.spectra[-1]).abs().max()
    assert off > 1e-4  # an approximation that is none would not be worth a word


def test_of_samples_it_is_exact_at_any_depth():
    model, x = Net(n_layer=3), torch.randn(50, 4, dtype=torch.float64) + 100
    found = tnsim.convert(model).ranks(tnsim.Empirical(x))
    assert all(found.exact)
    for name, got in zip(found.places, found.spectra, strict=True):
        want = torch.linalg.svdvals((h := states(model, x)[name]) - h.mean(0)) ** 2
        torch.testing.assert_close(got, want / want.sum(), rtol=1e-6, atol=1e-9)


def test_a_mixture_is_the_law_of_both():
    model = Net()
    laws = (tnsim.Gaussian(MEAN), tnsim.Gaussian(-2 * MEAN, COV))
    found = tnsim.convert(model).ranks(tnsim.Mixture(laws, (0.3, 0.7)))
    (x, v), (y, w) = nodes(4, 4, MEAN), nodes(4, 4, -2 * MEAN, COV)
    points, weights = torch.cat([x, y]), torch.cat([0.3 * v, 0.7 * w])
    for name, got in zip(found.places, found.spectra, strict=True):
        torch.testing.assert_close(got, shares(states(model, points)[name], weights), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("law", [tnsim.Gaussian(), tnsim.Gaussian(MEAN, COV), "samples"], ids=str)
def test_a_weight_of_rank_two_leaves_rank_two(law):
    """In float32, as training leaves it: what rounding adds to a weight of low rank is not counted."""
    model = Net(width=6, hidden=7, out=5).float()
    torch.manual_seed(3)
    if law == "samples":
        law = tnsim.Empirical(torch.randn(60, 4))
    with torch.no_grad():
        model.embed.weight.copy_(torch.randn(6, 2) @ torch.randn(2, 4))
    found = tnsim.convert(model).ranks(law)
    # of two directions: two linear functions; of their three products with them, as many as there are: five
    assert found.hard() == {"embed": 2, "blocks.0.hidden": 5, "blocks.0": 5, "head": 5}
    assert found.widths == {"embed": 6, "blocks.0.hidden": 7, "blocks.0": 6, "head": 5}
    assert 1 < found.effective["embed"] <= 2


def test_equal_directions_count_one_each_and_nothing_counts_none():
    flat = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)).double()
    with torch.no_grad():
        flat[0].weight.copy_(torch.eye(3))
        flat[1].weight.zero_()  # its bias alone is left, which no input changes
    for law in (
        tnsim.Gaussian(),
        tnsim.Gaussian(MEAN[:3]),
        tnsim.Empirical(torch.eye(3, dtype=torch.float64)),
    ):
        found = tnsim.convert(flat).ranks(law)
        last = found.places[-1]
        assert found.hard()[last] == 0 and found.effective[last] == 0.0
    net = Network((("first", tnsim.poly("W[out,in0]", W=torch.eye(3, dtype=torch.float64))),))
    assert net.ranks().effective["first"] == pytest.approx(3, abs=1e-12)
    assert net.ranks(at="in").hard() == {"in": 3}


@pytest.mark.parametrize("size", [1e-60, 1e60])
def test_no_size_of_the_weights_matters(size):
    model = Net(n_layer=2)
    want = tnsim.convert(model).ranks()
    with torch.no_grad():
        model.head.weight.mul_(size)
        model.head.bias.mul_(size)
    got = tnsim.convert(model).ranks()
    for a, b in zip(got.spectra, want.spectra, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_single_places():
    net = tnsim.convert(Net(n_layer=2))
    every = net.ranks()
    for at in ("blocks.0", ["blocks.0.hidden"], ("blocks.1.hidden", "embed")):
        found = net.ranks(at=at)
        assert found.places == ((at,) if isinstance(at, str) else tuple(at))
        for name, p, sure in zip(found.places, found.spectra, found.exact, strict=True):
            k = every.places.index(name)
            torch.testing.assert_close(p, every.spectra[k])
            assert sure == every.exact[k]
    assert torch.equal(net.ranks(at="out").spectra[0], net.ranks(at="head").spectra[0])


def test_sequences_have_bonds_of_all_positions_and_tokens_are_summed_over():
    torch.manual_seed(0)
    model = tnsim.nn.Transformer(n_vocab=3, d_model=4, n_head=2, n_ctx=2, blocks=("attn",)).double()
    ids = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    net = tnsim.convert(model, ids[:1])
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    found = net.ranks(tnsim.Tokens(p))
    assert all(found.exact)
    for name, got in zip(found.places, found.spectra, strict=True):
        with torch.no_grad():
            h = net[: list(net.names).index(name) + 1](ids).reshape(9, -1)
        torch.testing.assert_close(got, shares(h, p[ids].prod(1)).clamp(min=0), rtol=1e-9, atol=1e-10)


def test_what_is_refused():
    net = tnsim.convert(Net())
    with pytest.raises(ValueError, match=r"pick one from the stack with net\.pick\(i\)"):
        tnsim.stack([net, tnsim.convert(Net(seed=1))]).ranks()
    with pytest.raises(tnsim.MeasureError, match="centred=False"):
        net.ranks(tnsim.Symmetric())
    assert net.ranks(tnsim.Symmetric(), method="exact", centred=False).hard()["head"] == 2
    with pytest.raises(ValueError, match=r"no place 'blocks\.7'"):
        net.ranks(at="blocks.7")
    with pytest.raises(tnsim.CostError):
        net.ranks(budget=1.0)
    with pytest.raises(TypeError, match=r"Empirical\(x\)"):
        net.ranks(torch.randn(5, 4))


def test_as_text_table_and_picture(monkeypatch):
    found = tnsim.convert(Net(n_layer=2)).ranks()
    lines = repr(found).splitlines()
    assert lines[0].startswith("Ranks(of the covariance, Gaussian(), layer by layer")
    assert lines[1].split() == ["embed", "3", "of", "3,", "effective", f"{found.effective['embed']:.2f}"]
    assert all(len(line) < 124 for line in lines)
    shown = found._repr_html_()
    assert "blocks.0.hidden" in shown and "data:image/png" in shown and not plt.get_fignums()
    _, ax = found.plot(title="ranks")
    widths = [bar.get_width() for bar in ax.patches]
    n = len(found.places)
    assert widths[:n] == list(found.widths.values())
    assert widths[n : 2 * n] == list(found.hard().values())
    assert widths[2 * n :] == pytest.approx(list(found.effective.values()))
    assert len({to_hex(bar.get_facecolor()) for bar in ax.patches[::n]}) == 3
    plt.close("all")
    pandas = pytest.importorskip("pandas")
    data = found.to_frame()
    assert isinstance(data, pandas.DataFrame) and data.loc["head", "width"] == 2


def test_a_network_alone_knows_its_methods():
    """However the network came, and whatever was loaded before."""
    script = """
import torch
from tnsim.algebra import Network, poly

net = Network((("w", poly("W[out,in0]", W=torch.eye(3))),))
print(net.ranks().hard(), net.to_module()(torch.ones(3)).tolist())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "{'w': 3} [1.0, 1.0, 1.0]\n", done.stderr


def test_a_model_of_one_number():
    class Energy(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(5, 6, bias=False)

        def forward(self, x):
            return self.map(x).square().sum(-1)

    found = tnsim.convert(Energy().double(), torch.randn(2, 5, dtype=torch.float64)).ranks(at="out")
    assert found.effective == {"out": 1.0} and found.hard() == {"out": 1}


def test_its_words_are_those_of_the_method():
    assert "Roy and Vetterli" in inspect.getdoc(Network.ranks)
