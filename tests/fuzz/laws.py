"""Laws twice: as tnsim's, and as points and weights that integrate polynomials exactly."""

from itertools import product

import numpy as np
import torch
from numpy.polynomial.hermite_e import hermegauss

import tnsim

__all__ = ["components", "gauss", "points", "root", "tnsim_law"]

F64 = torch.float64


def _random(law, *shape, offset=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1000 * law.seed + offset), dtype=F64)


def _simplex(law, *shape, offset=0):
    p = _random(law, *shape, offset=offset).exp()
    if law.seed % 3 == 0:
        p[..., 0] = 0.0  # a token that never occurs
    return p / p.sum(-1, keepdim=True)


def components(law, model):
    """(weight, mean or None, covariance or None, arguments of tnsim.Gaussian) of each Gaussian."""
    n = 2 if law.kind == "mixture" else 1
    return [(1 / 3 if i else 1 - (n - 1) / 3, *_gaussian(law, model, 10 * i)) for i in range(n)]


def _gaussian(law, model, offset):
    d, s = model.n_in, max(1, model.n_ctx)
    arguments = {}
    mean = torch.zeros(d, dtype=F64)
    if law.mean or (law.kind == "mixture" and offset):
        mean = _random(law, d, offset=offset + 1)
        arguments["mean"] = mean
    root = _random(law, d, d, offset=offset + 2)
    joint = torch.eye(s * d, dtype=F64)
    if law.cov == "diagonal":
        scale = root[0].abs() + 0.1
        arguments["cov"], joint = scale, torch.kron(torch.eye(s, dtype=F64), torch.diag(scale))
    elif law.cov in ("full", "singular", "across"):
        root = root[:, : d // 2 + (d == 1)] if law.cov == "singular" else root
        arguments["cov"] = cov = root @ root.T
        across = torch.eye(s, dtype=F64)
        if law.cov == "across":
            mix = _random(law, s, s, offset=offset + 3)
            arguments["across"] = across = mix @ mix.T
        joint = torch.kron(across, cov)
    elif law.cov == "joint":
        mix = _random(law, s * d, s * d, offset=offset + 4) / (s * d) ** 0.5
        joint = mix @ mix.T
        arguments["cov"] = joint.reshape(s, d, s, d)
    return mean.repeat(s), joint, arguments


def tnsim_law(law, model, flat=False):
    """The law as tnsim's; ``flat`` where the network reads all positions as one vector."""
    if flat and law.kind in ("gaussian", "mixture"):
        parts = [(w, tnsim.Gaussian(mean, cov)) for w, mean, cov, _ in components(law, model)]
        return parts[0][1] if len(parts) == 1 else tnsim.Mixture([g for _, g in parts], [w for w, _ in parts])
    match law.kind:
        case "gaussian":
            return tnsim.Gaussian(**components(law, model)[0][3])
        case "mixture":
            parts = components(law, model)
            return tnsim.Mixture([tnsim.Gaussian(**p[3]) for p in parts], [p[0] for p in parts])
        case "symmetric":
            return tnsim.Symmetric()
        case "frobenius":
            return tnsim.Frobenius()
        case "empirical":
            x, weights = points(law, model, 0)
            return tnsim.Empirical(x, 3 * weights if law.seed % 2 else None)
        case "tokens":
            return tnsim.Tokens(_frequencies(law, model))
        case "chain":
            return tnsim.MarkovChain(
                _simplex(law, model.vocab), _simplex(law, model.vocab, model.vocab, offset=1)
            )
    raise ValueError(law.kind)


def _frequencies(law, model):
    shape = (model.n_ctx, model.vocab) if law.seed % 2 else (model.vocab,)
    return _simplex(law, *shape)


def points(law, model, degree):
    """Inputs and weights that integrate polynomials of ``degree``; ``None`` for laws of tensors."""
    shape = (model.n_ctx, model.n_in) if model.n_ctx else (model.n_in,)
    match law.kind:
        case "gaussian" | "mixture":
            parts = [(w, *gauss(mean, cov, degree)) for w, mean, cov, _ in components(law, model)]
            x = torch.cat([x for _, x, _ in parts]).reshape(-1, *shape)
            return x, torch.cat([w * v for w, _, v in parts])
        case "empirical":
            n = 5
            weights = _simplex(law, n, offset=9) if law.seed % 2 else torch.full((n,), 1 / n, dtype=F64)
            if model.vocab:
                ids = torch.randint(
                    model.vocab, (n, model.n_ctx), generator=torch.Generator().manual_seed(law.seed)
                )
                return ids, weights
            return _random(law, n, *shape), weights
        case "tokens":
            ids = _sequences(model)
            p = _frequencies(law, model).expand(model.n_ctx, -1)
            return ids, torch.stack([p[s, ids[:, s]] for s in range(model.n_ctx)]).prod(0)
        case "chain":
            ids = _sequences(model)
            p0, move = _simplex(law, model.vocab), _simplex(law, model.vocab, model.vocab, offset=1)
            w = p0[ids[:, 0]]
            for s in range(1, model.n_ctx):
                w = w * move[ids[:, s - 1], ids[:, s]]
            return ids, w
    return None


def _sequences(model):
    return torch.tensor(list(product(range(model.vocab), repeat=model.n_ctx)))


def root(cov):
    """A matrix R with R Rᵀ = cov and no more columns than its rank, whatever the scales of its entries."""
    scale = cov.diagonal().clamp_min(1e-300).sqrt()
    values, vectors = torch.linalg.eigh(cov / scale / scale[:, None])
    keep = values > 1e-12
    return scale[:, None] * vectors[:, keep] * values[keep].sqrt()


def gauss(mean, cov, degree):
    """Gauss–Hermite points and weights of N(mean, cov), in the directions that vary."""
    r = root(cov)
    nodes, weights = hermegauss(degree // 2 + 1)
    n = r.shape[1]
    z = torch.tensor(np.array(list(product(nodes, repeat=n))).reshape(len(nodes) ** n, n), dtype=F64)
    w = torch.tensor(np.array([np.prod(c) for c in product(weights / weights.sum(), repeat=n)]), dtype=F64)
    return mean + z @ r.T, w
