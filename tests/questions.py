"""Every public question that gives numbers, under every law, as functions of where its tensors lie.

``QUESTIONS`` maps a name to a function of a :class:`Place`, which moves models, laws and tensors; it returns anything made
of numbers.
"""

from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import quimb.tensor as qtn
import torch

import tnsim
from tnsim.measure.pairings.measure import as_like, unchecked


@dataclass(frozen=True)
class Place:
    """A device, and a kind of numbers."""

    device: torch.device
    dtype: torch.dtype = torch.float64

    def __call__(self, x):
        return x.to(self.device, self.dtype)

    def numbers(self, x):
        return x.to(self.device)

    def module(self, seed, make, *args, **options):
        torch.manual_seed(seed)
        return make(*args, **options).to(self.dtype).to(self.device)

    def net(self, seed, make=None, *args, example=None, **options):
        if make is None:
            make, args = bilinear, (1, False)
        return tnsim.convert(self.module(seed, make, *args, **options), example, dtype=self.dtype)


class Block2(torch.nn.Module):
    """A residual block with biases."""

    def __init__(self, d, h, bias):
        super().__init__()
        self.left, self.right = torch.nn.Linear(d, h, bias=bias), torch.nn.Linear(d, h, bias=bias)
        self.down = torch.nn.Linear(h, d, bias=bias)

    def forward(self, x):
        return x + self.down(self.left(x) * self.right(x))


def bilinear(depth, bias, d=3, h=2, out=2):
    """Residual bilinear layers and a head."""
    blocks = [Block2(d, h, bias) for _ in range(depth)]
    return torch.nn.Sequential(*blocks, torch.nn.Linear(d, out, bias=bias))


def attention():
    return tnsim.nn.BilinearAttention(3, 2, n_ctx=2, d_head=2, residual="add")


def rand(*shape, seed=0):
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed), device="cpu"
    )


class Own(tnsim.Measure):
    """A law of a user's own, which says how legs are closed and nothing else."""

    def __init__(self, mean, cov):
        self.mean, self.cov = mean, cov

    def closures(self, factors, sides, exchange=False):
        like = factors[0].tensors[0].data
        law = unchecked(
            tnsim.Gaussian,
            mean=as_like(self.mean, like),
            cov=as_like(self.cov, like),
            n_ctx=None,
            across=None,
        )
        return law.closures(factors, sides, exchange)

    def count(self, factors, sides, exchange=False):
        return tnsim.Gaussian(None, None).count(factors, sides, False) * 2


A = rand(3, 3, seed=5)
LAWS = {
    "standard": lambda at: tnsim.Gaussian(),
    "mean": lambda at: tnsim.Gaussian(mean=at(rand(3, seed=3))),
    "mean and cov": lambda at: tnsim.Gaussian(mean=at(rand(3, seed=3)), cov=at(A @ A.T)),
    "variances": lambda at: tnsim.Gaussian(cov=at(rand(3, seed=3) ** 2)),
    "cov of numpy": lambda at: tnsim.Gaussian(cov=(A @ A.T).numpy()),
    "mean of lists": lambda at: tnsim.Gaussian(mean=[0.5, -1.0, 0.25]),
    "symmetric": lambda at: tnsim.Symmetric(),
    "frobenius": lambda at: tnsim.Frobenius(),
    "samples": lambda at: tnsim.Empirical(at(rand(5, 3, seed=4))),
    "mixture": lambda at: tnsim.Mixture(
        [tnsim.Gaussian(mean=at(rand(3, seed=3))), tnsim.Gaussian(cov=at(A @ A.T))], [0.25, 0.75]
    ),
    "own": lambda at: Own(at(rand(3, seed=3)), at(A @ A.T)),
}
GAUSSIAN = ("standard", "mean", "mean and cov", "variances", "cov of numpy", "mean of lists")
VOCABULARY = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
STEPS = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]], dtype=torch.float64)
TOKENS = {
    "tokens": lambda at: tnsim.Tokens(at(VOCABULARY)),
    "tokens by position": lambda at: tnsim.Tokens(at(torch.stack([VOCABULARY, VOCABULARY.flip(0)]))),
    "chain": lambda at: tnsim.MarkovChain(at(VOCABULARY), at(STEPS)),
    "chain of numpy": lambda at: tnsim.MarkovChain(VOCABULARY.numpy(), STEPS.numpy()),
    "ids": lambda at: tnsim.Empirical(at.numbers(torch.tensor([[0, 1], [2, 2], [1, 0]], device="cpu"))),
    "gaussian": lambda at: tnsim.Gaussian(
        mean=at(rand(3, seed=3)), cov=at(A @ A.T), across=at(torch.ones(2, 2, device="cpu").double())
    ),
}
MIXED = ("mixture", "samples")  # can be pushed as well


def pair(at, depth, bias):
    return [at.net(seed, bilinear, depth, bias) for seed in (1, 2)]


def sequences(at, blocks=("attn",)):
    def make():
        return tnsim.nn.Transformer(3, 2, 1, 2, blocks=blocks, d_hidden=2, d_out=2, norm=False).eval()

    return [
        at.net(seed, make, example=at.numbers(torch.zeros(1, 2, dtype=torch.long, device="cpu")))
        for seed in (1, 2)
    ]


def checkpoints(at, count=4, depth=1, bias=True):
    return [at.net(seed, bilinear, depth, bias) for seed in range(count)]


def depth_of(law, method):
    """Two layers where that is another way; of laws whose closures are listed one by one they have thousands."""
    listed = method == "exact" and law in ("mixture", "own")
    again = law in ("variances", "cov of numpy", "mean of lists")
    return 1 if listed or again else 2


def product_of(at, law, method, depth=None, bias=True):
    a, b = pair(at, depth or depth_of(law, method), bias)
    return tnsim.similarity(a, b, under=LAWS[law](at), method=method)


def inner_of(at, method):
    a, b = pair(at, 1, True)
    law = LAWS["mean and cov"](at)
    return [tnsim.inner(a, b, output=1, under=law, method=method), tnsim.inner(a, under=law, method=method)]


def of_sequences(at, law, method, blocks=("attn",)):
    a, b = sequences(at, blocks)
    return tnsim.similarity(a, b, under=TOKENS[law](at), method=method)


def matrix(at, law, method, **options):
    run = tnsim.gram(
        checkpoints(at, depth=depth_of(law, method)),
        under=LAWS[law](at),
        method=method,
        progress=False,
        **options,
    )
    return [run.products, run.similarity(), run.distance()]


def stacked(at):
    nets = checkpoints(at)
    return tnsim.gram(tnsim.stack(nets), progress=False).products


def slope(at, law, method):
    modules = [at.module(seed, bilinear, depth_of(law, method), True) for seed in (1, 2)]
    a, b = (tnsim.convert(m, dtype=at.dtype) for m in modules)
    tnsim.similarity(a, b, under=LAWS[law](at), method=method).backward()
    return [p.grad for m in modules for p in m.parameters()]


def moved(at):
    """Converted on the CPU, then moved."""
    on_cpu = Place(torch.device("cpu"), at.dtype)
    a, b = (net.to(at.device) for net in pair(on_cpu, 2, True))
    back = a.to("cpu")
    return [tnsim.similarity(a, b), tnsim.similarity(back, back.to(at.device).to("cpu"))]


def values(at):
    net = at.net(0, bilinear, 2, True)
    x = at(rand(5, 3))
    f = net.collapse()
    return [
        net(x),
        f(x),
        (f + f * 2.0)(x),
        f[1](x),
        tnsim.lift(net.polys[0])(torch.cat([torch.ones_like(x[:, :1]), x], 1)),
    ]


def written(at):
    """A polynomial written down, a residual around it, and the price of a question about it."""
    w = at(rand(2, 3, 3, seed=2))
    f = tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=w[0].T, L=w[0], R=w[1])
    g = f + tnsim.identity(f.domain, f.like)
    tnsim.clear_cache()
    price = tnsim.cost(g, f).flops  # units are part of it where values are not read
    parts = sum(path.cost.flops for path in tnsim.explain(g, f))
    return [
        g(at(rand(4, 3))),
        tnsim.inner(g),
        float(500 < price < 2000),
        float(abs(parts / price - 1) < 1e-9),
    ]


def filed(at):
    """A network as a file, which has the numbers and no device."""
    with TemporaryDirectory() as folder:
        tnsim.save(pair(at, 2, True)[0], Path(folder) / "net.safetensors")
        return tnsim.inner(tnsim.load_network(Path(folder) / "net.safetensors"))


def few_paths(at):
    """Three of the 34 paths, whose products take seconds and not minutes."""
    module = import_module("tnsim.analysis.compare.compositions")
    parts = module._parts
    with patch.object(module, "_parts", lambda net: (*parts(net)[:2], parts(net)[2][:3])):
        return tnsim.paths(sequences(at, ("attn", "attn"))[0], method="layerwise", progress=False)


def token_values(at):
    net = sequences(at)[0]
    return [net(at.numbers(torch.tensor([[0, 2], [1, 1]], device="cpu"))), net(at(rand(4, 2, 3)))]


def shares(at, to, **options):
    a, b = pair(at, 2, True)
    if to in ("inputs", "directions"):
        options = dict(output=1, **options)
        a, b = pair(at, 1, False)
    if to == "hidden":
        options = dict(layer="1")
    return tnsim.attribute(a, b, to=to, **options)


def layers_of(at):
    return pair(at, 2, True)


def drawn(at):
    """Draws for two models, and what they say of these."""
    a, b = pair(at, 1, False)
    law = tnsim.draws(None, [a, b], n=2048, progress=False)
    return [law.x, tnsim.similarity(a, b, under=law)]


def modes(at, *args, **options):
    net = at.net(0, bilinear, 1, False)
    found = tnsim.spectrum(net, *args, **options)
    return [found.values]


def decomposed(at, kind):
    net = at.net(0, tnsim.nn.BilinearLayer, 3, 4, 2)
    found = tnsim.decompose(net, kind, 2, progress=False)
    return [found.error, tnsim.similarity(net, found.network) if hasattr(found, "network") else 0]


def saved(at, folder):
    """A matrix whose blocks are kept on disk, and read again."""
    where = folder / f"{at.device.type}-{at.dtype}.safetensors"
    nets = checkpoints(at)
    first = tnsim.gram(nets, checkpoint=where, progress=False)
    return [first.products, tnsim.gram(nets, checkpoint=where, progress=False).products]


METHODS = ("exact", "layerwise")
PUSHED = {law: METHODS if law in (*GAUSSIAN, *MIXED) else ("exact",) for law in LAWS}
QUESTIONS = {
    **{
        f"similarity, {law}, {method}": partial(product_of, law=law, method=method)
        for law in LAWS
        for method in PUSHED[law]
    },
    "inner, exact": partial(inner_of, method="exact"),
    "inner, layerwise": partial(inner_of, method="layerwise"),
    "similarity, one layer": partial(product_of, law="mean", method="exact", depth=1, bias=False),
    **{
        f"gram, {law}, {method}": partial(matrix, law=law, method=method)
        for law in ("mean and cov", "symmetric", "samples", "mixture")
        for method in PUSHED[law]
    },
    **{
        f"tokens, {law}, exact": partial(of_sequences, law=law, method="exact")
        for law in TOKENS
        if law != "gaussian"
    },
    **{
        f"tokens, {law}, layerwise": partial(
            of_sequences, law=law, method="layerwise", blocks=("attn",) if " " in law else ("attn", "mlp")
        )
        for law in TOKENS
    },
    **{
        f"gradient, {law}, {method}": partial(slope, law=law, method=method)
        for law in ("mean and cov", "own", "samples")
        for method in PUSHED[law]
    },
    "gram, small memory": partial(matrix, law="mean and cov", method="exact", memory=2e5),
    "gram, one matrix": partial(matrix, law="standard", method="exact", slices=False),
    "gram of a stack": stacked,
    "moved": moved,
    "written": written,
    "filed": filed,
    "drawn": drawn,
    "values": values,
    "values of tokens": token_values,
    **{
        f"attribute to {to}": partial(shares, to=to)
        for to in ("outputs", "inputs", "directions", "layers", "hidden")
    },
    "attribute to heads": lambda at: tnsim.attribute(
        *(at.net(s, attention, example=at(torch.zeros(1, 2, 3, device="cpu"))) for s in (1, 2)),
        to="heads",
        method="layerwise",
    ),
    **{f"cka, {m}": partial(lambda at, m: tnsim.cka(*layers_of(at), method=m), m=m) for m in METHODS},
    **{
        f"procrustes, {m}": partial(lambda at, m: tnsim.procrustes(*layers_of(at), method=m), m=m)
        for m in METHODS
    },
    **{f"cca, {m}": partial(lambda at, m: tnsim.cca(*layers_of(at), method=m), m=m) for m in METHODS},
    **{f"moments, {m}": partial(lambda at, m: tnsim.moments(*layers_of(at), method=m), m=m) for m in METHODS},
    "orders": lambda at: [tnsim.orders(*layers_of(at)), tnsim.orders(layers_of(at)[0], each=True)],
    "paths": few_paths,
    "difference": lambda at: tnsim.inner(tnsim.difference(*layers_of(at))),
    "spectrum": lambda at: tnsim.spectrum(at.net(0, bilinear, 1, False)).values,
    "spectrum of an output": lambda at: tnsim.spectrum(at.net(0, bilinear, 1, False), 1).values,
    **{
        f"spectrum of gradients, {m}": partial(
            lambda at, m: tnsim.spectrum(at.net(0, bilinear, 2, True), 1, of="gradient", method=m).values, m=m
        )
        for m in METHODS
    },
    "unfold": lambda at: tnsim.unfold(at.net(0, bilinear, 2, True), 1).values,
    "unfold, layerwise": lambda at: tnsim.unfold(at.net(0, bilinear, 2, True), 1, method="layerwise").values,
    **{
        f"decompose, {kind}": partial(decomposed, kind=kind)
        for kind in ("cp", "tucker", "hosvd", "symmetric-cp")
    },
    "truncate": lambda at: (lambda t: [t.error, t.network(at(rand(4, 3)))])(
        tnsim.truncate(at.net(0, bilinear, 2, True), rank=3, bound=True, progress=False)
    ),
    "truncations": lambda at: [
        t.error for t in tnsim.truncations(at.net(0, bilinear, 2, True), [20, 30], progress=False)
    ],
    "entk": lambda at: tnsim.entk(at.net(0, bilinear, 1, True)).values,
    "entk, top": lambda at: tnsim.entk(at.net(0, bilinear, 1, True), top=2).values,
    "kernel alignment": lambda at: tnsim.kernel_alignment(*pair(at, 1, True)),
    "localise": lambda at: tnsim.localise(
        *(at.net(s, bilinear, 1, True, out=4) for s in (1, 2)),
        history=[at.net(s, bilinear, 1, True, out=4) for s in (3, 4)],
    ),
    "trajectory": lambda at: tnsim.trajectory(tnsim.gram(checkpoints(at, 5), progress=False)),
    "segment": lambda at: tnsim.segment(tnsim.gram(checkpoints(at, 5), progress=False), 2),
    "nearest": lambda at: tnsim.nearest(at.net(7, bilinear, 1, True), checkpoints(at)),
    "layers": lambda at: tnsim.layers(*pair(at, 1, True), progress=False).values,
    "null": lambda at: dict(tnsim.null(checkpoints(at), "seeds", progress=False).values),
    "load": lambda at: [
        list(model.parameters())
        for model in (
            tnsim.load(at.module(1, bilinear, 1, True), {"model": bilinear_state()}),
            tnsim.checkpoints([bilinear_state()], lambda: at.module(1, bilinear, 1, True))[0],
        )
    ],
    "weights": lambda at: [
        tnsim.weight_cosine(*layers_of(at)),
        tnsim.aligned_weight_cosine(*layers_of(at), restarts=3),
        tnsim.linear_cka(at(rand(6, 3)), at(rand(6, 2, seed=1))),
        tnsim.output_cosine(at(rand(6, 3)), at(rand(6, 3, seed=1))),
    ],
}


def bilinear_state():
    """Weights as a file has them."""
    torch.manual_seed(9)
    return bilinear(1, True).state_dict()


def numbers(x):
    """All numbers in a result, on the CPU."""
    if isinstance(x, torch.Tensor):
        return [x.detach().cpu().double().reshape(-1)]
    if isinstance(x, np.ndarray | float | int | np.number) and not isinstance(x, bool):
        return [torch.as_tensor(np.asarray(x, dtype=float)).reshape(-1)]
    if isinstance(x, dict):
        return [y for v in x.values() for y in numbers(v)]
    if isinstance(x, tuple | list):
        return [y for v in x for y in numbers(v)]
    if is_dataclass(x) and not isinstance(x, tnsim.Network | tnsim.Measure | tnsim.Poly | qtn.Tensor):
        return [y for f in fields(x) for y in numbers(getattr(x, f.name))]
    return []
