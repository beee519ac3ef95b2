"""Small polynomial models to state laws over."""

import torch

from tnsim.algebra import Network, Poly, identity, poly


def rand(*shape, seed=None):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def space(d):
    return (("d", d),)


def linear(i, o, bias=False) -> Poly:
    f = poly("E[out,in0]", E=rand(o, i))
    return f + rand(o) if bias else f


def bilinear(i, h, o, bias=False, residual=0.0) -> Poly:
    left, right = linear(i, h, bias), linear(i, h, bias)
    f = poly("D[out,in0]", D=rand(o, h) / h) @ (left * right)
    f = f + rand(o) if bias else f
    return identity(space(i), rand(1)) + residual * f if residual else f


def network(depth, d=3, width=3, hidden=4, out=2, embed=False, bias=False, residual=0.0) -> Network:
    layers = [("embed", linear(d, width, bias))] if embed else []
    width_in = width if embed else d
    for k in range(depth):
        last = k == depth - 1
        o = out if last and not residual else width
        if residual:
            layers.append((f"blocks.{k}", bilinear(width_in, hidden, width_in, bias, residual)))
        else:
            layers.append((f"blocks.{k}", bilinear(width_in, hidden, o, bias)))
            width_in = o
    if residual:
        layers.append(("head", linear(width_in, out, bias)))
    return Network(tuple(layers))


KINDS = {
    "one layer": dict(depth=1),
    "one layer, bias": dict(depth=1, bias=True),
    "one layer, residual": dict(depth=1, residual=0.7),
    "one layer, residual and bias": dict(depth=1, residual=0.7, bias=True, embed=True),
    "two layers": dict(depth=2),
    "two layers, bias": dict(depth=2, bias=True),
    "two layers, residual": dict(depth=2, residual=0.5),
    "two layers, residual and bias": dict(depth=2, residual=0.5, bias=True, embed=True),
}
