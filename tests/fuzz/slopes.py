"""Gradients: slopes along a random direction of all weights, beside central differences of the truth."""

import torch
from fuzz.build import example
from fuzz.check import close
from fuzz.truth import closure, degrees_of

import tnsim

__all__ = ["SLOPES"]

RULE = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}  # exact up to degree eight
STEPS = (2e-2, 1e-2)


def _slope(run, value):
    """The derivative of ``value()`` with the weights of the first slow module, and how well it is known."""
    weights = list(run.truth.modules[0].parameters())
    own = [p.detach().clone() for p in weights]
    ways = _ways(weights)

    def moved(step):
        with torch.no_grad():
            for p, o, w in zip(weights, own, ways, strict=True):
                p.copy_(o + step * w)
        return torch.as_tensor(value(), dtype=torch.float64)

    try:
        found = [sum(c * (moved(k * h) - moved(-k * h)) for k, c in RULE.items()) / h for h in STEPS]
    finally:
        moved(0.0)
    return found[1], (found[0] - found[1]).abs()


def _ways(weights):
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randn(p.shape, generator=generator, dtype=p.dtype) * p.detach().abs().max() for p in weights
    ]


def _applies(run):
    if run.law == tnsim.Frobenius() or run.case.a.dtype != "float64" or run.case.a.n_ctx:
        return False
    mine, slow = ([tuple(p.shape) for p in m.parameters()] for m in (run.modules[0], run.truth.modules[0]))
    return bool(mine) and mine == slow


def _compared(run, what, got, value, bound):
    """``got`` is tnsim's, with its graph; ``value`` the truth as a function of the weights that it has now."""
    weights = list(run.modules[0].parameters())
    slopes = (
        torch.autograd.grad(got, weights, allow_unused=True) if got.requires_grad else [None] * len(weights)
    )
    slope = sum((w * s).sum() for w, s in zip(_ways(weights), slopes, strict=True) if s is not None)
    want, unsure = _slope(run, value)
    if not bool(torch.as_tensor(bound).isfinite()) or unsure > 1e-5 * (want.abs() + bound):
        return False
    return close(f"slope of {what}", slope, want, bound * 8 * run.truth.degree + 1e8 * unsure, 1e-8)


def _moment(run, i, j):
    return run.truth.moment(run.truth.modules[i], run.truth.modules[j])


def gradient(run):
    if not _applies(run):
        return None
    got = tnsim.inner(run.modules[0], run.nets[1], **run.options)
    return _compared(run, "inner", got, lambda: _moment(run, 0, 1).trace(), run.truth.bounds[0][1].trace())


def _random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def gradient_of_moments(run):
    if not _applies(run):
        return None
    n = len(run.truth.moments[0][0])
    c = _random(n, n)
    got = (tnsim.moments(run.modules[0], run.nets[1], **run.options) * c).sum()
    return _compared(
        run, "moments", got, lambda: (_moment(run, 0, 1) * c).sum(), 4 * run.truth.bounds[0][1].sum()
    )


def gradient_of_similarity(run):
    if not _applies(run):
        return None
    bb = run.truth.inner(1, 1)[0]
    factor = run.truth.cosine()[1]
    got = tnsim.similarity(run.modules[0], run.nets[1], **run.options)
    if not factor < 1e4:
        return False

    def value():
        return _moment(run, 0, 1).trace() / (_moment(run, 0, 0).trace() * bb).sqrt()

    return _compared(run, "similarity", got, value, 100 * factor)


def gradient_of_indices(run):
    """CKA and Procrustes, without centring."""
    if not _applies(run):
        return None
    t = run.truth
    bb = t.moments[1][1]
    factor = max(float(t.bounds[i][i].trace() / t.moments[i][i].trace().clamp_min(1e-300)) for i in (0, 1))
    cka = tnsim.cka(run.modules[0], run.nets[1], centred=False, **run.options)
    if factor > 1e3 or float(bb.norm()) == 0:
        return False
    return _compared(
        run,
        "cka",
        cka,
        lambda: _moment(run, 0, 1).norm() ** 2 / (_moment(run, 0, 0).norm() * bb.norm()),
        100 * factor * t.moments[0][0].trace() / t.moments[0][0].norm(),
    )


def gradient_of_gram(run):
    """Of all its entries and of the squared distance."""
    if not _applies(run):
        return None
    made = tnsim.gram([run.modules[0], run.nets[1]], slices=False, progress=False, **run.options)
    c = _random(2, 2)
    bb = run.truth.moments[1][1].trace()

    def value():
        aa, ab = _moment(run, 0, 0).trace(), _moment(run, 0, 1).trace()
        return c[0, 0] * aa + (c[0, 1] + c[1, 0]) * ab + c[1, 1] * bb + aa - 2 * ab + bb

    got = (made.matrix * c).sum() + made.distance()[0, 1] ** 2
    bound = 8 * sum(m.trace() for row in run.truth.bounds for m in row)
    return _compared(run, "gram", got, value, bound)


def gradient_of_shares(run):
    if not _applies(run):
        return None
    c = _random(len(run.truth.moments[0][0]))
    got = (tnsim.attribute(run.modules[0], run.nets[1], to="outputs", **run.options) * c).sum()
    bb = run.truth.moments[1][1].diagonal()

    def value():
        return ((_moment(run, 0, 0).diagonal() - 2 * _moment(run, 0, 1).diagonal() + bb) * c).sum()

    bound = 8 * sum(m.trace() for row in run.truth.bounds for m in row)
    return _compared(run, "shares", got, value, bound)


def gradient_layerwise(run):
    """Of the recursion over hidden states; the layers are those of the moved module, converted again."""
    if not _applies(run) or run.truth.tensors or len(run.nets[0]) != len(run.nets[1]) or len(run.nets[0]) < 2:
        return None
    slow, other = run.truth.modules[0], list(run.nets[1].polys)

    def layers():
        return [list(tnsim.convert(slow, example(run.case.a)).polys), other]

    if closure(run.truth, now := layers(), degrees_of(now), most=2000) is None:
        return None
    bound = closure(run.truth, now, degrees_of(now), sizes=True)[0][1].trace()

    def value():
        now = layers()
        return closure(run.truth, now, degrees_of(now))[0][1].trace()

    got = tnsim.inner(run.modules[0], run.nets[1], method="layerwise", **run.options)
    return _compared(run, "inner layer by layer", got, value, bound)


SLOPES = {
    f.__name__: f
    for f in (
        gradient,
        gradient_of_moments,
        gradient_of_similarity,
        gradient_of_indices,
        gradient_of_gram,
        gradient_of_shares,
        gradient_layerwise,
    )
}
