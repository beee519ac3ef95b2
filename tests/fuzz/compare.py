"""Questions about a pair: every comparison of tnsim beside its value by quadrature."""

import torch
from fuzz.check import TOLERANCE, close
from fuzz.truth import hermite, powers, root_of

import tnsim

__all__ = ["COMPARE", "cosine_close", "indices_close"]


def _scalar(what, got, value_and_bound, tolerance=TOLERANCE):
    return close(what, got, *value_and_bound, tolerance)


def cosine_close(what, got, value, factor):
    if not bool(torch.as_tensor(factor).isfinite().all()) or float(torch.as_tensor(factor).max()) > 1e7:
        return False
    return close(what, got, value, factor)


def similarity(run):
    if run.truth.tensors and run.law == tnsim.Frobenius():
        return _reflexive(run)
    value, factor = run.truth.cosine()
    got = tnsim.similarity(*run.nets, **run.options)
    return cosine_close("similarity", got, value, factor)


def _reflexive(run):
    a, b = run.nets
    ab, ba = tnsim.inner(a, b, **run.options), tnsim.inner(b, a, **run.options)
    close("⟨a,b⟩ and ⟨b,a⟩", ab, ba, ba.abs() + 1e-9)
    pairs = tnsim.gram([a, b], progress=False, **run.options).matrix
    close("gram", pairs[0, 1], ab, ab.abs() + 1e-9)
    return bool(ab.abs() > 1e-6)


def similarity_of_an_output(run):
    if run.law == tnsim.Frobenius() or len(run.truth.moments[0][0]) != len(run.truth.moments[1][1]):
        return None
    k = len(run.truth.moments[0][0]) - 1
    value, factor = run.truth.cosine(k)
    position = _position(run, k)
    return cosine_close(
        "similarity, output", tnsim.similarity(*run.nets, output=position, **run.options), value, factor
    )


def _position(run, k):
    shape = run.nets[0].polys[-1].out_shape
    return k if len(shape) < 2 else tuple(int(i) for i in torch.unravel_index(torch.tensor(k), shape))


def similarity_of_modules(run):
    if run.law == tnsim.Frobenius() or run.case.a.n_ctx:
        return None
    value, factor = run.truth.cosine()
    return cosine_close("similarity", tnsim.similarity(*run.modules, **run.options), value, factor)


def inner(run):
    if run.law == tnsim.Frobenius():
        return None
    for i, j in ((0, 1), (1, 0), (1, 1)):
        decided = _scalar(
            "inner", tnsim.inner(run.nets[i], run.nets[j], **run.options), run.truth.inner(i, j)
        )
    return decided


def moments(run):
    if run.law == tnsim.Frobenius():
        return None
    t = run.truth
    close("moments", tnsim.moments(*run.nets, **run.options), t.moments[0][1], t.bounds[0][1])
    return close("moments", tnsim.moments(run.nets[0], **run.options), t.moments[0][0], t.bounds[0][0])


def gram(run):
    if run.law == tnsim.Frobenius():
        return None
    nets = [run.nets[0], run.nets[1], run.nets[0]]
    return _gram(run, tnsim.gram(nets, progress=False, **run.options), (0, 1, 0))


def gram_as_a_whole(run):
    if run.law == tnsim.Frobenius():
        return None
    got = tnsim.gram(list(run.nets), slices=False, progress=False, **run.options)
    value, bound = _blocks(run, (0, 1), "inner")
    return close("gram", got.matrix, value, bound)


def gram_in_little_memory(run):
    if run.law == tnsim.Frobenius():
        return None
    got = tnsim.gram(
        [run.nets[0], run.nets[1], run.nets[1]], progress=False, **{**run.options, "memory": 1e5}
    )
    return _gram(run, got, (0, 1, 1))


def _blocks(run, which, what, k=None):
    rows = [[run.truth.inner(i, j, k) for j in which] for i in which]
    return (torch.stack([torch.stack([pair[s] for pair in row]) for row in rows]) for s in (0, 1))


def _gram(run, got, which):
    n = len(run.truth.moments[0][0])
    products = got.products.reshape(n, len(which), len(which))
    for k in range(n):
        value, bound = _blocks(run, which, "inner", k)
        close(f"gram, output {k}", products[k], value, bound)
    value, bound = _blocks(run, which, "inner")
    diagonal, majorant = value.diagonal(), bound.diagonal()
    squares = diagonal[:, None] - 2 * value + diagonal
    size = majorant[:, None] + 2 * bound + majorant
    close("distance²", got.distance() ** 2, squares, size)
    cosine, factor = run.truth.cosine()
    if factor < 1e7:
        close("gram similarity", got.similarity()[0, 1], cosine, factor)
    return close("gram", got.matrix, value, bound)


def stacked(run):
    """Two models of one wiring on one index, exactly and layer by layer, as they are one by one."""
    if run.law == tnsim.Frobenius() or run.nets[0].signature() != run.nets[1].signature():
        return None
    both = tnsim.stack(list(run.nets))
    value, bound = _blocks(run, (0, 1), "inner")
    close("stacked inner", tnsim.inner(both, both, **run.options), value, bound)
    got = tnsim.gram(both, progress=False, **run.options)
    return close("stacked gram", got.matrix, value, bound)


def in_little_memory(run):
    if run.law == tnsim.Frobenius():
        return None
    got = tnsim.inner(*run.nets, **{**run.options, "memory": 2e4})
    return _scalar("inner", got, run.truth.inner(0, 1))


def orders(run):
    if run.case.law.kind != "gaussian":
        return None
    t, a = run.truth, run.case.a
    got = tnsim.orders(*run.nets, **run.options)
    mean, root = root_of(run.case.law, a)
    c, d = (hermite(f, a, t.degree, mean, root) for f in t.modules)
    alphas = torch.tensor(powers(root.shape[1], t.degree)).reshape(-1, root.shape[1])
    weights = torch.exp(torch.lgamma(alphas.double() + 1).sum(1)).round()
    total = alphas.sum(1)
    want = torch.stack([(weights * (total == k)) @ (c * d).sum(1) for k in range(t.degree + 1)])
    bound = t.inner(0, 1)[1]
    if bool((want[len(got) :].abs() > 1e-9 * bound).any()):
        close("orders", torch.nn.functional.pad(got, (0, len(want) - len(got))), want, bound)
    got = torch.nn.functional.pad(got, (0, max(0, len(want) - len(got))))[: len(want)]
    return close("orders", got, want, bound)


def _indices(run):
    """Moments of the outputs, about their mean where the law has one, and factors of rounding."""
    if run.law == tnsim.Frobenius():
        return None
    t = run.truth
    if run.case.law.kind == "symmetric":
        return t.moments, t.bounds, {"centred": False}
    centred = run.case.law.seed % 2 == 0
    return (t.centred if centred else t.moments), t.bounds, {"centred": centred}


def _amplified(m, bounds):
    return max(float(bounds[i][i].trace() / m[i][i].trace().clamp_min(1e-300)) for i in (0, 1))


def indices_close(run, m, bounds, options):
    """CKA, Procrustes and CCA, from the moments of the outputs."""
    factor = _amplified(m, bounds)
    got = [f(*run.nets, **options) for f in (tnsim.cka, tnsim.procrustes, tnsim.cca)]
    if factor > 1e6:
        return False
    traces = m[0][0].trace() * m[1][1].trace()
    norms = m[0][0].norm() * m[1][1].norm()
    close("cka", got[0], m[0][1].norm() ** 2 / norms, 10 * factor * traces / norms)
    decided = close(
        "procrustes", got[1], torch.linalg.matrix_norm(m[0][1], "nuc") / traces.sqrt(), 10 * factor
    )
    roots = []
    for i in (0, 1):
        values, vectors = torch.linalg.eigh(m[i][i])
        relative = values / values.max()
        if factor > 1e3 or bool(((relative > 1e-11) & (relative < 1e-5)).any()):
            return decided  # whether such a direction counts is a matter of rounding
        keep = relative > 1e-5
        factor *= float(1 / relative[keep].min())
        roots.append(vectors[:, keep] / values[keep].sqrt())
    return close("cca", got[2], torch.linalg.svdvals(roots[0].T @ m[0][1] @ roots[1]), 10 * factor)


def indices(run):
    """CKA, Procrustes and CCA, centred or not."""
    if (found := _indices(run)) is None:
        return None
    m, bounds, how = found
    return indices_close(run, m, bounds, {**how, **run.options})


def nearest(run):
    if run.law == tnsim.Frobenius():
        return None
    got = tnsim.nearest(run.nets[0], [run.nets[1], run.nets[0]], **run.options)
    (aa, maa), (ab, mab), (bb, mbb) = (run.truth.inner(*p) for p in ((0, 0), (0, 1), (1, 1)))
    want, zero = aa - 2 * ab + bb, torch.zeros_like(aa)
    value, factor = run.truth.cosine()
    close("nearest", got.distances**2, torch.stack([want, zero]), maa + 2 * mab + mbb + 3 * maa)
    return cosine_close("nearest", got.similarities[0], value, factor)


def trajectory(run):
    if run.law == tnsim.Frobenius():
        return None
    nets = [run.nets[0], run.nets[1], tnsim.difference(*run.nets)] if not run.case.a.n_ctx else list(run.nets)
    got = tnsim.trajectory(tnsim.gram(nets, progress=False, **run.options))
    (aa, maa), (ab, mab), (bb, mbb) = (run.truth.inner(*p) for p in ((0, 0), (0, 1), (1, 1)))
    size = 4 * (maa + 2 * mab + mbb)
    close("first step²", got.steps[0] ** 2, aa - 2 * ab + bb, size)
    apart = torch.cdist(got.points, got.points, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    if len(nets) == 3:
        close("second step²", got.steps[1] ** 2, aa - 4 * ab + 4 * bb, 4 * size)
        close("points", apart[1, 2], aa - 4 * ab + 4 * bb, 4 * size)
        close("from start²", got.from_start[2] ** 2, bb, 4 * size)
    return close("points", apart[0, 1], aa - 2 * ab + bb, size)


def cost(run):
    price = tnsim.cost(*run.nets, under=run.law)
    assert price.flops < float("inf") or (price.at_least and price.contractions > 50_000)
    assert price.flops >= 0 and price.bytes >= 0 and price.contractions >= 0 and str(price)
    return True


COMPARE = {
    f.__name__: f
    for f in (
        similarity,
        similarity_of_an_output,
        similarity_of_modules,
        inner,
        moments,
        gram,
        gram_as_a_whole,
        gram_in_little_memory,
        stacked,
        in_little_memory,
        orders,
        indices,
        nearest,
        trajectory,
        cost,
    )
}
