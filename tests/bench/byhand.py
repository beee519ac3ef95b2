"""Closed forms in plain torch, as one would write them for one architecture."""

from itertools import pairwise

import torch

import tnsim

__all__ = ["cosine", "layerwise", "net", "one_layer", "square_with_slices"]


def net(widths, hidden, seed, residual=0.0):
    """Bilinear layers D((Lx)∘(Rx)) of the given widths, with random weights, as a Network."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator) / shape[-1] ** 0.5

    layers = []
    for k, (d, o) in enumerate(pairwise(widths)):
        f = tnsim.poly(
            "D[out,hid] L[hid,in0] R[hid,in1]", D=rand(o, hidden), L=rand(hidden, d), R=rand(hidden, d)
        )
        if residual:
            f = tnsim.algebra.identity(f.domain, f.like) + residual * f
        layers.append((f"layer{k}", f))
    return tnsim.Network(tuple(layers))


def weights(network):
    """D, L, R of every layer."""
    return [tuple(x.data for x in f.terms[0].tensors) for f in network.polys]


def cosine(ab, aa, bb):
    return ab / aa.sqrt() / bb.sqrt()


def one_layer(a, b):
    """Cosine of two bilinear layers under N(0, I): 2 Σ K∘(D₁ᵀD₂) + t₁·t₂."""
    ((d1, l1, r1),), ((d2, l2, r2),) = weights(a), weights(b)

    def product(d1, l1, r1, d2, l2, r2):
        same = l1 is l2
        lr = l1 @ r2.T
        rl = lr.T if same else r1 @ l2.T
        kernel = (l1 @ l2.T) * (r1 @ r2.T) + lr * rl
        means = [d @ (left * right).sum(1) for d, left, right in ((d1, l1, r1), (d2, l2, r2))]
        return (kernel * (d1.T @ d2)).sum() + means[0] @ means[1]

    one, two = (d1, l1, r1), (d2, l2, r2)
    return cosine(product(*one, *two), product(*one, *one), product(*two, *two))


def square_with_slices(networks):
    """E[f_k g_k] for all pairs of one-layer models and all outputs k: three large products of matrices."""
    d, left, right = (torch.stack(x) for x in zip(*(weights(n)[0] for n in networks), strict=True))
    n, h, width = left.shape
    flat_l, flat_r = left.reshape(n * h, width), right.reshape(n * h, width)
    lr = flat_l @ flat_r.T
    kernel = ((flat_l @ flat_l.T) * (flat_r @ flat_r.T) + lr * lr.T).reshape(n, h, n, h)
    half = torch.einsum("ikh,ihjg->jikg", d, kernel)
    mean = torch.einsum("ikh,ih->ki", d, (left * right).sum(-1))
    return torch.einsum("jikg,jkg->kij", half, d) + mean[:, :, None] * mean[:, None, :]


def layerwise(a, b):
    """Cosine layer by layer, without residual or bias: hidden states as Gaussians of the same mean and covariance."""
    first, *layers = zip(weights(a), weights(b), strict=True)
    pairs = ((0, 0), (0, 1), (1, 1))
    means, covs = [None, None], {pair: None for pair in pairs}
    for k, both in enumerate((first, *layers)):
        last = k == len(layers)
        shifts = [None if m is None else (l @ m, r @ m) for (_, l, r), m in zip(both, means, strict=True)]
        after, outs = [None, None], {}
        for s, t in pairs:
            (d, l, r), (e, m, q) = both[s], both[t]
            if covs[s, t] is not None:
                l, r = l @ covs[s, t], r @ covs[s, t]
            ll, rr, lr = l @ m.T, r @ q.T, l @ q.T
            rl = lr.T if s == t else r @ m.T
            kernel = ll * rr + lr * rl
            if shifts[s] is not None:
                (u, v), (x, y) = shifts[s], shifts[t]
                kernel = kernel + ll * torch.outer(v, y) + rr * torch.outer(u, x)
                kernel = kernel + lr * torch.outer(v, x) + rl * torch.outer(u, y)
            if s == t:
                own = lr.diagonal() if shifts[s] is None else lr.diagonal() + shifts[s][0] * shifts[s][1]
                after[s] = d @ own
            outs[s, t] = (kernel * (d.T @ e)).sum() if last else d @ kernel @ e.T
        means, covs = after, outs
    return cosine(*(covs[s, t] + means[s] @ means[t] for s, t in ((0, 1), (0, 0), (1, 1))))
