"""Questions layer by layer: the recursion over Gaussian hidden states, on quadrature points of every state."""

from functools import partial
from itertools import pairwise, product

import torch
from fuzz.build import called
from fuzz.check import close
from fuzz.compare import cosine_close, indices_close
from fuzz.explain import energy_of, values_close
from fuzz.laws import components, gauss, root
from fuzz.truth import chaos, closure, degrees_of, taken

import tnsim

__all__ = ["LAYERWISE"]

F64 = torch.float64


def _closure(run, constant=False):
    """Second moments layer by layer, and bounds of what is summed."""
    if run.truth.tensors or len(run.nets[0].polys) != len(run.nets[1].polys):
        return None
    layers = [list(net.polys) for net in run.nets]
    found = partial(closure, run.truth, layers, degrees_of(layers), constant=constant)
    return None if (value := found()) is None else (value, found(sizes=True))


def _options(run):
    return {"method": "layerwise", **run.options}


def layerwise(run):
    if (want := _closure(run)) is None:
        return None
    value, norms = want
    for i, j in product((0, 1), repeat=2):
        got = tnsim.moments(run.nets[i], run.nets[j], **_options(run))
        close(f"moments layer by layer {i}{j}", got, value[i][j], norms[i][j])
    return close(
        "inner layer by layer",
        tnsim.inner(*run.nets, **_options(run)),
        value[0][1].trace(),
        norms[0][1].trace(),
    )


def layerwise_similarity(run):
    if (want := _closure(run)) is None:
        return None
    (aa, ab, bb), (maa, mab, mbb) = ([m[i][j].trace() for i, j in ((0, 0), (0, 1), (1, 1))] for m in want)
    norm = (aa.clamp_min(0) * bb.clamp_min(0)).sqrt()
    factor = mab / norm + (ab / norm).abs() * (maa / aa + mbb / bb)
    got = tnsim.similarity(*run.nets, **_options(run))
    close("similarity layer by layer", got, ab / norm, factor) if factor < 1e7 else None
    near = tnsim.nearest(run.nets[0], [run.nets[1]], **_options(run))
    close("nearest layer by layer", near.distances[0] ** 2, aa - 2 * ab + bb, maa + 2 * mab + mbb)
    return cosine_close("nearest layer by layer", near.similarities[0], ab / norm, factor)


def layerwise_gram(run):
    if (want := _closure(run)) is None:
        return None
    value, norms = (
        torch.tensor([[m.trace().item() for m in row] for row in table], dtype=F64) for table in want
    )
    alike = run.nets[0].signature() == run.nets[1].signature()
    got = tnsim.gram(list(run.nets), slices=alike, progress=False, **_options(run))
    decided = close("gram layer by layer", got.matrix, value, norms)
    path = tnsim.trajectory(got)
    (aa, ab), (_, bb) = value
    close("first step², layer by layer", path.steps[0] ** 2, aa - 2 * ab + bb, 4 * norms.sum())
    if alike:
        both = tnsim.stack(list(run.nets))
        got = tnsim.inner(both, both, **_options(run))
        close("inner of stacks, layer by layer", got, value, norms)
    return decided


def layerwise_indices(run):
    """CKA, Procrustes and CCA."""
    if (want := _closure(run, constant=True)) is None:
        return None
    value, norms = want
    centred = run.case.law.seed % 2 == 0
    m = [[x[:-1, :-1] - centred * torch.outer(x[:-1, -1], x[-1, :-1]) for x in row] for row in value]
    bounds = [[x[:-1, :-1] for x in row] for row in norms]
    return indices_close(run, m, bounds, {"centred": centred, **_options(run)})


def _laws(run):
    """States of the first model on points: at every layer the Gaussian of the mean and covariance before it."""
    if run.truth.tensors or run.case.a.vocab or run.case.a.n_ctx:
        return None
    x, w = run.truth.grid
    if run.case.law.kind != "gaussian":
        return None
    found = [(x, w)]
    layers = run.nets[0].polys
    for f, g in pairwise(layers):
        h = f(found[-1][0])
        w = found[-1][1]
        mean = w @ h
        cov = torch.einsum("n,ni,nj->ij", w, h - mean, h - mean)
        if (g.degree + 1) ** root(cov).shape[1] > 3000:
            return None
        found.append(gauss(mean, cov, 2 * g.degree))
    return found


def layerwise_unfold(run):
    """σ² are eigenvalues of E[h hᵀ] A, where A goes back through the layers as in backpropagation."""
    net = run.nets[0]
    if (states := _laws(run)) is None or len(net) < 2:
        return None
    above = [torch.eye(net.polys[-1].out_shape[0], dtype=F64)]
    for f, (h, w) in zip(reversed(net.polys), reversed(states), strict=True):
        above.insert(0, energy_of(f, h, w, above[0]))
    size = sum(m.trace() for row in _closure_of(run) for m in row)
    for k in range(1, len(net)):
        h, w = states[k]
        second = torch.einsum("n,ni,nj->ij", w, h, h)
        want = torch.linalg.eigvals(second @ above[k]).real
        got = tnsim.unfold(net, k, **_options(run)).values
        bound = run.truth.degree**2 * 10 * size + 100 * second.trace() * above[k].trace()
        decided = values_close(f"unfold layer by layer {k}", got**2, want, bound)
    return decided


def _closure_of(run):
    layers = [list(run.nets[0].polys)] * 2
    return closure(run.truth, layers, degrees_of(layers), sizes=True)


def layerwise_localise(run):
    """Prominence of outputs layer by layer."""
    if run.case.a.vocab or (want := _closure(run)) is None or len(want[0][0][0]) < 3:
        return None
    moved, bound = (
        sum(s * m[i][j].diagonal() for i, j, s in ((0, 0, 1), (0, 1, sign), (1, 1, 1)))
        for m, sign in zip(want, (-2, 2), strict=True)
    )
    if bool((moved < 1e-4 * bound).any()):
        return False
    found = tnsim.localise(*run.nets, **_options(run))
    others = [torch.cat([moved[:k], moved[k + 1 :]]).quantile(0.5) for k in range(len(moved))]
    prominence = moved / torch.stack(others)
    return close("prominence layer by layer", found.outputs, prominence, 1e5 * prominence.max())


def paths(run):
    """Every path through two attention layers, from Hermite coefficients of the joint law of what it may read."""
    a = run.case.a
    kinds = [[e[0] if e[0] != "plus" else e[2][0] for e in m.called] for m in (a, run.case.b)]
    if kinds[0] != kinds[1] or kinds[0].count("attend") != 2 or run.truth.law.kind != "gaussian":
        return None
    if any(len(m.called) > 4 or m.vocab for m in (a, run.case.b)) or a.degree != 25:
        return None
    at = kinds[0].index("attend")
    sides = [called(m, s) for m, s in zip(run.truth.modules, (a, run.case.b), strict=True)]
    _, law_mean, law_cov, _ = components(run.case.law, a)[0]
    x, w = gauss(law_mean, law_cov, 10)
    states = []
    for layers in sides:
        h = x.reshape(len(x), a.n_ctx, a.n_in)
        for f in layers[:at]:
            h = f(h)
        states.append(torch.cat([p.flatten(1) for p in _split(layers[at], [h] * 5)], 1))
    both = torch.cat(states, 1)
    mean = w @ both
    cov = torch.einsum("n,ni,nj->ij", w, both - mean, both - mean)
    n = states[0].shape[1]
    roots = [root(cov[:n, :n]), root(cov[n:, n:])]
    if max(r.shape[1] for r in roots) > 4:
        return None
    inverse = [torch.linalg.pinv(r) for r in roots]
    left, rho, right = torch.linalg.svd(inverse[0] @ cov[:n, n:] @ inverse[1].T)
    turned = [roots[0] @ left, roots[1] @ right.T]
    rows = [
        chaos(lambda u, layers=layers: _ends(layers[at + 1 :], u, a.n_ctx), 5, m, r)
        for layers, m, r in zip(sides, (mean[:n], mean[n:]), turned, strict=True)
    ]
    want = taken(*rows, rho).sum(-1)
    squares = [
        taken(c, c, torch.ones(r.shape[1], dtype=F64)).sum(-1).diagonal()
        for c, r in zip(rows, turned, strict=True)
    ]
    got = tnsim.paths(*run.nets, method="layerwise", under=run.law, progress=False)
    size = torch.outer(*(s.clamp_min(0).sqrt() for s in squares))
    size = size + 1e-3 * size.max()
    for mine, other in zip(got.squares, squares, strict=True):
        close("squares of paths", mine, other, other + 1e-3 * other.max(), 1e-8)
    return close("paths", got.products, want, size, 1e-8)


def _split(layer, reads):
    """What goes past an attention layer, and the attention, whose q, k, q2, k2 and v read what is given."""
    attend = next(m for m in layer.modules() if hasattr(m, "heads"))
    q, k, p, l, v = (
        f(h) for f, h in zip((attend.q, attend.k, attend.q2, attend.k2, attend.v), reads, strict=True)
    )
    pattern = attend._score(q, k) * attend._score(p, l)
    pattern = pattern.tril() if attend.causal else pattern
    found = attend.o((pattern @ attend._split(v)).transpose(1, 2).flatten(2))
    return reads[0], found


def _ends(layers, u, n_ctx):
    """All 34 paths from what went past the first attention and what came out of it: shape (N, 34, outputs)."""
    past, attended = (h.reshape(len(u), n_ctx, -1) for h in u.chunk(2, 1))
    second, *rest = layers
    found = [past, attended]
    for bits in product((0, 1), repeat=5):
        found.append(_split(second, [(past, attended)[b] for b in bits])[1])
    for f in rest:
        found = [f(h) for h in found]
    return torch.stack([h.flatten(1) for h in found], 1)


LAYERWISE = {
    f.__name__: f
    for f in (
        layerwise,
        layerwise_similarity,
        layerwise_gram,
        layerwise_indices,
        layerwise_unfold,
        layerwise_localise,
        paths,
    )
}
