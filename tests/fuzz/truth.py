"""The slow truth: torch modules evaluated on points that integrate polynomials exactly. Nothing of tnsim is called."""

from functools import cached_property
from itertools import product
from math import factorial

import numpy as np
import torch
from fuzz.build import build, majorant
from fuzz.laws import components, gauss, points, root
from numpy.polynomial import hermite_e

__all__ = ["Truth", "chaos", "closure", "degrees_of", "hermite", "powers", "root_of", "taken", "taylor"]

F64 = torch.float64


class Truth:
    """What is right for a case: moments of its two modules under its law, and how far rounding may take them.

    A moment E[f gᵀ] is a sum of signed products, and however it is arranged, rounding is at most a few ε times the sum
    of their absolute values. The majorants of the modules (all weights and coefficients positive) at |x| bound it.
    """

    def __init__(self, case):
        self.case, self.law = case, case.law
        self.modules = tuple(build(m).double() for m in (case.a, case.b))
        self.majorants = tuple(majorant(m) for m in self.modules)
        self.degree = max(case.a.degree, case.b.degree)
        for m in (*self.modules, *self.majorants):
            m.requires_grad_(False)

    @property
    def tensors(self):
        """Whether the law compares coefficients and has no points."""
        return self.law.kind in ("symmetric", "frobenius")

    @cached_property
    def grid(self):
        return points(self.law, self.case.a, 2 * self.degree)

    @cached_property
    def sizes(self):
        """Points at which majorants are taken."""
        x, w = self.grid
        return (x if self.case.a.vocab else x.abs()), w

    def moment(self, f, g, majorants=False):
        """E[f gᵀ] of two functions on batches."""
        if self.law.kind == "symmetric":
            c, d = (taylor(h, self.case.a, self.degree) for h in (f, g))
            return torch.einsum("n,ni,nj->ij", multiplicities(self.case.a, self.degree), c, d)
        x, w = self.sizes if majorants else self.grid
        return torch.einsum("n,ni,nj->ij", w, f(x).flatten(1), g(x).flatten(1))

    def mean(self, f, majorants=False):
        x, w = self.sizes if majorants else self.grid
        return w @ f(x).flatten(1)

    @cached_property
    def moments(self):
        """The moments aa, ab, ba, bb."""
        return [[self.moment(f, g) for g in self.modules] for f in self.modules]

    @cached_property
    def bounds(self):
        """Majorants of the same; of coefficients the truth itself knows the small ones to 1e-13 of the largest."""
        bounds = [[self.moment(f, g, True) for g in self.majorants] for f in self.majorants]
        if self.law.kind == "symmetric":
            rows = [taylor(f, self.case.a, self.degree).abs() for f in self.majorants]
            for i, c in enumerate(rows):
                for j, d in enumerate(rows):
                    bounds[i][j] += 1e-2 * (
                        torch.outer(c.amax(0), d.sum(0)) + torch.outer(c.sum(0), d.amax(0))
                    )
        return bounds

    @cached_property
    def centred(self):
        means = [self.mean(f) for f in self.modules]
        return [[self.moments[i][j] - torch.outer(means[i], means[j]) for j in (0, 1)] for i in (0, 1)]

    def inner(self, i, j, k=None):
        """⟨i, j⟩ and the majorant, of output ``k``, or of all."""
        value, bound = self.moments[i][j].diagonal(), self.bounds[i][j].diagonal()
        return (value.sum(), bound.sum()) if k is None else (value[k], bound[k])

    def cosine(self, k=None):
        """The cosine of the two, and the factor by which rounding is amplified."""
        (ab, mab), (aa, maa), (bb, mbb) = (self.inner(*p, k) for p in ((0, 1), (0, 0), (1, 1)))
        norm = (aa.clamp_min(0) * bb.clamp_min(0)).sqrt()
        return ab / norm, mab / norm + (ab / norm).abs() * (maa / aa + mbb / bb)


def _axes(model):
    return model.n_in * max(1, model.n_ctx)


def _shaped(model, x):
    return x.reshape(len(x), model.n_ctx, model.n_in) if model.n_ctx else x


def hermite(f, model, degree, mean=None, root=None):
    """Coefficients of f(mean + root z) in Hermite polynomials of z: shape (all multi-indices, outputs)."""
    d = _axes(model) if root is None else root.shape[1]
    nodes, weights = hermite_e.hermegauss(degree + 1)
    weights = weights / weights.sum()
    z = torch.tensor(np.array(list(product(nodes, repeat=d))).reshape(len(nodes) ** d, d), dtype=F64)
    x = z if root is None else mean + z @ root.T
    values = f(_shaped(model, x)).flatten(1)
    eye = np.eye(degree + 1)
    rows = [weights * hermite_e.hermeval(nodes, eye[k]) / factorial(k) for k in range(degree + 1)]
    return _each_axis(torch.tensor(np.array(rows), dtype=F64), values, d)


def taylor(f, model, degree):
    """Coefficients of f in monomials: shape (all multi-indices, outputs)."""
    eye = np.eye(degree + 1)
    columns = [np.pad(c := hermite_e.herme2poly(row), (0, degree + 1 - len(c))) for row in eye]
    change = torch.tensor(np.array(columns).T, dtype=F64)
    return _each_axis(change, hermite(f, model, degree), _axes(model))


def _each_axis(matrix, values, d):
    n, o = matrix.shape[1], values.shape[1]
    t = values.reshape(*(n,) * d, o)
    for k in range(d):
        t = torch.movedim(torch.tensordot(matrix, t, dims=([1], [k])), 0, k)
    return t.reshape(-1, o)


def chaos(f, degree, mean, root):
    """Coefficients of f(mean + root z) in Hermite polynomials of z, one axis for each: shape (degree + 1, …, *values)."""
    d = root.shape[1]
    nodes, weights = hermite_e.hermegauss(degree + 1)
    z = torch.tensor(np.array(list(product(nodes, repeat=d))).reshape(len(nodes) ** d, d), dtype=F64)
    values = f(mean + z @ root.T)
    eye, weights = np.eye(degree + 1), weights / weights.sum()
    rows = [weights * hermite_e.hermeval(nodes, eye[k]) / factorial(k) for k in range(degree + 1)]
    found = _each_axis(torch.tensor(np.array(rows), dtype=F64), values.flatten(1), d)
    return found.reshape(*(degree + 1,) * d, *values.shape[1:])


def taken(c, d, rho):
    """E[f_i gⱼ] for every output, where the i-th variables of both have the correlation ρ_i: shape (p, q, outputs).

    Of the coefficients of :func:`chaos`, those of equal order in every pair meet (Mehler); variables without a partner
    only count where they do not occur.
    """
    both = len(rho)
    c, d = (t[(slice(None),) * both + (0,) * (t.ndim - 2 - both)] for t in (c, d))
    top = c.shape[0] if both else 1
    weight = torch.ones((), dtype=F64)
    for r in rho:
        own = torch.tensor([factorial(k) * float(r) ** k for k in range(top)], dtype=F64)
        weight = weight[..., None] * own
    c, d = (t.reshape(-1, *t.shape[both:]) for t in (c, d))
    return torch.einsum("n,npo,nqo->pqo", weight.flatten(), c, d)


def root_of(law, model):
    """Mean and a root of the covariance of a Gaussian law, in the directions that vary."""
    _, mean, cov, _ = components(law, model)[0]
    return mean, root(cov)


def degrees_of(layers):
    """Degrees of the layers of both models."""
    return [[f.degree for f in side] for side in layers]


def powers(d, degree):
    return list(product(range(degree + 1), repeat=d))


def multiplicities(model, degree):
    """α!/|α|! for every multi-index: the square of a monomial's symmetric tensor."""
    return torch.tensor(
        [
            np.prod([factorial(a) for a in alpha]) / factorial(sum(alpha))
            for alpha in powers(_axes(model), degree)
        ],
        dtype=F64,
    )


def closure(truth, layers, degrees, most=20_000, sizes=False, constant=False):
    """E[a bᵀ] layer by layer: hidden states replaced by the Gaussian of their joint mean and covariance.

    Args:
        truth: of the case.
        layers: for both models a list of functions on batches, as the converted network has them (the first takes the
            points as they are).
        degrees: their degrees.
        most: points that may be used; ``None`` is returned where more are needed.
        sizes: give bounds of what is summed instead, see :func:`_sizes`.
        constant: a one behind the outputs, so that the means stand in the last row.

    Returns:
        The four blocks of second moments, a list of lists.
    """
    total = None
    for weight, x, w in _parts(truth):
        own = [_pushed(truth, [side], [d], x, w, most) for side, d in zip(layers, degrees, strict=True)]
        if None in own:
            return None
        both = _pushed(truth, layers, degrees, x, w, most, [moments for *_, moments in own])
        if both is None:
            return None
        found = _ends(both[0], layers, both[1], sizes, constant)
        for i, (states, weights, _) in enumerate(own):  # what a model is alone does not depend on the other
            found[i][i] = _ends(states, [layers[i]], weights, sizes, constant)[0][0]
        found = [[weight * m for m in row] for row in found]
        total = (
            found
            if total is None
            else [[p + q for p, q in zip(*r, strict=True)] for r in zip(total, found, strict=True)]
        )
    if sizes and truth.law.kind in ("tokens", "chain"):
        _compose(truth, total)
    return total


def _compose(truth, bounds):
    """Add what cancels on the way: under tokens, linear layers are composed with what reads them."""
    for i, row in enumerate(truth.bounds):
        for j, m in enumerate(row):
            bounds[i][j][: m.shape[0], : m.shape[1]] += m


def _ends(states, layers, w, sizes, constant):
    """The blocks of second moments behind the last layers."""
    ends = [
        _sizes(side[-1], h) if sizes else side[-1](h).flatten(1)
        for side, h in zip(layers, states, strict=True)
    ]
    if constant:
        ends = [torch.nn.functional.pad(f, (0, 1), value=1.0) for f in ends]
    return [[torch.einsum("n,ni,nj->ij", w, f, g) for g in ends] for f in ends]


def _pushed(truth, sides, degrees, x, w, most, own=()):
    """States in front of the last layers, their weights, and the mean and covariance of every state on the way.

    Gaussian from the first state on that is not exact: samples are, and what is linear in tokens. ``None`` where that
    takes too many points, or where means and covariances of single models (``own``) are those of no joint Gaussian.
    """
    states, passed = tuple(_as_read(x, side[0]) for side in sides), []
    for k in range(len(sides[0]) - 1):
        states = tuple(side[k](h) for side, h in zip(sides, states, strict=True))
        shapes, flat = [h.shape[1:] for h in states], [h.flatten(1) for h in states]
        both = torch.cat(flat, 1)
        mean = w @ both
        cov = torch.einsum("n,ni,nj->ij", w, both - mean, both - mean)
        at = 0
        for moments, h in zip(own, flat, strict=False):
            here = slice(at, at := at + h.shape[1])
            mean[here], cov[here, here] = moments[k]
        passed.append((mean, cov))
        linear = max(d for side in degrees for d in side[: k + 1]) < 2
        if truth.law.kind == "empirical" or (truth.law.kind in ("tokens", "chain") and linear):
            continue
        scale = cov.diagonal().clamp_min(1e-300).sqrt()
        top = 2 * max(side[k + 1] for side in degrees)
        few = (top // 2 + 1) ** root(cov).shape[1] <= most
        if not few or torch.linalg.eigvalsh(cov / scale / scale[:, None]).min() < -1e-9:
            return None
        both, w = gauss(mean, cov, top)
        parts = both.split([h.shape[1] for h in flat], 1)
        states = tuple(h.reshape(-1, *s) for h, s in zip(parts, shapes, strict=True))
    return states, w, passed


def _as_read(x, f):
    """Points in the shape in which a layer reads them, if it says so."""
    return x.reshape(len(x), *f.in_shape) if hasattr(f, "in_shape") else x


def _sizes(f, h):
    """A bound of what is summed in f(h): its largest values on the box around h with random signs."""
    signs = torch.randint(0, 2, (16, 1, *h.shape[1:]), generator=torch.Generator().manual_seed(1)) * 2.0 - 1
    values = torch.stack([f(h * s).flatten(1).abs() for s in signs.double()]).amax(0)
    return 10 * values.amax(1, keepdim=True).expand_as(values)


def _parts(truth):
    """(weight, points, weights) of every component of a mixture; of other laws one."""
    model, law = truth.case.a, truth.law
    if law.kind not in ("gaussian", "mixture"):
        x, w = truth.grid
        if model.vocab and not x.is_floating_point():
            x = torch.nn.functional.one_hot(x, model.vocab).to(F64)
        return [(1.0, x, w)]
    return [
        (p, _shaped(model, x), w)
        for p, mean, cov, _ in components(law, model)
        for x, w in [gauss(mean, cov, 2 * truth.degree)]
    ]
