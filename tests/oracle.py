"""Slow and obviously right: expectations by tensor-product Gauss–Hermite quadrature.

A rule with n nodes integrates polynomials of degree 2n−1 exactly, so a deviation is an error, not noise.
"""

from itertools import combinations, product

import numpy as np
import torch
from numpy.polynomial.hermite_e import hermegauss


def nodes(d, degree, mean=None, cov=None):
    """Points (n, d) and weights (n,) that integrate polynomials of the given degree under N(mean, cov)."""
    points, weights = hermegauss(degree // 2 + 1)
    weights = weights / weights.sum()
    z = torch.tensor(np.array(list(product(points, repeat=d))), dtype=torch.float64)
    w = torch.tensor(np.array([np.prod(c) for c in product(weights, repeat=d)]), dtype=torch.float64)
    if cov is not None:
        cov = torch.as_tensor(cov, dtype=torch.float64)
        z = z @ torch.linalg.cholesky(cov if cov.ndim == 2 else torch.diag(cov)).T
    return z if mean is None else z + torch.as_tensor(mean, dtype=torch.float64), w


def second_moment(f, g, d, degree, mean=None, cov=None):
    """E[f gᵀ], for functions on batches whose degrees add up to at most ``degree``."""
    x, w = nodes(d, degree, mean, cov)
    return torch.einsum("b,bi,bj->ij", w, f(x), g(x))


def dense(f, d, degree):
    """Coefficient tensors of a polynomial, symmetrised, for degrees 0 … degree, by automatic differentiation."""
    tensors, current = [], lambda x: f(x[None])[0]
    zero = torch.zeros(d, dtype=torch.float64)
    factorial = 1.0
    for n in range(degree + 1):
        factorial *= max(1, n)
        tensors.append(current(zero).detach() / factorial)
        current = torch.func.jacrev(current)
    return tensors


def matchings(items):
    """All perfect matchings, one by one."""
    if not items:
        yield ()
        return
    first, rest = items[0], items[1:]
    for k, partner in enumerate(rest):
        for tail in matchings((*rest[:k], *rest[k + 1 :])):
            yield ((first, partner), *tail)


def partial_matchings(items):
    """All partial matchings, one by one, with the items they leave alone."""
    for alone in range(len(items) % 2, len(items) + 1, 2):
        for left in combinations(items, alone):
            for pairs in matchings(tuple(i for i in items if i not in left)):
                yield pairs, left


def along(value, parts):
    """∫₀¹ ∂E/∂g (s, …, s) ds for E = value(g): automatic differentiation, and Simpson's rule over the path."""
    rows = []
    for s in torch.linspace(0, 1, 101, dtype=torch.float64):
        gains = torch.full((parts,), float(s), dtype=torch.float64, requires_grad=True)
        rows.append(torch.autograd.grad(value(gains), gains)[0])
    weights = torch.ones(101, dtype=torch.float64)
    weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0
    return (weights / 300) @ torch.stack(rows)
