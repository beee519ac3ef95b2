"""Idioms: one way to write a polynomial each. All of them convert; tests/convert/test_idioms.py tries them."""

import torch
import torch.nn.functional as F
from modules import Forward, p
from torch import nn

D, N = 4, 3  # features, positions
FLAT, SEQUENCE = (D,), (N, D)


def lin(n=D, m=D):
    return nn.Linear(n, m)


def written(y, key, value):
    out = torch.zeros_like(y)
    out[key] = value
    return out


def rows_written(x, w):
    out = torch.zeros(x.shape[0], N, D, dtype=x.dtype)
    for k in range(N):
        out[:, k] = w(x[:, k]) * k
    return out


def added_in_place(x, w):
    out = torch.zeros_like(x)
    out[..., :2] += w(x)[..., 2:]
    out[..., 1] *= 3
    return out * x


def written_through_views(x, w):
    out = torch.empty(x.shape, dtype=x.dtype)
    out.narrow(-1, 0, 2).copy_(w(x)[..., :2])
    out[..., 2:] = x[..., 2:]
    out[..., 1].add_(x[..., 0])
    return out * x


def llama(x, turn):
    """Rotary embedding by complex numbers, two heads of two features."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], 2, -1, 2))
    turned = pairs * turn[: x.shape[1]].view(1, x.shape[1], 1, -1)
    return torch.view_as_real(turned).flatten(3).type_as(x).flatten(2)


def turns(n=N, half=1):
    angle = torch.outer(
        torch.arange(n, dtype=torch.float64), 1.0 / 10 ** torch.arange(half, dtype=torch.float64)
    )
    return torch.polar(torch.ones_like(angle), angle)


def folded_heads(s, x):
    b, n, d = x.shape
    q, k, v = (f(x).view(b, n, 2, 2).transpose(1, 2).reshape(b * 2, n, 2) for f in (s.q, s.k, s.v))
    return s.o(torch.bmm(torch.bmm(q, k.mT).tril(), v).view(b, 2, n, 2).transpose(1, 2).reshape(b, n, d))


def llama_heads(s, x):
    """Rotary embedding by complex numbers on heads, as published with LLaMA."""

    def turn(y):
        z = torch.view_as_complex(y.reshape(*y.shape[:-1], -1, 2))
        shape = [n if k in (1, z.ndim - 1) else 1 for k, n in enumerate(z.shape)]
        return torch.view_as_real(z * turns().view(*shape)).flatten(3).type_as(y)

    q, k, v = (f(x).view(*x.shape[:2], 2, 2) for f in (s.q, s.k, s.v))
    q, k, v = (y.transpose(1, 2) for y in (turn(q), turn(k), v))
    return ((q @ k.mT).tril() @ v).transpose(1, 2).reshape(x.shape)


def heads_after_each_other(s, x):
    b = x.shape[0]
    q, k, v = (torch.cat(f(x).split(2, 2), 0) for f in (s.q, s.k, s.v))
    return torch.cat(torch.bmm(torch.bmm(q, k.mT), v).split(b, 0), 2)


def heads_positions_first(s, x):
    y = x.permute(1, 0, 2)
    n, b, d = y.shape
    q, k, v = (f(y).contiguous().view(n, b * 2, 2).transpose(0, 1) for f in (s.q, s.k, s.v))
    return torch.bmm(torch.bmm(q, k.mT), v).transpose(0, 1).contiguous().view(n, b, d).permute(1, 0, 2)


def second_order(s, x):
    h = torch.ones(x.shape[0], 2, dtype=x.dtype)
    for t in range(x.shape[1]):
        h = torch.einsum("bi,ijd,bd->bj", h, s.a, x[:, t])
    return h


def spectral(s, x):
    """A Fourier layer: modes are kept, mixed, and written into zeros."""
    modes = torch.fft.rfft(x)
    out = torch.zeros_like(modes)
    out[..., :2] = modes[..., :2] * torch.view_as_complex(s.w)
    return torch.fft.irfft(out, n=D) * s.l(x)


def product_by_matrices(s, t):
    h = s.h.expand(t.shape[0], 2).unsqueeze(1)
    for k in range(t.shape[1]):
        h = torch.bmm(h, s.w[t[:, k]])
    return h.squeeze(1)


# on the last axis, so for one vector as well as for a sequence of them
ANYWHERE = {
    "einsum, a weight and two copies": (
        lambda s, x: torch.einsum("oij,...i,...j->...o", s.w, x, x),
        dict(w=p(3, D, D)),
    ),
    "einsum, weights between copies": (
        lambda s, x: torch.einsum("...i,ri,or,rj,...j->...o", x, s.a, s.b, s.a, x),
        dict(a=p(5, D), b=p(3, 5)),
    ),
    "einsum, three copies": (
        lambda s, x: torch.einsum("oijk,...i,...j,...k->...o", s.w, x, x, x),
        dict(w=p(2, D, D, D)),
    ),
    "einsum of lists": (
        lambda s, x: torch.einsum(x, [..., 0], s.w, [1, 0, 2], x, [..., 2], [..., 1]),
        dict(w=p(3, D, D)),
    ),
    "einsum without arrow": (lambda s, x: torch.einsum("...i,ij", x, s.w) ** 2, dict(w=p(D, 3))),
    "einsum of a diagonal": (lambda s, x: torch.einsum("...i,ii->...i", x, s.w) * x, dict(w=p(D, D))),
    "outer product": (lambda s, x: s.l((x[..., :, None] * x[..., None, :]).flatten(-2)), dict(l=lin(D * D))),
    "expand_as": (lambda s, x: x * s.g.expand_as(x) + s.l(x) ** 2, dict(g=p(D), l=lin())),
    "var": (lambda s, x: s.l(x) * x.var(-1, keepdim=True), dict(l=lin())),
    "var by torch.var": (
        lambda s, x: s.l(x) * torch.var(x, dim=-1, correction=0, keepdim=True),
        dict(l=lin()),
    ),
    "prod": (lambda s, x: s.l(x).prod(-1, keepdim=True), dict(l=lin(D, 3))),
    "cumprod": (lambda s, x: s.l(x).cumprod(-1), dict(l=lin(D, 3))),
    "vecdot": (lambda s, x: torch.linalg.vecdot(s.l(x), x).unsqueeze(-1), dict(l=lin())),
    "cross": (lambda s, x: torch.linalg.cross(s.l(x)[..., :3], s.r(x)[..., 1:]), dict(l=lin(), r=lin())),
    "det": (lambda s, x: torch.det(s.l(x).unflatten(-1, (2, 2))).unsqueeze(-1) * x, dict(l=lin())),
    "matrix_power": (
        lambda s, x: torch.matrix_power(s.l(x).unflatten(-1, (2, 2)), 3).flatten(-2),
        dict(l=lin()),
    ),
    "where of two branches": (
        lambda s, x: torch.where(s.on, s.l(x), x * x),
        dict(l=lin(), on=torch.arange(D) % 2 == 0),
    ),
    "where of a branch and numbers": (
        lambda s, x: s.l(x).where(s.on, s.g),
        dict(l=lin(), g=p(D), on=torch.arange(D) > 1),
    ),
    "powers by channel": (lambda s, x: s.l(x) ** torch.arange(D), dict(l=lin())),
    "powers of one number": (
        lambda s, x: s.l((x[..., None] ** torch.arange(3)).flatten(-2)),
        dict(l=lin(3 * D)),
    ),
    "type_as": (lambda s, x: s.l(x).type_as(x) * s.g.type_as(x), dict(l=lin(), g=p(D))),
    "index_add": (
        lambda s, x: torch.zeros(*x.shape[:-1], 3, dtype=x.dtype).index_add(
            -1, torch.tensor([0, 2, 2, 1]), s.l(x) ** 2
        ),
        dict(l=lin()),
    ),
    "scatter_add": (
        lambda s, x: (
            torch.zeros_like(x).scatter_add(-1, torch.tensor([1, 1, 0, 3]).expand(x.shape), s.l(x)) * x
        ),
        dict(l=lin()),
    ),
    "written into zeros": (
        lambda s, x: written(x, (..., slice(0, 4, 2)), s.l(x)[..., :2]) * x,
        dict(l=lin()),
    ),
    "written over data": (
        lambda s, x: (lambda y: (y.__setitem__((..., 0), 1.0), y)[1])(s.l(x)) * x,
        dict(l=lin()),
    ),
    "written by a list": (lambda s, x: written(x, (..., [3, 0]), s.l(x)[..., :2]) * x, dict(l=lin())),
    "added in place to a part": (lambda s, x: added_in_place(x, s.l), dict(l=lin())),
    "written through views": (lambda s, x: written_through_views(x, s.l), dict(l=lin())),
    "var_mean": (
        lambda s, x: (lambda v, m: s.l(x) * v + m)(*torch.var_mean(x, -1, keepdim=True)),
        dict(l=lin()),
    ),
    "spectrum by absolute values": (lambda s, x: torch.fft.rfft(s.l(x)).abs() ** 2, dict(l=lin())),
    "complex parameter": (
        lambda s, x: (
            torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (2, 2)).contiguous()) @ s.w).flatten(-2)
            ** 2
        ),
        dict(w=nn.Parameter(torch.randn(2, 3, dtype=torch.complex128))),
    ),
    "unsqueeze_": (lambda s, x: (s.l(x).unsqueeze_(-1) * x.unsqueeze(-2)).sum(-1), dict(l=lin())),
    "mul_ and masked_fill_": (
        lambda s, x: s.l(x).mul_(x).masked_fill_(s.on, 0.5),
        dict(l=lin(), on=torch.arange(D) > 2),
    ),
    "copy_ into empty": (lambda s, x: torch.empty_like(x).copy_(s.l(x)) * x, dict(l=lin())),
    "complex weights": (
        lambda s, x: (
            torch.view_as_real(
                torch.view_as_complex(s.l(x).unflatten(-1, (2, 2))) * torch.view_as_complex(s.c)
            ).flatten(-2)
            * x
        ),
        dict(l=lin(), c=p(2, 2)),
    ),
    "complex products of data": (
        lambda s, x: (lambda z: (z * z.conj() + z**2).real)(torch.complex(s.l(x), s.r(x))),
        dict(l=lin(), r=lin()),
    ),
    "complex matrix": (
        lambda s, x: (lambda z: z.real * z.imag)(torch.complex(x, s.l(x)) @ torch.view_as_complex(s.c)),
        dict(l=lin(), c=p(D, 3, 2)),
    ),
    "fft": (lambda s, x: (lambda z: z.real * z.imag)(torch.fft.fft(s.l(x))), dict(l=lin())),
    "power spectrum": (
        lambda s, x: torch.view_as_real(torch.fft.rfft(s.l(x), dim=-1)).square().sum(-1),
        dict(l=lin()),
    ),
    "convolution by fft": (
        lambda s, x: s.l(torch.fft.irfft(torch.fft.rfft(x, dim=-1) * torch.fft.rfft(s.k), n=D)) * x,
        dict(k=p(D), l=lin()),
    ),
    "addcdiv": (lambda s, x: torch.addcdiv(x, s.l(x), s.g.exp(), value=0.5) * x, dict(l=lin(), g=p(D))),
    "mse_loss": (lambda s, x: F.mse_loss(s.l(x), x, reduction="none"), dict(l=lin())),
    "kron": (lambda s, x: torch.kron(s.l(x), s.w) + 0 * torch.kron(x, s.w), dict(l=lin(), w=p(2))),
    "tensordot": (
        lambda s, x: torch.tensordot(x, s.w, dims=([-1], [0])).flatten(-2) ** 2,
        dict(w=p(D, 2, 2)),
    ),
    "inner": (lambda s, x: torch.inner(x, s.w) * torch.inner(s.w, s.w).sum(), dict(w=p(3, D))),
    "trapezoid": (lambda s, x: torch.trapezoid(s.l(x) ** 2, dim=-1).unsqueeze(-1), dict(l=lin())),
    "cumsum and diff": (lambda s, x: s.l(x).cumsum(-1).diff(dim=-1, prepend=x[..., :1]) * x, dict(l=lin())),
    "pad": (lambda s, x: F.pad(s.l(x), (1, 1)) ** 2, dict(l=lin())),
    "logical mask as number": (lambda s, x: s.l(x) * (torch.arange(D) > 1) + x.square(), dict(l=lin())),
    "std over a mean": (
        lambda s, x: (x - x.mean(-1, keepdim=True)).square().mean(-1, keepdim=True) * s.l(x),
        dict(l=lin()),
    ),
    "chunks swapped": (lambda s, x: torch.cat(s.l(x).chunk(2, -1)[::-1], -1) * x, dict(l=lin())),
    "a norm, squared": (lambda s, x: s.l(x) * x.norm(dim=-1, keepdim=True) ** 2, dict(l=lin())),
    "a norm times itself": (
        lambda s, x: (lambda n: s.l(x) * (n * n))(torch.linalg.vector_norm(x, dim=-1, keepdim=True)),
        dict(l=lin()),
    ),
    "a scaled norm, squared": (
        lambda s, x: s.l(x) * (x.norm(dim=-1) / D**0.5).pow(2).unsqueeze(-1),
        dict(l=lin()),
    ),
    "a norm moved, squared": (
        lambda s, x: s.l(x) * torch.linalg.norm(x, dim=-1).unsqueeze(-1).expand_as(x).square(),
        dict(l=lin()),
    ),
    "a root to the fourth": (
        lambda s, x: s.l(x) * torch.sqrt(x.pow(2).sum(-1, keepdim=True) + 1) ** 4,
        dict(l=lin()),
    ),
    "powers one half and two": (
        lambda s, x: s.l(x) * (x.square().mean(-1, keepdim=True) ** 0.5) ** 2,
        dict(l=lin()),
    ),
    "divided by a root and multiplied with it": (
        lambda s, x: (lambda r: (s.l(x) * r) * (x / r))((x.square().sum(-1, keepdim=True) + 1).rsqrt()),
        dict(l=lin()),
    ),
    "absolute values, squared": (lambda s, x: s.l(x).abs() ** 2, dict(l=lin())),
    "a deviation, squared": (lambda s, x: s.l(x) * x.std(-1, keepdim=True).square(), dict(l=lin())),
    "squared distances to weights": (lambda s, x: torch.cdist(x, s.w) ** 2, dict(w=p(5, D))),
    "a squared distance": (
        lambda s, x: F.pairwise_distance(s.l(x), x, keepdim=True) ** 2,
        dict(l=lin()),
    ),
    "Frobenius norm, squared": (
        lambda s, x: torch.linalg.matrix_norm(s.l(x).unflatten(-1, (2, 2))).square()[..., None],
        dict(l=lin()),
    ),
    "hypotenuse": (lambda s, x: torch.hypot(s.l(x), x) ** 2, dict(l=lin())),
    "absolute values of complex numbers, scaled": (
        lambda s, x: (torch.fft.rfft(s.l(x), norm="ortho").abs() * s.g).pow(2),
        dict(l=lin(), g=p(3)),
    ),
    "less its mean": (lambda s, x: (x - x.mean(-1, keepdim=True)) * s.l(x), dict(l=lin())),
    "batched matrix vector": (
        lambda s, x: (s.l(x).unflatten(-1, (2, 2)) @ x[..., :2, None]).squeeze(-1),
        dict(l=lin()),
    ),
    "numpy's names": (
        lambda s, x: s.l(x) * torch.sum(x * x, axis=-1, keepdims=True),
        dict(l=lin()),
    ),
    "product of a stack": (lambda s, x: torch.stack([s.l(x), s.r(x), x]).prod(0), dict(l=lin(), r=lin())),
    "det of three rows": (
        lambda s, x: torch.linalg.det(s.l(x).unflatten(-1, (3, 3)))[..., None] * x,
        dict(l=lin(D, 9)),
    ),
    "powers of a matrix and of weights": (
        lambda s, x: (
            torch.linalg.matrix_power(s.l(x).view(*x.shape[:-1], 2, 2), 2) @ torch.matrix_power(s.m, 3)
        ),
        dict(l=lin(), m=p(2, 2)),
    ),
    "Vandermonde": (lambda s, x: torch.linalg.vander(s.l(x), N=3).flatten(-2), dict(l=lin())),
    "Horner": (lambda s, x: ((s.c[0] * x + s.c[1]) * x + s.c[2]) * x, dict(c=p(3))),
    "float_power": (lambda s, x: torch.float_power(s.l(x), 2) * x, dict(l=lin())),
    "index_copy": (
        lambda s, x: x.index_copy(-1, torch.tensor([0, 2]), s.l(x)[..., :2]) * x,
        dict(l=lin()),
    ),
    "index_add_ into zeros": (
        lambda s, x: torch.zeros_like(x).index_add_(-1, torch.tensor([0, 2, 2, 1]), s.l(x) ** 2),
        dict(l=lin()),
    ),
    "scatter": (
        lambda s, x: x.new_zeros(x.shape).scatter(-1, torch.tensor([1, 2, 0, 3]).expand_as(x), s.l(x)) * x,
        dict(l=lin()),
    ),
    "scatter_add_ of products": (
        lambda s, x: torch.zeros_like(x).scatter_add_(
            -1, torch.tensor([1, 1, 0, 3]).expand_as(x), s.l(x) * x
        ),
        dict(l=lin()),
    ),
    "gather": (
        lambda s, x: s.l(x).gather(-1, torch.tensor([1, 1, 0]).expand(*x.shape[:-1], 3)) ** 2,
        dict(l=lin()),
    ),
    "unsqueeze_ and squeeze_ of a view": (
        lambda s, x: (s.l(x)[..., :2].unsqueeze_(-1) * 2).squeeze_(-1) * x[..., 2:],
        dict(l=lin()),
    ),
    "transpose_": (
        lambda s, x: s.l(x).unflatten(-1, (2, 2)).clone().transpose_(-1, -2).flatten(-2) * x,
        dict(l=lin()),
    ),
    "expand_as of data": (lambda s, x: s.l(x).sum(-1, keepdim=True).expand_as(x) * x, dict(l=lin())),
    "the imaginary unit": (lambda s, x: (lambda z: (z * z).imag)(s.l(x) + 1j * x), dict(l=lin())),
    "complex phases": (lambda s, x: (x * torch.exp(1j * s.t)).imag * s.l(x), dict(l=lin(), t=p(D))),
    "einsum of complex numbers": (
        lambda s, x: torch.einsum("...i,ij->...j", torch.complex(x, s.l(x)), s.w).abs().pow(2),
        dict(l=lin(), w=nn.Parameter(torch.randn(D, 3, dtype=torch.complex128))),
    ),
    "fft2 and irfft2": (
        lambda s, x: (
            torch.fft.irfft2(torch.fft.rfft2(s.l(x).unflatten(-1, (2, 2))) * s.k, s=(2, 2)).flatten(-2) * x
        ),
        dict(l=lin(), k=p(2, 2)),
    ),
    "a Fourier layer": (spectral, dict(w=p(2, 2), l=lin())),
    "a linear system of weights": (
        lambda s, x: torch.linalg.solve(s.w, x.unsqueeze(-1)).squeeze(-1) * (x @ torch.linalg.inv(s.w)),
        dict(w=p(D, D)),
    ),
    "orthogonal weights": (
        lambda s, x: s.l(x) * x,
        dict(l=nn.utils.parametrizations.orthogonal(lin())),
    ),
    "a diagonal matrix of data": (
        lambda s, x: (torch.diag_embed(s.l(x)) @ x.unsqueeze(-1)).squeeze(-1),
        dict(l=lin()),
    ),
    "trace": (
        lambda s, x: torch.einsum("...ii", s.l(x).unflatten(-1, (2, 2)))[..., None] * x,
        dict(l=lin()),
    ),
    "pairs by number": (
        lambda s, x: (lambda i: x[..., i[0]] * s.l(x)[..., i[1]])(torch.tril_indices(D, D, -1)),
        dict(l=lin()),
    ),
    "a matrix made of data": (
        lambda s, x: torch.einsum("...ij,...j->...i", s.l(x).unflatten(-1, (D, D)), x),
        dict(l=lin(D, D * D)),
    ),
    "averages of rows of their own": (
        lambda s, x: F.avg_pool1d(s.l(x).reshape(-1, 1, D), 2).reshape(*x.shape[:-1], 2) ** 2,
        dict(l=lin()),
    ),
}

FLAT_ONLY = {
    "baddbmm of data": (
        lambda s, x: torch.baddbmm(s.b, x.view(-1, 2, 2), s.l(x).view(-1, 2, 2)).flatten(1),
        dict(b=p(2, 2), l=lin()),
    ),
    "an image convolved and pooled": (
        lambda s, x: F.avg_pool2d(s.c(x.view(-1, 1, 2, 2)) ** 2, 2).flatten(1),
        dict(c=nn.Conv2d(1, 3, 3, padding=1)),
    ),
    "upsampled": (
        lambda s, x: F.interpolate(s.l(x)[:, None], scale_factor=2, mode="linear")[:, 0] ** 2,
        dict(l=lin()),
    ),
    "windows": (lambda s, x: s.l(x.unfold(1, 2, 1).prod(-1)), dict(l=lin(3))),
    "stft": (
        lambda s, x: (
            torch.view_as_real(
                torch.stft(
                    s.l(x),
                    4,
                    hop_length=2,
                    window=torch.ones(4, dtype=x.dtype),
                    return_complex=True,
                    center=False,
                )
            )
            .square()
            .sum(-1)
            .flatten(1)
        ),
        dict(l=lin(D, 8)),
    ),
    "bilinear form of a batch": (
        lambda s, x: (x[:, None, None] @ s.w @ x[:, None, :, None]).flatten(1),
        dict(w=p(3, D, D)),
    ),
}

SEQUENCES = {
    "folded into the batch by reshape": (
        lambda s, x: s.l(x.reshape(-1, D)).reshape(x.shape) ** 2,
        dict(l=lin()),
    ),
    "folded by flatten": (lambda s, x: s.l(x.flatten(0, 1) ** 2).unflatten(0, (-1, N)), dict(l=lin())),
    "folded with positions first": (
        lambda s, x: (s.l(x.transpose(0, 1).reshape(-1, D)).view(N, -1, D) * x.transpose(0, 1)).transpose(
            0, 1
        ),
        dict(l=lin()),
    ),
    "batch norm over batch and positions": (
        lambda s, x: s.l(s.n(x.reshape(-1, D)).view(x.shape[0], -1, D)) * x,
        dict(l=lin(), n=nn.BatchNorm1d(D)),
    ),
    "an MLP on folded rows": (
        lambda s, x: (lambda y: (s.l(y) * s.r(y) + y).view_as(x))(x.contiguous().view(-1, x.size(-1))),
        dict(l=lin(), r=lin()),
    ),
    "a mask repeated for the folded batch": (
        lambda s, x: (s.l(x.reshape(-1, D)) * s.g.repeat(x.shape[0], 1)).view(x.shape),
        dict(l=lin(), g=p(N, D)),
    ),
    "folded heads": (folded_heads, dict(q=lin(), k=lin(), v=lin(), o=lin())),
    "sum over two axes": (lambda s, x: (s.l(x) * x).sum((1, 2)), dict(l=lin())),
    "mean over all of a sample": (lambda s, x: (s.l(x) * x).mean(dim=(-2, -1)), dict(l=lin())),
    "flattened and summed": (lambda s, x: (s.l(x) ** 2).flatten(1).sum(-1), dict(l=lin())),
    "one number for a sequence, kept": (
        lambda s, x: (s.l(x) ** 2).flatten(1).sum(-1, keepdim=True),
        dict(l=lin()),
    ),
    "rows written one by one": (lambda s, x: rows_written(x, s.l) * x, dict(l=lin())),
    "shifted by writing": (
        lambda s, x: written(x, (slice(None), slice(1, None)), x[:, :-1]) * s.l(x),
        dict(l=lin()),
    ),
    "rotary by complex numbers": (
        lambda s, x: llama(s.l(x), turns()) * llama(s.r(x), turns()),
        dict(l=lin(), r=lin()),
    ),
    "positions mixed by fft": (lambda s, x: torch.fft.fft(s.l(x), dim=1).real * x, dict(l=lin())),
    "FNet": (lambda s, x: torch.fft.fft(torch.fft.fft(s.l(x), dim=-1), dim=1).real * x, dict(l=lin())),
    "prod over positions": (lambda s, x: s.l(x).prod(1), dict(l=lin())),
    "variance over positions": (lambda s, x: s.l(x) * x.var(1, keepdim=True), dict(l=lin())),
    "index_add over positions": (
        lambda s, x: torch.zeros(x.shape[0], 2, D, dtype=x.dtype).index_add(
            1, torch.tensor([0, 1, 0]), s.l(x) ** 2
        ),
        dict(l=lin()),
    ),
    "det of scores": (lambda s, x: torch.linalg.det(x @ s.l(x).mT).unsqueeze(-1), dict(l=lin())),
    "conv over positions": (
        lambda s, x: s.c(x.transpose(1, 2)).transpose(1, 2) * x,
        dict(c=nn.Conv1d(D, D, 3, padding=1)),
    ),
    "attention by baddbmm": (
        lambda s, x: torch.baddbmm(x, (s.q(x) @ x.mT).tril() / D, s.v(x)),
        dict(q=lin(), v=lin()),
    ),
    "a bilinear form of two sequences": (
        lambda s, x: torch.einsum("bqi,hij,bkj,bkd->bqd", x, s.w, x, x),
        dict(w=p(2, D, D)),
    ),
    "heads after each other in the batch": (heads_after_each_other, dict(q=lin(), k=lin(), v=lin())),
    "heads folded, positions first": (heads_positions_first, dict(q=lin(), k=lin(), v=lin())),
    "heads flattened into the batch": (
        lambda s, x: (
            (lambda q, k, v: torch.bmm(torch.bmm(q, k.mT), v))(
                *(f(x).unflatten(-1, (2, 2)).transpose(1, 2).flatten(0, 1) for f in (s.q, s.k, s.v))
            )
            .unflatten(0, (-1, 2))
            .transpose(1, 2)
            .flatten(2)
        ),
        dict(q=lin(), k=lin(), v=lin()),
    ),
    "features folded into the batch": (
        lambda s, x: s.t(x.transpose(1, 2).reshape(-1, N)).view(-1, D, N).transpose(1, 2) * x,
        dict(t=lin(N, N)),
    ),
    "rotary by complex numbers, on heads": (llama_heads, dict(q=lin(), k=lin(), v=lin())),
    "batch norm of channels behind positions": (
        lambda s, x: s.n(s.l(x).transpose(1, 2)).transpose(1, 2) * x,
        dict(l=lin(), n=nn.BatchNorm1d(D)),
    ),
    "batch norm of heads": (
        lambda s, x: s.n(s.l(x).unflatten(-1, (2, 2)).permute(0, 2, 1, 3)).permute(0, 2, 1, 3).flatten(2) * x,
        dict(l=lin(), n=nn.BatchNorm2d(2)),
    ),
    "one number by a head": (
        lambda s, x: s.h((s.l(x) * x).mean(1)).squeeze(-1),
        dict(l=lin(), h=lin(D, 1)),
    ),
    "one number by einsum": (lambda s, x: torch.einsum("bsd,bsd->b", s.l(x), x), dict(l=lin())),
    "one number, a trace of scores": (lambda s, x: torch.einsum("bss->b", x @ s.l(x).mT), dict(l=lin())),
    "powers of scores": (lambda s, x: torch.linalg.matrix_power(x @ s.l(x).mT, 2) @ x, dict(l=lin())),
    "cumulative products over positions": (lambda s, x: s.l(x).cumprod(1), dict(l=lin())),
    "cross products of positions": (
        lambda s, x: torch.linalg.cross(x[:, 0, :3], s.l(x)[:, 1, :3]),
        dict(l=lin()),
    ),
    "scatter_add over positions": (
        lambda s, x: (
            torch.zeros_like(x).scatter_add(1, torch.tensor([1, 1, 0])[None, :, None].expand(x.shape), s.l(x))
            * x
        ),
        dict(l=lin()),
    ),
    "messages along edges": (
        lambda s, x: (
            torch.zeros_like(x).index_add(1, torch.tensor([0, 1, 2, 2]), s.l(x)[:, [1, 2, 0, 1]]) * x
        ),
        dict(l=lin()),
    ),
    "stft of a row": (
        lambda s, x: (
            torch.stft(
                s.l(x).flatten(1), 4, 4, window=torch.hann_window(4, dtype=x.dtype), return_complex=True
            )
            .abs()
            .pow(2)
            .flatten(1)
        ),
        dict(l=lin()),
    ),
    "long convolution by fft": (
        lambda s, x: (
            (
                torch.fft.irfft(
                    torch.fft.rfft(x, n=2 * N, dim=1) * torch.fft.rfft(s.k, n=2 * N, dim=0), n=2 * N, dim=1
                )
            )[:, :N]
            * s.l(x)
        ),
        dict(k=p(N, D), l=lin()),
    ),
    "a recurrence of second order": (second_order, dict(a=p(2, 2, D))),
    "weights for every position": (
        lambda s, x: torch.baddbmm(s.b.unsqueeze(1), x.transpose(0, 1), s.w).transpose(0, 1) * x,
        dict(b=p(N, D), w=p(N, D, D)),
    ),
    "windows of positions": (lambda s, x: s.l(x.unfold(1, 2, 1).prod(-1)), dict(l=lin())),
    "linear attention, causal": (
        lambda s, x: (s.q(x).unsqueeze(-2) @ (s.k(x).unsqueeze(-1) * s.v(x).unsqueeze(-2)).cumsum(1)).squeeze(
            -2
        ),
        dict(q=lin(), k=lin(), v=lin()),
    ),
    "a position of its own in front": (
        lambda s, x: (lambda y: (s.q(y) @ y.mT @ y)[:, 0])(torch.cat([s.c.expand(x.shape[0], -1, -1), x], 1)),
        dict(q=lin(), c=p(1, 1, D)),
    ),
}

TOKENS = {  # the module, and ids of every field
    "two tables": (
        lambda s, t: s.a(t[:, 0]) * s.b(t[:, 1]),
        dict(a=nn.Embedding(5, 3), b=nn.Embedding(7, 3)),
        (5, 7),
    ),
    "offsets": (
        lambda s, t: s.h(s.e(t + s.o).prod(1)),
        dict(e=nn.Embedding(12, 3), h=lin(3, 2), o=torch.tensor([0, 5])),
        (5, 7),
    ),
    "unbound": (
        lambda s, t: (lambda u, v: s.e(u) * s.e(v))(*t.unbind(1)),
        dict(e=nn.Embedding(5, 3)),
        (5, 5),
    ),
    "embedding bag": (lambda s, t: s.e(t) ** 2, dict(e=nn.EmbeddingBag(6, 3, mode="sum")), (6, 6, 6)),
    "mean bag": (lambda s, t: s.e(t) * s.g, dict(e=nn.EmbeddingBag(6, 3), g=p(3)), (6, 6, 6)),
    "a weight indexed": (lambda s, t: s.w[t] ** 2, dict(w=p(6, 3)), (6, 6)),
    "a weight of matrices indexed": (
        lambda s, t: (s.w[t[:, 0]] @ s.w[t[:, 1]]).flatten(1),
        dict(w=p(6, 2, 2)),
        (6, 6),
    ),
    "index_select of folded ids": (
        lambda s, t: s.w.index_select(0, t.reshape(-1)).view(*t.shape, 3) ** 2,
        dict(w=p(6, 3)),
        (6, 6),
    ),
    "positions added": (
        lambda s, t: s.l(s.e(t) + s.e.weight[torch.arange(2)]) ** 2,
        dict(e=nn.Embedding(6, 3), l=lin(3, 3)),
        (6, 6),
    ),
    "hashed": (
        lambda s, t: s.a(t % 3) * s.b(t // 3),
        dict(a=nn.Embedding(3, 2), b=nn.Embedding(2, 2)),
        (6, 6),
    ),
    "one hot and a matrix": (lambda s, t: F.one_hot(t, 6).to(s.w.dtype) @ s.w, dict(w=p(6, 3)), (6, 6)),
    "padding left out": (
        lambda s, t: (s.e(t) * (t != 0).unsqueeze(-1)).sum(1) ** 2,
        dict(e=nn.Embedding(6, 3)),
        (6, 6),
    ),
    "padding left out as numbers": (
        lambda s, t: torch.einsum("bs,bsd->bd", t.ne(0).to(s.g.dtype), s.e(t)) * s.g,
        dict(e=nn.Embedding(6, 3), g=p(3)),
        (6, 6),
    ),
    "padding chosen": (
        lambda s, t: torch.where((t != 0)[..., None], s.e(t), s.g).sum(1) ** 2,
        dict(e=nn.Embedding(6, 3), g=p(3)),
        (6, 6),
    ),
    "padding filled": (
        lambda s, t: s.e(t).masked_fill(~((t > 0) & (t < 5) | (t == 5)).unsqueeze(-1), 0.5).sum(1),
        dict(e=nn.Embedding(6, 3)),
        (6, 6),
    ),
    "padding counted": (
        lambda s, t: s.e(t).sum(1) * (t != 0).long().sum(1, keepdim=True),
        dict(e=nn.Embedding(6, 3)),
        (6, 6),
    ),
    "one hot by scatter": (
        lambda s, t: torch.zeros(*t.shape, 6, dtype=s.w.dtype).scatter_(-1, t.unsqueeze(-1), 1.0) @ s.w,
        dict(w=p(6, 3)),
        (6, 6),
    ),
    "many hot by scatter_add": (
        lambda s, t: torch.zeros(len(t), 6, dtype=s.w.dtype).scatter_add(1, t, s.g.expand(len(t), -1)) @ s.w,
        dict(w=p(6, 3), g=p(2)),
        (6, 6),
    ),
    "scattered over numbers": (
        lambda s, t: s.g.expand(len(t), -1).scatter(1, t[:, :1], 2.0) * s.e(t[:, 1]),
        dict(g=p(6), e=nn.Embedding(6, 6)),
        (6, 6),
    ),
    "one hot by comparison": (
        lambda s, t: s.l((t[..., None] == torch.arange(6)).to(s.l.weight.dtype)) ** 2,
        dict(l=lin(6, 3)),
        (6, 6),
    ),
    "a table of ids": (
        lambda s, t: s.e(s.m[t]) ** 2,
        dict(e=nn.Embedding(3, 2), m=torch.tensor([0, 1, 2, 2, 1, 0])),
        (6, 6),
    ),
    "bits": (
        lambda s, t: s.a(t & 1) * s.b(t >> 1),
        dict(a=nn.Embedding(2, 3), b=nn.Embedding(3, 3)),
        (6, 6),
    ),
    "embedding bag with weights": (
        lambda s, t: F.embedding_bag(t, s.w, mode="sum", per_sample_weights=s.g.expand(len(t), -1)) ** 2,
        dict(w=p(6, 3), g=p(2)),
        (6, 6),
    ),
    "embedding bag with padding": (
        lambda s, t: s.e(t) ** 2,
        dict(e=nn.EmbeddingBag(6, 3, mode="sum", padding_idx=0)),
        (6, 6),
    ),
    "a sum over fields": (
        lambda s, t: sum(e(t.select(1, k)) for k, e in enumerate(s.es)) ** 2,
        dict(es=nn.ModuleList([nn.Embedding(5, 3), nn.Embedding(7, 3)])),
        (5, 7),
    ),
    "one number of three fields": (
        lambda s, t: torch.einsum("bi,bij,bj->b", s.e(t[:, 0]), s.r(t[:, 1]).view(-1, 3, 3), s.e(t[:, 2])),
        dict(e=nn.Embedding(6, 3), r=nn.Embedding(4, 9)),
        (6, 4, 6),
    ),
    "a product of matrices": (product_by_matrices, dict(w=p(6, 2, 2), h=p(2)), (6, 6, 6)),
    "reversed": (lambda s, t: s.e(t.flip(1)) * s.e(t), dict(e=nn.Embedding(6, 3)), (6, 6)),
}


def module(entry) -> nn.Module:
    """The module of an idiom, from its seed."""
    run, parts, *_ = entry
    model = Forward(run, **parts).double().eval()
    for name, t in model.named_buffers():
        if "running_var" in name:
            t.uniform_(0.5, 2)
    return model
