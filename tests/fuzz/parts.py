"""Shares of hidden units and heads: gains inside the torch modules, differentiated on the points."""

from itertools import product

import numpy as np
import torch
from fuzz.build import called
from fuzz.check import close
from fuzz.spec import nodes
from fuzz.truth import closure, degrees_of

import tnsim

__all__ = ["PARTS", "central"]

F64 = torch.float64


def _layer_with(run, owners, op):
    """Position and name of a layer in which both models have the same number of parts; and that number."""
    a, b = run.case.a, run.case.b
    if len(a.called) != len(b.called):
        return None
    for k, pair in enumerate(zip(a.called, b.called, strict=True)):
        counts = {owners(e, op) for e in pair}
        once = all(m.called.count(e) == 1 for m, e in zip((a, b), pair, strict=True))
        name = _name(run.modules[0], called(run.modules[0], a)[k])
        same = name == _name(run.modules[1], called(run.modules[1], b)[k])
        if (
            len(counts) == 1
            and None not in counts
            and once
            and same
            and all(name in n.names for n in run.nets)
        ):
            return k, name, counts.pop()
    return None


def _name(module, layer):
    return next(n for n, m in module.named_modules() if m is layer)


def _count(e, op):
    """Units of D((Lx)∘(Rx)), or heads, of a layer that is nothing else, but for a residual."""
    inside = e[2] if e[0] == "plus" and e[1] == ("x",) else e
    if op == "units" and inside[0] == "linear" and inside[-1][0] == "units" and inside[4] != "nested":
        return inside[-1][1][1][2]
    if (
        op == "attend"
        and inside[0] == "attend"
        and not any(n[0] in ("attend", "power", "times") for n in nodes(inside[-1]))
    ):
        return inside[2]
    return None


def _gained(layer, op, gains):
    for m in layer.modules():
        if hasattr(m, "gains") and ((op == "attend") == hasattr(m, "heads")):
            m.gains = gains


def _hidden(run, to, op):
    if run.truth.law.kind == "frobenius" or (found := _layer_with(run, _count, op)) is None:
        return None
    k, name, count = found
    t, output = run.truth, _output(run)
    layers = [called(m, s)[k] for m, s in zip(t.modules, (run.case.a, run.case.b), strict=True)]
    each = op == "units" and run.case.a.n_ctx > 1  # where states are flat, units are those of every position
    shape = (run.case.a.n_ctx, count) if each else (count,)

    def energy(gains):
        for layer in layers:
            _gained(layer, op, gains.reshape(shape))

        def delta(x):
            return t.modules[0](x).flatten(1) - t.modules[1](x).flatten(1)

        m = t.moment(delta, delta)
        return m.trace() if output is None else m[output, output]

    try:
        want = torch.zeros(int(np.prod(shape)), dtype=F64)
        nodes_, weights = np.polynomial.legendre.leggauss(t.degree + 1)
        for s, w in zip((nodes_ + 1) / 2, weights / 2, strict=True):
            gains = torch.full(want.shape, float(s), dtype=F64, requires_grad=True)
            want += float(w) * torch.autograd.grad(energy(gains), gains)[0]
    finally:
        for layer in layers:
            _gained(layer, op, None)
    bound = 4 * t.degree * sum(t.bounds[i][j].trace() for i in (0, 1) for j in (0, 1))
    got = tnsim.attribute(*run.nets, to=to, layer=name, output=_position(run, output), **run.options)
    return close(to, got, want, bound)


def _output(run):
    """One output, or all."""
    n = len(run.truth.moments[0][0])
    return n - 1 if run.case.law.seed % 3 == 0 else None


def _position(run, k):
    shape = run.nets[0].polys[-1].out_shape
    return (
        k
        if k is None or len(shape) < 2
        else tuple(int(i) for i in torch.unravel_index(torch.tensor(k), shape))
    )


def attribute_hidden(run):
    return _hidden(run, "hidden", "units")


def attribute_heads(run):
    return _hidden(run, "heads", "attend")


def central(f, degree):
    """The derivative at 0 of a polynomial of this degree, from its values."""
    if not degree:
        return 0.0 * f(0.0)
    points = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    rule = np.linalg.solve(
        points[None, :] ** np.arange(degree + 1)[:, None], np.eye(degree + 1)[1 % (degree + 1)]
    )
    return sum(float(c) * f(float(p)) for c, p in zip(rule, points, strict=True) if c)


def _shares(energy, count, degree):
    """∫₀¹ ∂E/∂g (s, …, s) ds of a polynomial of this degree that cannot be differentiated."""
    total = torch.zeros(count, dtype=F64)
    points, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    for s, w in zip((points + 1) / 2, weights / 2, strict=True):
        for i, unit in enumerate(torch.eye(count, dtype=F64)):
            total[i] += float(w) * central(lambda h, s=s, unit=unit: energy(float(s) + h * unit), degree)
    return total


def _layerwise(run, to, count, gained, degree, degrees, corners):
    """Shares layer by layer.

    ``gained`` makes the layers of both models behind gains, of these degrees in x; among ``corners`` are gains at which
    sums are as large as they get.
    """
    if degree * (degree // 2 + 1) * count > 150:
        return None

    def energy(gains):
        blocks = closure(run.truth, gained(gains), degrees, most=3000)
        if blocks is None:
            raise OverflowError
        return blocks[0][0].trace() - 2 * blocks[0][1].trace() + blocks[1][1].trace()

    try:
        want = _shares(energy, count, degree)
        bounds = [
            closure(run.truth, gained(torch.tensor(g, dtype=F64)), degrees, sizes=True) for g in corners
        ]
    except OverflowError:
        return None
    size = 100 * degree * sum(m.trace() for bound in bounds for row in bound for m in row)
    got = tnsim.attribute(*run.nets, to=to, method="layerwise", **run.options)
    return close(f"{to}, layer by layer", got, want, size)


def _plain(run):
    """Whether layers of both models can be taken one by one."""
    return not run.truth.tensors and len(run.nets[0]) == len(run.nets[1])


def _as_read(poly, points):
    """Points in a row each, as a polynomial reads them."""
    return points.reshape(-1, *poly.in_shape)


def attribute_inputs_layerwise(run):
    if not _plain(run) or run.case.a.vocab:
        return None

    def gained(gains):
        return [
            [lambda h, f=net.polys[0]: f(_as_read(f, h) * gains.reshape(f.in_shape)), *net.polys[1:]]
            for net in run.nets
        ]

    count = int(np.prod(run.nets[0].polys[0].in_shape))
    degrees = degrees_of([list(net.polys) for net in run.nets])
    return _layerwise(
        run, "inputs", count, gained, 2 * max(net.degree for net in run.nets), degrees, [(1.0,) * count]
    )


def attribute_layers_layerwise(run):
    a, b = run.nets
    states = [[(f.in_shape, f.out_shape) for f in net.polys] for net in (a, b)]
    if not _plain(run) or len(a) < 2 or states[0] != states[1]:
        return None

    def gained(gains):
        way = [
            lambda h, g=g, f=f, o=o: (1 - g) * f(_as_read(f, h)) + g * o(_as_read(o, h))
            for g, f, o in zip(gains, a.polys, b.polys, strict=True)
        ]
        return [way, list(a.polys)]

    degree = 0
    for f, g in zip(a.polys, b.polys, strict=True):
        degree = 1 + max(f.degree, g.degree) * degree
    _, own = degrees_of([list(b.polys), list(a.polys)])
    mixed = [max(f.degree, g.degree) for f, g in zip(a.polys, b.polys, strict=True)]
    corners = list(product((0.0, 1.0), repeat=len(a)))
    return _layerwise(run, "layers", len(a), gained, 2 * degree, [mixed, own], corners)


def attribute_outputs_layerwise(run):
    if not _plain(run):
        return None
    layers = [list(net.polys) for net in run.nets]
    if (m := closure(run.truth, layers, degrees_of(layers))) is None:
        return None
    got = tnsim.attribute(*run.nets, to="outputs", method="layerwise", **run.options)
    bound = closure(run.truth, layers, degrees_of(layers), sizes=True)
    rows = [[x.diagonal() for x in row] for row in m]
    size = sum(x.diagonal() for row in bound for x in row)
    return close("outputs, layer by layer", got, rows[0][0] - 2 * rows[0][1] + rows[1][1], size)


PARTS = {
    f.__name__: f
    for f in (
        attribute_hidden,
        attribute_heads,
        attribute_inputs_layerwise,
        attribute_layers_layerwise,
        attribute_outputs_layerwise,
    )
}
