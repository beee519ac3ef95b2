"""Torch modules of what is drawn, and their majorants."""

import copy
from collections import OrderedDict
from itertools import count
from zlib import crc32

import torch
from fuzz.spec import children, given, width
from torch import nn
from torch.nn import functional as F

__all__ = ["build", "called", "example", "majorant"]


def build(model):
    """The module of a :class:`~fuzz.spec.Model`."""
    maker, layers, made = Maker(model.seed), [], {}
    widths = [model.n_in]
    order = model.order or range(len(model.layers))
    for i in order:
        reads = given(widths)
        key = (i, *reads.values())
        if key not in made:
            made[key] = maker.layer(model.layers[i], reads)
        layers.append(made[key])
        widths.append(width(model.layers[i], reads))
    plain = model.form == "sequential" and not any(n in repr(model.layers) for n in ("'x0'", "'xb'"))
    embed = maker.embedding(model) if model.vocab else None
    if plain:
        names = model.names or map(str, range(bool(embed), len(layers) + bool(embed)))
        body = nn.Sequential(
            OrderedDict([("embed", embed)] * bool(embed) + list(zip(names, layers, strict=True)))
        )
    else:
        body = Chain(layers, embed, model.names)
    return body.to(getattr(torch, model.dtype)).eval()


def example(model):
    """A batch of the right shape."""
    if model.vocab:
        return torch.zeros(1, model.n_ctx, dtype=torch.long)
    return torch.zeros(1, *([model.n_ctx] if model.n_ctx else []), model.n_in)


def called(module, model):
    """The layers of a module in the order in which they are called."""
    if isinstance(module, Chain):
        return [getattr(module, n) for n in module.names] if module.names else list(module.blocks)
    return list(module)[bool(model.vocab) :]


def majorant(module):
    """The same sums and products with every weight and coefficient replaced by its absolute value.

    At |x| it bounds the sum of the absolute values of all monomials, and with it what rounding can do.
    """
    module = copy.deepcopy(module).double()
    for p in module.parameters():
        p.data.abs_()
    for m in module.modules():
        if isinstance(m, Layer):
            m.absolute = True
    return module


class Chain(nn.Module):
    """Layers in a list or under names, each of which may also read the input of the model and of the layer before."""

    def __init__(self, layers, embed, names):
        super().__init__()
        self.embed = embed
        if names:
            for name, layer in zip(names, layers, strict=True):
                self.add_module(name, layer)
        else:
            self.blocks = nn.ModuleList(layers)
        self.names = names

    def forward(self, x):
        x = x0 = xb = x if self.embed is None else self.embed(x)
        for block in [getattr(self, n) for n in self.names] if self.names else self.blocks:
            x, xb = block(x, x0, xb) if isinstance(block, Layer) else block(x), x
        return x


class Maker:
    """Makes weights; those that are shared are made once."""

    def __init__(self, seed):
        self.seed, self.pool = seed, {}

    def values(self, name, *shape):
        generator = torch.Generator().manual_seed(crc32(f"{self.seed}/{name}/{shape}".encode()))
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def weight(self, name, kind, gain, n_out, n_in):
        w = self.values(name, n_out, n_in) / n_in**0.5
        if kind == "rank1":
            w = torch.outer(self.values(name, n_out), self.values(name + "'", n_in)) / n_in**0.5
        elif kind == "zero":
            w = torch.zeros(n_out, n_in, dtype=torch.float64)
        elif kind == "whole":
            w = w.mul(2).round().clamp(-1, 1)
        return w * gain

    def linear(self, name, kind, gain, bias, n_in, n_out):
        key = (name, kind, gain, bias, n_in, n_out)
        if name.startswith("s") and key in self.pool:
            return self.pool[key]
        if kind == "nested":
            first = self.linear(name + "1", "full", 1.0, bias, n_in, n_in)
            made = nn.Sequential(
                nn.Sequential(first), self.linear(name + "2", "full", gain, bias, n_in, n_out)
            )
        else:
            made = nn.Linear(n_in, n_out, bias=bias, dtype=torch.float64)
            made.weight.data = self.weight(name, kind, gain, n_out, n_in)
            if bias:
                made.bias.data = self.values(name + ".bias", n_out) * gain / 2
        self.pool[key] = made
        return made

    def embedding(self, model):
        table = nn.Embedding(model.vocab, model.n_in, dtype=torch.float64)
        table.weight.data = self.values("table", model.vocab, model.n_in)
        return table

    def layer(self, e, reads):
        if e[0] == "linear" and e[-1] == ("x",):
            return self.linear(e[1], e[4], e[5], e[3], reads["x"], e[2])
        return Layer(self, e, reads)


class Layer(nn.Module):
    """One expression as a module; its weights are its children. ``gains`` stand behind the units that it marks."""

    def __init__(self, maker, e, reads):
        super().__init__()
        self.e, self.absolute, self.names, self.gains = e, False, {}, None
        self._collect(maker, e, reads)

    def _collect(self, maker, e, reads):
        inner = [width(c, reads) for c in children(e)]
        match e[0]:
            case "linear":
                self._keep(e, maker.linear(e[1], e[4], e[5], e[3], inner[0], e[2]))
            case "matrix":
                self._keep(e, nn.Parameter(maker.weight(e[1], e[3], 1.0, e[2], inner[0]).T.contiguous()))
            case "constant":
                self._keep(e, nn.Parameter(maker.values(e[1], e[2])))
            case "bilinear":
                made = nn.Bilinear(*inner, e[2], bias=e[3], dtype=torch.float64)
                made.weight.data = maker.values(e[1], e[2], *inner) / 2
                if e[3]:
                    made.bias.data = maker.values(e[1] + ".bias", e[2])
                self._keep(e, made)
            case "attend":
                self._keep(e, Attend(maker, e, inner[0]))
        for c in children(e):
            self._collect(maker, c, reads)

    def _keep(self, e, made):
        name = next((n for n, m in self._modules.items() if m is made), None)
        if e in self.names:
            return
        if name is None:
            name = next(n for k in count() if not hasattr(self, n := f"{e[1]}_{k}" if k else e[1]))
            setattr(self, name, made)
        self.names[e] = name

    def forward(self, x, x0=None, xb=None):
        return self._value(self.e, {"x": x, "x0": x if x0 is None else x0, "xb": x if xb is None else xb})

    def _value(self, e, reads):
        op, v = e[0], [self._value(c, reads) for c in children(e)]
        made = getattr(self, self.names[e]) if e in self.names else None
        sign = 1.0 if self.absolute else -1.0
        size = abs if self.absolute else float
        match op:
            case "x" | "x0" | "xb":
                return reads[op]
            case "units":
                return v[0] if self.gains is None else v[0] * self.gains
            case "linear":
                return made(v[0])
            case "bilinear":
                return made(v[0], v[1])
            case "attend":
                return made(v[0])
            case "matrix":
                return v[0] @ made
            case "constant":
                return made.expand(*v[0].shape[:-1], e[2])
            case "zero":
                return v[0] * 0
            case "power":
                return v[0] ** e[1]
            case "scaled":
                return v[0] * size(e[1])
            case "negative":
                return v[0] if self.absolute else -v[0]
            case "shift":
                return v[0] + size(e[1])
            case "plus":
                return v[0] + v[1]
            case "minus":
                return v[0] + v[1] if self.absolute else v[0] - v[1]
            case "times":
                return v[0] * v[1]
            case "lerp" if self.absolute:
                return v[0] * abs(1 - e[1]) + v[1] * abs(e[1])
            case "lerp":
                return torch.lerp(v[0], v[1], e[1])
            case "take":
                return v[0][..., list(e[1])]
            case "chunk":
                return v[0][..., e[1] : e[2]]
            case "outer":
                return (v[0][..., :, None] * v[1][..., None, :]).flatten(-2)
            case "dot":
                return (v[0] * v[1]).sum(-1, keepdim=True)
            case "join":
                return _join(e[1], *v)
            case "fixed":
                return _fixed(e[1], v[0], sign)
            case "along":
                return _along(e[1], v[0])
        raise ValueError(op)


def _join(how, a, b):
    if how == "sum":
        return torch.stack([a, b]).sum(0)
    if how == "stack":
        return torch.stack([a, b], -1).flatten(-2)
    return torch.cat([a, b], -1)


def _fixed(how, v, sign):
    match how:
        case "sum":
            return v.sum(-1, keepdim=True)
        case "mean":
            return v.mean(-1, keepdim=True)
        case "centre":
            return v + sign * v.mean(-1, keepdim=True)
        case "roll":
            return v.roll(1, -1)
        case "flip":
            return v.flip(-1)
        case "cumsum":
            return v.cumsum(-1)
        case "pool":
            return (v[..., :-1] + v[..., 1:]) / 2 if v.dim() > 2 else F.avg_pool1d(v[:, None], 2, 1)[:, 0]
        case "halves":
            return torch.cat(v.split([1, v.shape[-1] - 1], -1)[::-1], -1)
        case "twice":
            return torch.cat(torch.cat([v, v.flip(-1)], -1).chunk(2, -1)[::-1], -1)
    raise ValueError(how)


def _along(how, v):
    match how:
        case "cumsum":
            return v.cumsum(-2)
        case "roll":
            return v.roll(1, -2)
        case "flip":
            return v.flip(-2)
        case "mean":
            return v.mean(-2, keepdim=True) + 0 * v
    raise ValueError(how)


class Attend(nn.Module):
    """Attention whose pattern is a score, its square, or a product of two."""

    def __init__(self, maker, e, d):
        super().__init__()
        _, name, self.heads, self.kind, self.causal, bias, _ = e
        self.gains = None
        wide = self.heads * d
        for part in ("q", "k", "v") + (("q2", "k2") if self.kind == "product" else ()):
            setattr(self, part, maker.linear(f"{name}.{part}", "full", 1.0, bias, d, wide))
        self.o = maker.linear(f"{name}.o", "full", 1.0, bias, wide, d)

    def _score(self, q, k):
        return self._split(q) @ self._split(k).mT

    def _split(self, t):
        return t.view(*t.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, x):
        pattern = self._score(self.q(x), self.k(x))
        if self.kind == "square":
            pattern = pattern**2
        elif self.kind == "product":
            pattern = pattern * self._score(self.q2(x), self.k2(x))
        if self.causal:
            pattern = pattern.tril()
        found = pattern @ self._split(self.v(x))
        if self.gains is not None:
            found = found * self.gains[:, None, None]
        return self.o(found.transpose(1, 2).flatten(2))
