"""Questions about one model or a change: modes, truncations, kernels and shares, by differentiating on the points."""

import numpy as np
import torch
from fuzz.check import close
from fuzz.laws import components
from torch.func import functional_call, jacrev, vmap

import tnsim

__all__ = ["EXPLAIN", "energy_of", "values_close"]

F64 = torch.float64


def _jacobians(f, x):
    """∂f/∂x at every point: shape (N, outputs, inputs)."""

    def one(v):
        return f(v[None]).flatten()

    return vmap(jacrev(one))(x).reshape(len(x), -1, x[0].numel())


def energy_of(f, x, w, metric=None):
    """E[JᵀJ], or E[JᵀMJ] for a metric of the outputs."""
    j = _jacobians(f, x)
    metric = torch.eye(j.shape[1], dtype=F64) if metric is None else metric
    return torch.einsum("n,noi,op,npj->ij", w, j, metric, j)


def _real(run):
    """Whether the input is made of numbers, under a law that has points."""
    return not run.truth.tensors and not run.case.a.vocab


def _covariance(run):
    law, a = run.case.law, run.case.a
    if law.kind == "gaussian":
        return components(law, a)[0][2]
    if law.kind == "empirical":
        x, w = run.truth.grid
        x = x.flatten(1)
        x = x - w @ x
        return (x.T * w) @ x
    return None


def values_close(what, got, want, size):
    """Values of modes, sorted; what is missing is zero. ``size`` bounds the sum of all.

    Where it is zero, a factor is; polarised, that is a difference of equal squares, and what is left is rounding.
    """
    if not size > 0:
        return False
    got, want = got.flatten(), want.flatten()
    n = max(len(got), len(want))
    got, want = (torch.nn.functional.pad(v, (0, n - len(v))).sort().values for v in (got, want))
    return close(what, got, want, size)


def spectrum(run):
    """Eigenvalues of Σ^½ E[JᵀJ] Σ^½; those of the interaction of one output, where the degree is two."""
    if not _real(run) or run.case.a.n_ctx or (cov := _covariance(run)) is None:
        return None
    x, w = run.truth.grid
    got = tnsim.spectrum(run.nets[0], of="gradient", **run.options).values
    size = (cov.abs() * energy_of(run.truth.majorants[0], run.truth.sizes[0], w).T).sum()
    want = torch.linalg.eigvals(cov @ energy_of(run.truth.modules[0], x, w)).real
    decided = values_close("spectrum", got**2, want, 10 * size)
    if run.nets[0].degree != 2 or run.case.law.kind != "gaussian":
        return decided

    def one(v):
        return run.truth.modules[0](v[None])[0, 0]

    matrix = torch.func.hessian(one)(torch.zeros(run.case.a.n_in, dtype=F64)) / 2

    def major(v):
        return run.truth.majorants[0](v[None])[0, 0]

    zero = torch.zeros(run.case.a.n_in, dtype=F64)
    largest = torch.func.hessian(major)(zero) / 2
    size = 10 * (largest @ cov.abs()).trace()
    if size < 1e-6 * major(zero + cov.diagonal().max().sqrt()):
        return decided  # lost in the rounding of what is linear
    want = torch.linalg.eigvals(matrix @ cov).real
    got = tnsim.spectrum(run.nets[0], output=0, of="interaction", **run.options).values
    return values_close("interaction", got, want, size)


def unfold(run):
    """σ² at a place are eigenvalues of E[h hᵀ] E[JᵀJ]; at the end those of E[f fᵀ]."""
    if not _real(run) or run.case.a.n_ctx:
        return None
    net, (x, w) = run.nets[0], run.truth.grid
    size = run.truth.bounds[0][0].trace()
    values_close(
        "unfold out",
        tnsim.unfold(net, len(net) if "out" in net.names else "out", **run.options).values ** 2,
        torch.linalg.eigvalsh(run.truth.moments[0][0]),
        10 * size,
    )
    decided = None
    for k in range(len(net)):
        below, above = [f for _, f in net.layers[:k]], [f for _, f in net.layers[k:]]
        h = _chain(below, x)
        energy = energy_of(lambda v, above=above: _chain(above, v), h, w)
        second = torch.einsum("n,ni,nj->ij", w, h, h)
        want = torch.linalg.eigvals(second @ energy).real
        place = net.names[k - 1] if k else "in"
        place = k if {place} & {"in", "out"} else place
        got = tnsim.unfold(net, place, **run.options).values
        bound = run.truth.degree**2 * 10 * size + 100 * second.trace() * energy.trace()
        decided = values_close(f"unfold {k}", got**2, want, bound)
    return decided


def _chain(layers, x):
    for f in layers:
        x = f(x)
    return x


def every_layer(run):
    """CKA of every state of one model with every state of the other, from their values on the points."""
    if not _real(run) or run.case.a.n_ctx:
        return None
    x, w = run.truth.grid
    states = [[_chain(net.polys[: k + 1], x).detach() for k in range(len(net))] for net in run.nets]
    centred = [[h - w @ h for h in side] for side in states]
    size = [
        (h.abs().amax() / c.abs().amax(), c)
        for s, t in zip(states, centred, strict=True)
        for h, c in zip(s, t, strict=True)
    ]
    if any(not float(ratio) < 1e2 for ratio, _ in size):
        return False  # a layer that is constant, or nearly, is refused
    got = tnsim.layers(*run.nets, progress=False, **run.options).values

    def norm(f, g):
        return torch.einsum("n,ni,nj->ij", w, f, g).norm()

    want = [[norm(f, g) ** 2 / (norm(f, f) * norm(g, g)) for g in centred[1]] for f in centred[0]]
    return close("every layer", got, torch.stack([torch.stack(row) for row in want]), 1e4)


def _by_weights(run, i, majorants=False):
    """∂f/∂θ at every point: shape (N, outputs, weights)."""
    module = (run.truth.majorants if majorants else run.truth.modules)[i]
    x = (run.truth.sizes if majorants else run.truth.grid)[0]
    weights = {n: p.detach() for n, p in module.named_parameters()}
    if not weights:
        return None

    def one(p, v):
        return functional_call(module, p, (v[None],)).flatten()

    found = vmap(jacrev(one), (None, 0))(weights, x)
    return torch.cat([j.flatten(2) for j in found.values()], 2)


def entk(run):
    if not _real(run) or run.case.a.n_ctx or len(run.truth.grid[0]) > 3000:
        return None
    if (j := _by_weights(run, 0)) is None or j.shape[2] > 80:
        return None
    w = run.truth.grid[1]
    major = torch.einsum("n,nop->", w, _by_weights(run, 0, True) ** 2)
    want = torch.linalg.eigvalsh(torch.einsum("n,noi,noj->ij", w, j, j))
    got = tnsim.entk(run.modules[0], **run.options).values
    return values_close("entk", got, want, 10 * major)


def kernel_alignment(run):
    if not _real(run) or run.case.a.n_ctx or len(run.truth.grid[0]) > 3000:
        return None
    js = [_by_weights(run, i) for i in (0, 1)]
    if any(j is None or j.shape[2] > 60 for j in js):
        return None
    w = run.truth.grid[1]

    def norm(i, j):
        return torch.einsum("n,nop,noq->pq", w, js[i], js[j]).norm()

    majors = [torch.einsum("n,nop->", w, _by_weights(run, i, True) ** 2) for i in (0, 1)]
    got = tnsim.kernel_alignment(*run.modules, **run.options)
    aa, ab, bb = norm(0, 0), norm(0, 1), norm(1, 1)
    factor = majors[0] / aa * majors[1] / bb
    return close("kernel alignment", got, ab**2 / (aa * bb), 10 * factor) if factor < 1e6 else False


def attribute_outputs(run):
    if run.law == tnsim.Frobenius():
        return None
    t = run.truth
    got = tnsim.attribute(*run.nets, to="outputs", **run.options)
    rows = [[m.diagonal() for m in row] for row in t.moments]
    bound = sum(m.diagonal() for row in t.bounds for m in row)
    return close("outputs", got, rows[0][0] - 2 * rows[0][1] + rows[1][1], bound)


def _gained(run, models, run_on):
    """E‖a(Gx) − b(Gx)‖² as a function of a matrix G."""
    a, b = models

    def energy(gains, k=None):
        shape = (run.case.a.n_in,) if not run.case.a.n_ctx else (run.case.a.n_ctx, run.case.a.n_in)

        def delta(x):
            x = (x.flatten(1) @ gains.T).reshape(-1, *shape)
            return run_on(a(x).flatten(1), b(x).flatten(1))

        m = run.truth.moment(delta, delta, run_on is torch.add)
        return m.trace() if k is None else m[k, k]

    return energy


def _shares(energy, n, degree):
    """∫₀¹ ∂E/∂G (s·1) ds, by Gauss–Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(degree + 1)
    total = torch.zeros(n, n, dtype=F64)
    for s, w in zip((nodes + 1) / 2, weights / 2, strict=True):
        gains = (float(s) * torch.eye(n, dtype=F64)).requires_grad_(True)
        total += float(w) * torch.autograd.grad(energy(gains), gains)[0]
    return total


def _unknown(run):
    """What the truth does not know of the derivatives of coefficients: see :attr:`Truth.bounds`."""
    if run.truth.law.kind != "symmetric":
        return 0.0
    return run.truth.degree * sum(m.trace() for row in run.truth.bounds for m in row)


def attribute_inputs(run):
    if run.law == tnsim.Frobenius() or run.case.a.vocab:
        return None
    n = run.case.a.n_in * max(1, run.case.a.n_ctx)
    got = tnsim.attribute(*run.nets, to="inputs", **run.options)  # refuses models of different outputs
    want = _shares(_gained(run, run.truth.modules, torch.sub), n, run.truth.degree)
    size = _shares(_gained(run, run.truth.majorants, torch.add), n, run.truth.degree).abs().sum() + _unknown(
        run
    )
    decided = close("inputs", got, want.diagonal(), size)
    if run.case.a.n_ctx:
        return decided
    got = tnsim.attribute(*run.nets, to="directions", **run.options).values
    want = torch.linalg.eigvalsh((want + want.T) / 2)
    return close("directions", got.sort().values, want.sort().values, 10 * size)


def attribute_layers(run):
    a, b = run.nets
    if run.truth.tensors or [f.in_shape for f in a.polys] != [f.in_shape for f in b.polys] or len(a) < 2:
        return None
    x, w = run.truth.grid
    if run.case.a.vocab:
        x = torch.nn.functional.one_hot(x, run.case.a.vocab).to(F64)
    got = tnsim.attribute(a, b, to="layers", **run.options)
    x = x.reshape(len(x), *a.polys[0].in_shape)
    end = _chain(a.polys, x).detach()
    count = 2 * run.truth.degree * len(a)
    nodes, weights = np.polynomial.legendre.leggauss(count // 2 + 1)
    want = torch.zeros(len(a), dtype=F64)
    for s, p in zip((nodes + 1) / 2, weights / 2, strict=True):
        gains = torch.full((len(a),), float(s), dtype=F64, requires_grad=True)
        h = x
        for g, f, other in zip(gains, a.polys, b.polys, strict=True):
            h = (1 - g) * f(h) + g * other(h)
        value = (w * ((h - end).flatten(1) ** 2).sum(1)).sum()
        want += float(p) * torch.autograd.grad(value, gains)[0]
    bound = sum(m.trace() for row in run.truth.bounds for m in row) * 2 ** (2 * len(a))
    return close("layers", got, want, bound * run.truth.degree)


def localise(run):
    t = run.truth
    if run.law == tnsim.Frobenius() or run.case.a.vocab or len(t.moments[0][0]) < 3:
        return None
    found = tnsim.localise(*run.nets, **run.options)
    moved = sum(s * t.moments[i][j].diagonal() for i, j, s in ((0, 0, 1), (0, 1, -2), (1, 1, 1)))
    bound = sum(m.diagonal() for row in t.bounds for m in row)
    if bool((moved < 1e-4 * bound).any()):
        return False
    want = torch.stack([m / _middle(moved, k) for k, m in enumerate(moved)])
    close("prominence", found.outputs, want, 1e5 * want.max())
    top = want.sort(descending=True).values
    if top[0] < 1.001 * top[1]:
        return False
    n = run.case.a.n_in * max(1, run.case.a.n_ctx)
    gains = torch.eye(n, dtype=F64, requires_grad=True)
    k = int(want.argmax())
    p = torch.autograd.grad(_gained(run, t.modules, torch.sub)(gains, k), gains)[0].diagonal()
    size = (
        torch.autograd.grad(_gained(run, t.majorants, torch.add)(gains, k), gains)[0].diagonal().abs().sum()
    )
    if p.sum() < 1e-4 * (size + _unknown(run)):
        return False
    return close("inputs of a change", found.inputs, p / p.sum(), 1e5)


def _middle(moved, k):
    return torch.cat([moved[:k], moved[k + 1 :]]).quantile(0.5)


EXPLAIN = {
    f.__name__: f
    for f in (
        spectrum,
        unfold,
        every_layer,
        entk,
        kernel_alignment,
        attribute_outputs,
        attribute_inputs,
        attribute_layers,
        localise,
    )
}
