"""Modules as people publish them: each is a polynomial as it stands.

Factorisation machines and cross networks, polynomial nets, low-rank and bilinear pooling, fusion of modalities, attention
without softmax, long convolutions with gates, mixers, graphs, hypernetworks, tensor networks,
embeddings of knowledge graphs.
"""

import torch
import torch.nn.functional as F
from modules import p
from torch import nn


class CrossNetV1(nn.Module):
    def __init__(self, d=4, L=3):
        super().__init__()
        self.w = nn.ParameterList(p(d, 1) for _ in range(L))
        self.b = nn.ParameterList(p(d, 1) for _ in range(L))

    def forward(self, x):
        x0 = x.unsqueeze(2)
        xl = x0
        for w, b in zip(self.w, self.b, strict=True):
            xl = torch.matmul(x0, torch.tensordot(xl, w, dims=([1], [0]))) + b + xl
        return torch.squeeze(xl, dim=2)


class CrossNetV2(nn.Module):
    def __init__(self, d=4, L=3):
        super().__init__()
        self.k = nn.ParameterList(p(d, d) for _ in range(L))
        self.b = nn.ParameterList(p(d, 1) for _ in range(L))

    def forward(self, x):
        x0 = x.unsqueeze(2)
        xl = x0
        for k, b in zip(self.k, self.b, strict=True):
            xl = x0 * (torch.matmul(k, xl) + b) + xl
        return xl.squeeze(2)


class CrossMix(nn.Module):
    def __init__(self, d=4, r=2):
        super().__init__()
        self.U, self.V, self.C = p(d, r), p(d, r), p(r, r)
        self.b = p(d)

    def forward(self, x):
        v = torch.matmul(self.V.t(), x.unsqueeze(-1))
        v = torch.matmul(self.C, v)
        return x * (torch.matmul(self.U, v).squeeze(-1) + self.b) + x


class CIN(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv1d(9, 4, 1)
        self.c2 = nn.Conv1d(12, 2, 1)
        self.fc = nn.Linear(6, 1)

    def forward(self, x):
        b, _n, d = x.shape
        x0 = x.unsqueeze(2)
        h = x
        xs = []
        for c in (self.c1, self.c2):
            z = (x0 * h.unsqueeze(1)).view(b, -1, d)
            h = c(z)
            xs.append(h)
        return self.fc(torch.sum(torch.cat(xs, 1), 2))


class FM(nn.Module):
    def __init__(self, n=6, k=3):
        super().__init__()
        self.V = p(n, k)
        self.lin = nn.Linear(n, 1)

    def forward(self, x):
        o1 = torch.matmul(x, self.V).pow(2).sum(1, keepdim=True)
        o2 = torch.matmul(x.pow(2), self.V.pow(2)).sum(1, keepdim=True)
        return 0.5 * (o1 - o2) + self.lin(x)


class InnerPNN(nn.Module):
    def forward(self, x):
        n = x.shape[1]
        row, col = list(), list()
        for i in range(n - 1):
            for j in range(i + 1, n):
                row.append(i), col.append(j)
        return torch.sum(x[:, row] * x[:, col], dim=2)


class OuterPNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.k = p(4, 3, 4)

    def forward(self, x):
        row, col = [0, 0, 1], [1, 2, 2]
        p, q = x[:, row], x[:, col]
        kp = torch.sum(p.unsqueeze(1) * self.k, dim=-1).permute(0, 2, 1)
        return torch.sum(kp * q, -1)


class PiNet(nn.Module):
    def __init__(self, d=4, h=5, N=3):
        super().__init__()
        self.U = nn.ModuleList(nn.Linear(d, h) for _ in range(N))
        self.C = nn.Linear(h, 2)

    def forward(self, z):
        out = self.U[0](z)
        for i in range(1, len(self.U)):
            out = self.U[i](z) * out + out
        return self.C(out)


class NCP(nn.Module):
    def __init__(self, d=4, h=5, N=3):
        super().__init__()
        self.A = nn.ModuleList(nn.Linear(d, h, bias=False) for _ in range(N))
        self.S = nn.ModuleList(nn.Linear(h, h, bias=False) for _ in range(N))
        self.b = nn.ParameterList(p(h) for _ in range(N))
        self.C = nn.Linear(h, 3)

    def forward(self, z):
        x = self.A[0](z) * self.b[0]
        for A, S, b in list(zip(self.A, self.S, self.b, strict=False))[1:]:
            x = A(z) * (S(x) + b)
        return self.C(x)


class Quad(nn.Module):
    def __init__(self, i=4, o=3):
        super().__init__()
        self.wr, self.wg, self.wb = p(o, i), p(o, i), p(o, i)
        self.br, self.bg, self.c = p(o), p(o), p(o)

    def forward(self, x):
        return (F.linear(x, self.wr, self.br)) * (F.linear(x, self.wg, self.bg)) + F.linear(
            torch.pow(x, 2), self.wb, self.c
        )


class QuadFull(nn.Module):
    def __init__(self, i=4, o=3):
        super().__init__()
        self.W = p(o, i, i)
        self.l = nn.Linear(i, o)

    def forward(self, x):
        return torch.stack([(x @ self.W[k] * x).sum(-1) for k in range(self.W.size(0))], -1) + self.l(x)


class MLB(nn.Module):
    def __init__(self):
        super().__init__()
        self.U, self.V, self.P = nn.Linear(3, 6), nn.Linear(2, 6), nn.Linear(6, 2)

    def forward(self, x):
        q, v = torch.split(x, [3, 2], dim=1)
        return self.P(self.U(q) * self.V(v))


class MFB(nn.Module):
    def __init__(self):
        super().__init__()
        self.U, self.V = nn.Linear(3, 6), nn.Linear(2, 6)

    def forward(self, x):
        z = self.U(x[:, :3]) * self.V(x[:, 3:])
        z = z.view(z.size(0), 1, 3, 2)
        return torch.sum(z, 3).squeeze(1)


class Fusion(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 2)

    def forward(self, x):
        B = x.shape[0]
        a = torch.cat((torch.ones(B, 1).type_as(x), x[:, :3]), 1)
        v = torch.cat((torch.ones(B, 1).type_as(x), x[:, 3:]), 1)
        return self.fc(torch.bmm(a.unsqueeze(2), v.unsqueeze(1)).view(B, -1))


class LMF(nn.Module):
    def __init__(self, R=2):
        super().__init__()
        self.a, self.v = p(R, 4, 3), p(R, 3, 3)
        self.w = p(1, R)
        self.b = p(1, 3)

    def forward(self, x):
        one = torch.autograd.Variable(torch.ones(x.shape[0], 1).type(x.dtype), requires_grad=False)
        fa = torch.matmul(torch.cat((one, x[:, :3]), dim=1), self.a)
        fv = torch.matmul(torch.cat((one, x[:, 3:]), dim=1), self.v)
        z = fa * fv
        out = torch.matmul(self.w, z.permute(1, 0, 2)).squeeze() + self.b
        return out.view(-1, 3)


class LinAttn(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 4, bias=False) for _ in range(3))

    def phi(self, x):
        return torch.cat([x, (x.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2)], -1)

    def forward(self, x):
        q, k, v = self.phi(self.q(x)), self.phi(self.k(x)), self.v(x)
        kv = torch.einsum("bnd,bne->bnde", k, v).cumsum(1)
        return torch.einsum("bnd,bnde->bne", q, kv)


class Retention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 4, bias=False) for _ in range(3))
        self.gamma = 0.9

    def forward(self, X):
        Q, K, V = self.q(X), self.k(X), self.v(X)
        n = X.shape[1]
        i = torch.arange(n).unsqueeze(1)
        j = torch.arange(n).unsqueeze(0)
        Dm = (self.gamma ** (i - j).clamp(min=0)) * (i >= j).float()
        Dm[Dm != Dm] = 0
        return (Q @ K.permute(0, 2, 1) * Dm.unsqueeze(0).to(X.dtype)) @ V


class RetRec(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 4, bias=False) for _ in range(3))

    def forward(self, x):
        S = torch.zeros(x.shape[0], 4, 4, dtype=x.dtype)
        outs = []
        for t in range(x.size(1)):
            S = 0.9 * S + self.k(x[:, t]).unsqueeze(2) * self.v(x[:, t]).unsqueeze(1)
            outs.append(torch.bmm(self.q(x[:, t]).unsqueeze(1), S).squeeze(1))
        return torch.stack(outs, 1)


class Hyena(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp = nn.Linear(4, 12)
        self.short = nn.Conv1d(12, 12, 3, padding=2, groups=12)
        self.filt = p(4, 3)
        self.out = nn.Linear(4, 4)
        self.D = p(4)

    def forward(self, u):
        l = u.size(-2)
        u = self.inp(u).transpose(1, 2)
        uc = self.short(u)[..., :l]
        x1, x2, v = uc.split(4, dim=1)
        v = v * x1
        fs = 2 * l
        kf = torch.fft.rfft(self.filt, n=fs) / fs
        vf = torch.fft.rfft(v, n=fs)
        y = torch.fft.irfft(vf * kf, n=fs, norm="forward")[..., :l]
        y = (y + v * self.D.unsqueeze(-1)) * x2
        return self.out(y.transpose(1, 2))


class S4D(nn.Module):
    def __init__(self):
        super().__init__()
        self.A, self.B, self.C = p(4), p(4), p(4)
        self.g = nn.Linear(4, 4)

    def forward(self, u):
        L = u.size(1)
        K = (self.C * self.B)[:, None] * (-self.A.abs()[:, None] * torch.arange(L)).exp()
        T = torch.zeros(4, L, L, dtype=K.dtype)
        for i in range(L):
            for j in range(i + 1):
                T[:, i, j] = K[:, i - j]
        return torch.einsum("dij,bjd->bid", T, u) * self.g(u)


class RNNLin(nn.Module):
    def __init__(self):
        super().__init__()
        self.i, self.h = nn.Linear(4, 3), nn.Linear(3, 3, bias=False)
        self.o = nn.Linear(3, 2)

    def forward(self, x):
        h = x.new_zeros(x.size(0), 3)
        for xt in x.unbind(dim=1):
            h = self.i(xt) + self.h(h)
        return self.o(h * h)


class MulRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.i, self.h = nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, x):
        h = torch.ones(x.size(0), 3, device=x.device, dtype=x.dtype)
        for t in range(x.shape[1]):
            h = self.i(x[:, t, :]) * self.h(h)
        return h


class GPT2(nn.Module):
    def __init__(self, d=4, h=2):
        super().__init__()
        self.c_attn = nn.Linear(d, 3 * d)
        self.c_proj = nn.Linear(d, d)
        self.fc, self.pr = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.h = h
        self.register_buffer("bias", torch.tril(torch.ones(8, 8)).view(1, 1, 8, 8))

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(C, dim=2)
        k, q, v = (t.view(B, T, self.h, C // self.h).transpose(1, 2) for t in (k, q, v))
        att = (q @ k.transpose(-2, -1)) * (1.0 / (k.size(-1) ** 0.5))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, 0.0)
        y = (att @ v).transpose(1, 2).contiguous().view(B, T, C)
        x = x + self.c_proj(y)
        return x + self.pr(self.fc(x))


class Mixer(nn.Module):
    def __init__(self, n=3, d=4):
        super().__init__()
        self.t1, self.t2 = nn.Linear(n, 5), nn.Linear(n, 5)
        self.t3 = nn.Linear(5, n)
        self.c1, self.c2, self.c3 = nn.Linear(d, 5), nn.Linear(d, 5), nn.Linear(5, d)

    def forward(self, x):
        y = x.transpose(1, 2)
        x = x + self.t3(self.t1(y) * self.t2(y)).transpose(1, 2)
        return x + self.c3(self.c1(x) * self.c2(x))


class gMLP(nn.Module):
    def __init__(self, n=3, d=4):
        super().__init__()
        self.p1, self.p2 = nn.Linear(d, 8), nn.Linear(4, d)
        self.sp = nn.Conv1d(n, n, 1)

    def forward(self, x):
        u, v = self.p1(x).chunk(2, dim=-1)
        return x + self.p2(u * self.sp(v))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.d1, self.d2 = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 3, 3, padding=1)
        self.up = nn.ConvTranspose2d(3, 2, 2, stride=2)
        self.o = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.avg_pool2d(a, 2))
        c = self.up(b * b)
        return self.o(torch.cat([a, c], dim=1))


class GCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("A", torch.rand(3, 3))
        self.w1, self.w2 = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        h = self.w1(torch.matmul(self.A, x))
        h = h * h
        return self.w2(torch.einsum("vw,bwf->bvf", self.A, h)).mean(1)


class Edge(nn.Module):
    def __init__(self):
        super().__init__()
        self.src = torch.tensor([0, 1, 2, 0])
        self.dst = torch.tensor([1, 2, 0, 2])
        self.m = nn.Linear(8, 4)

    def forward(self, x):
        msg = self.m(torch.cat([x[:, self.src], x[:, self.dst]], -1)) * x[:, self.src]
        out = torch.zeros_like(x)
        out.index_add_(1, self.dst, msg)
        return out + x


class GATlike(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("A", (torch.rand(3, 3) > 0.5))
        self.w = nn.Linear(4, 4)
        self.a1, self.a2 = p(4, 1), p(4, 1)

    def forward(self, x):
        h = self.w(x)
        e = torch.matmul(h, self.a1) + torch.matmul(h, self.a2).transpose(1, 2)
        return torch.matmul(torch.where(self.A > 0, e, torch.zeros_like(e)), h)


class DeepONet(nn.Module):
    def __init__(self):
        super().__init__()
        self.b, self.t = nn.Linear(4, 6), nn.Linear(2, 6)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        u, y = x[:, :4], x[:, 4:]
        return torch.sum(self.b(u) * self.t(y), dim=-1, keepdim=True) + self.bias


class Caps(nn.Module):
    def __init__(self):
        super().__init__()
        self.W = p(1, 3, 2, 4, 4)

    def forward(self, x):
        x = torch.stack([x] * 2, dim=2).unsqueeze(4)
        u = torch.matmul(self.W.expand(x.size(0), -1, -1, -1, -1), x).squeeze(4)
        b = torch.zeros(1, 3, 2, 1, dtype=x.dtype)
        v = None
        for _ in range(2):
            v = ((b + 1 / 3) * u).sum(dim=1, keepdim=True)
            b = b + (u * v).sum(-1, keepdim=True)
        return v.squeeze(1)


class FiLM(nn.Module):
    def __init__(self):
        super().__init__()
        self.g = nn.Linear(2, 6)
        self.c = nn.Conv1d(1, 3, 2)

    def forward(self, x):
        cond, f = x[:, :2], x[:, None, 2:]
        gamma, beta = self.g(cond).chunk(2, 1)
        h = self.c(f)
        return (1 + gamma[..., None]) * h + beta[..., None].expand_as(h)


class SENoAct(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(1, 4, 3, padding=1)
        self.f1, self.f2 = nn.Linear(4, 2), nn.Linear(2, 4)
        self.gap = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        x = self.c(x)
        b, c, _, _ = x.size()
        y = self.gap(x).view(b, c)
        return x * self.f2(self.f1(y)).view(b, c, 1, 1).expand_as(x)


class DictParams(nn.Module):
    def __init__(self):
        super().__init__()
        self.params = nn.ParameterDict({"w0": p(4, 5), "b0": p(5), "w1": p(5, 2)})

    def forward(self, x):
        p = self.params
        h = x @ p["w0"] + p["b0"]
        h *= h.clone()
        h += 1
        return h @ p["w1"]


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))

    def forward(self, x):
        return (
            torch.func.functional_call(self.net, {k: v * 2 for k, v in self.net.named_parameters()}, (x,)) * x
        )


class Hyper(nn.Module):
    def __init__(self):
        super().__init__()
        self.h = nn.Linear(2, 12)

    def forward(self, x):
        w = self.h(x[:, :2]).view(-1, 3, 4)
        return torch.bmm(w, x[:, 2:].unsqueeze(2)).squeeze(2)


class BilinPool(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 3, 3)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        a, b = self.c1(x), self.c2(x)
        n = a.size(0)
        a, b = a.view(n, 2, -1), b.view(n, 3, -1)
        return self.fc(torch.bmm(a, b.transpose(1, 2)).div_(a.size(2)).view(n, -1))


class MPS(nn.Module):
    def __init__(self, n=4, D=3):
        super().__init__()
        self.cores = nn.ParameterList(p(D, 2, D) for _ in range(n))
        self.l, self.r = p(D), p(D, 2)

    def forward(self, x):
        phi = torch.stack([torch.ones_like(x), x], -1)
        v = self.l.expand(x.shape[0], -1)
        for i, c in enumerate(self.cores):
            v = torch.einsum("bl,bp,lpr->br", v, phi[:, i], c)
        return v @ self.r


class Highway(nn.Module):
    def __init__(self):
        super().__init__()
        self.h, self.t = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        H, T = self.h(x), self.t(x)
        return H * T + x * (1 - T)


class RWKVish(nn.Module):
    def __init__(self):
        super().__init__()
        self.ts = nn.ZeroPad2d((0, 0, 1, -1))
        self.mk, self.mr = p(1, 1, 4), p(1, 1, 4)
        self.k, self.r, self.v = (
            nn.Linear(4, 6, bias=False),
            nn.Linear(4, 4, bias=False),
            nn.Linear(6, 4, bias=False),
        )

    def forward(self, x):
        xx = self.ts(x)
        xk = x * self.mk + xx * (1 - self.mk)
        xr = x * self.mr + xx * (1 - self.mr)
        k = torch.square(self.k(xk))
        return self.r(xr) * self.v(k)


class Poly2(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(15, 2)

    def forward(self, x):
        i, j = torch.triu_indices(4, 4)
        return self.l(torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x, x[:, i] * x[:, j]], 1))


class MultAtt(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Linear(4, 4)
        self.pool = p(3)

    def forward(self, x):
        return torch.einsum("n,bnd->bd", self.pool, x * self.w(x))


class TuckER(nn.Module):
    def __init__(self):
        super().__init__()
        self.E, self.R, self.W = nn.Embedding(5, 3), nn.Embedding(2, 2), p(2, 3, 3)
        self.bn = nn.BatchNorm1d(3)

    def forward(self, t):
        e = self.bn(self.E(t[:, 0])).view(-1, 1, 3)
        r = self.R(t[:, 1])
        Wm = torch.mm(r, self.W.view(2, -1)).view(-1, 3, 3)
        return torch.bmm(e, Wm).view(-1, 3) @ self.E.weight.transpose(1, 0)


class ComplEx(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.Embedding(5, 6)
        self.r = nn.Embedding(2, 6)

    def forward(self, t):
        h, r, o = self.e(t[:, 0]), self.r(t[:, 1]), self.e(t[:, 2])
        hr, hi = torch.chunk(h, 2, 1)
        rr, ri = torch.chunk(r, 2, 1)
        tr, ti = torch.chunk(o, 2, 1)
        return (hr * rr * tr + hi * rr * ti + hr * ri * ti - hi * ri * tr).sum(-1, keepdim=True)


class RotatE2(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.Embedding(5, 4)
        self.p = p(2)

    def forward(self, t):
        h, o = self.e(t[:, 0]), self.e(t[:, 1])
        z = torch.view_as_complex(h.view(-1, 2, 2).contiguous()) * torch.polar(
            torch.ones_like(self.p), self.p
        ) - torch.view_as_complex(o.view(-1, 2, 2).contiguous())
        return (z.abs() ** 2).sum(-1)


class TransEsq(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.Embedding(5, 4)
        self.r = nn.Embedding(2, 4)

    def forward(self, t):
        return -(torch.norm(self.e(t[:, 0]) + self.r(t[:, 1]) - self.e(t[:, 2]), p=2, dim=-1) ** 2)


class RBFpoly(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = p(5, 4)
        self.w = p(5)

    def forward(self, x):
        d = torch.cdist(x[:, None], self.c[None]).squeeze(1)
        return (1 - d.pow(2)) ** 2 @ self.w


# a class, and the shape of one input
MODULES = [
    (CrossNetV1, (4,)),
    (CrossNetV2, (4,)),
    (CrossMix, (4,)),
    (CIN, (3, 4)),
    (FM, (6,)),
    (InnerPNN, (3, 4)),
    (OuterPNN, (3, 4)),
    (PiNet, (4,)),
    (NCP, (4,)),
    (Quad, (4,)),
    (QuadFull, (4,)),
    (QuadFull, (3, 4)),
    (MLB, (5,)),
    (MFB, (5,)),
    (Fusion, (5,)),
    (LMF, (5,)),
    (LinAttn, (3, 4)),
    (Retention, (3, 4)),
    (RetRec, (3, 4)),
    (Hyena, (3, 4)),
    (S4D, (3, 4)),
    (RNNLin, (3, 4)),
    (MulRNN, (3, 4)),
    (GPT2, (3, 4)),
    (Mixer, (3, 4)),
    (gMLP, (3, 4)),
    (UNet, (1, 4, 4)),
    (GCN, (3, 4)),
    (Edge, (3, 4)),
    (GATlike, (3, 4)),
    (DeepONet, (6,)),
    (Caps, (3, 4)),
    (FiLM, (5,)),
    (SENoAct, (1, 4, 4)),
    (DictParams, (4,)),
    (Functional, (4,)),
    (Hyper, (6,)),
    (BilinPool, (1, 4, 4)),
    (MPS, (4,)),
    (Highway, (4,)),
    (Highway, (3, 4)),
    (RWKVish, (3, 4)),
    (Poly2, (4,)),
    (MultAtt, (3, 4)),
    (RBFpoly, (4,)),
]
# a class, and how many ids there are at every position
TOKENS = [(TuckER, (5, 2)), (ComplEx, (5, 2, 5)), (RotatE2, (5, 5)), (TransEsq, (5, 2, 5))]
