"""Torch modules of every kind that converts. A model added here is tried by all of tests/convert/test_zoo.py."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from tnsim.algebra import poly
from tnsim.convert import register


class Bilinear(nn.Module):
    def __init__(self, d_in=6, d_hidden=5, d_out=3, bias=False):
        super().__init__()
        self.l = nn.Linear(d_in, d_hidden, bias=bias)
        self.r = nn.Linear(d_in, d_hidden, bias=bias)
        self.d = nn.Linear(d_hidden, d_out, bias=bias)

    def forward(self, x):
        return self.d(self.l(x) * self.r(x))


class Chunked(nn.Module):
    def __init__(self, bias=False):
        super().__init__()
        self.w = nn.Linear(6, 10, bias=bias)
        self.head = nn.Linear(5, 3, bias=bias)

    def forward(self, x):
        left, right = self.w(x).chunk(2, dim=-1)
        return self.head(left * right)


class Residual(nn.Module):
    def __init__(self, scale=None, bias=False):
        super().__init__()
        self.g = Bilinear(4, 5, 4, bias)
        self.scale = scale

    def forward(self, x):
        return x + self.g(x) if self.scale is None else torch.lerp(x, self.g(x), self.scale)


class MLP(nn.Module):
    def __init__(self, n_layer=2, scale=None, bias=False):
        super().__init__()
        self.embed = nn.Linear(6, 4, bias=bias)
        self.blocks = nn.ModuleList(Residual(scale, bias) for _ in range(n_layer))
        self.head = nn.Linear(4, 3, bias=bias)

    def forward(self, x):
        x = self.embed(x.flatten(1))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class OutsideResidual(nn.Module):
    """The residual is written in the parent; its gain is a learned number."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(6, 4)
        self.blocks = nn.ModuleList(Bilinear(4, 5, 4) for _ in range(2))
        self.gain = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = x + self.gain * block(x)
        return x


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Residual()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.block(self.block(x)))


class Square(nn.Module):
    def forward(self, x):
        return x.square()


class Direct(nn.Module):
    """Parameters and buffers without modules."""

    def __init__(self):
        super().__init__()
        self.L = nn.Parameter(torch.randn(6, 5))
        self.R = nn.Parameter(torch.randn(5, 6))
        self.D = nn.Parameter(torch.randn(3, 5))
        self.register_buffer("mean", torch.randn(6))
        self.register_buffer("count", torch.tensor(3))

    def forward(self, x):
        x = (x - self.mean) / self.count
        return F.linear((x @ self.L) * F.linear(x, self.R), self.D)


class Cubic(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 4)
        self.b = nn.Linear(4, 3, bias=False)

    def forward(self, x):
        h = self.a(x)
        return self.b(h**3 - 2 * h.pow(2) + torch.square(h) / 3 - h + 1)


class Concat(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 2)
        self.b = nn.Linear(6, 3)
        self.c = nn.Linear(12, 4)

    def forward(self, x):
        one = torch.ones(x.shape[0], 1, dtype=x.dtype, device=x.device)
        return self.c(torch.cat([self.a(x) * self.b(x)[:, :2], one, x, self.b(x)], dim=-1))


class Slices(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Linear(6, 12)

    def forward(self, x):
        a, b, c = self.w(x).split([4, 4, 4], dim=1)
        d = a[:, ::2] * b[..., 1:3] + c[:, [3, 0]] - x[:, -2:]
        return d.flip(-1) * x.narrow(1, 0, 2) * d[:, 0].unsqueeze(-1)


class StackSum(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList(Bilinear(6, 3, 2) for _ in range(3))

    def forward(self, x):
        return torch.stack([head(x) for head in self.heads]).sum(0) + sum(head(x) for head in self.heads)


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.pool(self.conv(x) ** 2).flatten(1))


class Permuted(nn.Module):
    """Axes come and go, the batch among them."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(2, 3)
        self.W = nn.Parameter(torch.randn(4, 9))

    def forward(self, x):
        x = x.view(x.shape[0], 3, 2).transpose(0, 1)  # positions first
        x = self.mix(x).permute(1, 2, 0).reshape(len(x[0]), -1)
        return (self.W @ x.T).T.unsqueeze(1).squeeze(1)


class ShapeLogic(nn.Module):
    """Decides and loops over shapes, and checks them."""

    def __init__(self):
        super().__init__()
        self.w = nn.Linear(6, 4)

    def forward(self, x, flip=False):
        b, n = x.shape
        assert n == 6 and torch.is_tensor(x)
        if x.dim() != 2 or flip:
            raise ValueError
        parts = [x[:, i : i + 2] for i in range(0, x.size(-1), 2)]
        y = self.w(x.to(x.dtype)).view(b, 2, 2)
        return (y * torch.stack(parts[:2], dim=1)).mean(-1)


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Linear(6, 6)

    def forward(self, x):
        y = self.w(x)
        kept = y
        y += x
        y *= 2
        total = torch.zeros_like(y)
        for _ in range(2):
            total += kept * y
        return total.mul_(x)


class Attention(nn.Module):
    """Two positions, no softmax, a causal mask."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(3, 2, bias=False) for _ in range(3))
        self.o = nn.Linear(2, 3)
        self.register_buffer("mask", torch.tril(torch.ones(2, 2)))

    def forward(self, x):
        x = x.view(-1, 2, 3)
        q, k, v = self.q(x), self.k(x), self.v(x)
        pattern = torch.einsum("bqd,bkd->bqk", q, k).masked_fill(self.mask == 0, 0.0)
        return (x + self.o(pattern @ v)).flatten(1)


class Gated(nn.Module):
    """torch's own bilinear layer, of two different inputs."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 4)
        self.b = nn.Bilinear(4, 6, 3)

    def forward(self, x):
        return self.b(self.a(x), x)


class TwoPower(nn.Module):
    """addcmul, lerp with a learned gate, subtraction from a number, sums over features."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.rand(6))
        self.w = nn.Linear(6, 6)

    def forward(self, x):
        y = torch.addcmul(x, self.w(x), x, value=0.5)
        y = torch.lerp(y, 1 - x, self.gate)
        return torch.add(y, y.sum(-1, keepdim=True), alpha=0.1).sub(x, alpha=2)


class Wrapper(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x / 4)


class Opaque(nn.Module):
    """Calls code that is not torch; has a rule."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, 6))

    def forward(self, x):
        return torch.from_numpy((x.detach() @ self.w.detach().T).numpy() ** 2)


@register(Opaque)
def opaque(module):
    return poly("A[out,in0] B[out,in1]", A=module.w.float(), B=module.w.float())


class Scalar(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Linear(6, 5)

    def forward(self, x):
        return (self.w(x) * self.w(x)).sum(-1)


class Zero(nn.Module):
    """Terms that vanish, alone and in sums."""

    def __init__(self):
        super().__init__()
        self.w = nn.Linear(6, 3)

    def forward(self, x):
        return self.w(x - x) + 0.0 * self.w(x) ** 2 + self.w(0 * x)


class Transformed(nn.Module):
    """A collection of affine operations, and one of rearrangements."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(4))
        self.W = nn.Parameter(torch.randn(6, 4))
        self.T = nn.Parameter(torch.randn(2, 3, 5))
        self.conv = nn.ConvTranspose1d(1, 2, 3, bias=True)
        self.register_buffer("order", torch.tensor([2, 0, 1, 1]))

    def forward(self, x):
        a = torch.addmm(self.bias, x, self.W).cumsum(-1)
        b = F.pad(x.view(-1, 2, 3), (1, 1), value=2.0).diff(dim=-1).mean((1, 2), keepdim=False)
        c = torch.tensordot(x.view(-1, 2, 3), self.T, dims=([1, 2], [0, 1]))
        d = torch.einsum("bij,ijk->bk", x.unflatten(1, (2, 3)), self.T)[:, :4]
        e = F.linear(x.view(-1, 2, 3), self.T[0].T, self.T[0, 0]).triu().flatten(1)
        f = F.avg_pool1d(self.conv(x[:, None]), 2).sum(1)
        g = torch.roll(x, 1, -1).index_select(1, self.order).repeat(1, 2).expand_as(c[:, :1].repeat(1, 8))
        h = torch.where(self.order > 1, x[:, :4].tile((1, 1)), x.new_full((), 0.5))
        return torch.cat(
            [a * h, a - b[:, None], c, d / 3, e.view(x.size(0), -1), 2 - f, g.movedim(0, 0), -h], 1
        )


def _batch_normed():
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), Square(), nn.Dropout(0.5), nn.Linear(4, 3))
    norm = model[1]
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return model.eval()


class AddMM(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(3))
        self.W = nn.Parameter(torch.randn(6, 3))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.W)


class Tied(nn.Module):
    """One matrix in two places, and a gain of one entry."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 6, bias=False)
        self.b = nn.Linear(6, 6)
        self.b.weight = self.a.weight
        self.gain = nn.Parameter(torch.tensor([0.7]))

    def forward(self, x):
        return self.gain * self.b(self.a(x) * x)


def _weight_normed():
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)), Bilinear(4, 4, 2))


ZOO: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(6, 3),
    "bilinear": Bilinear,
    "bilinear bias": lambda: Bilinear(bias=True),
    "chunked": Chunked,
    "chunked bias": lambda: Chunked(bias=True),
    "residual": Residual,
    "residual bias": lambda: Residual(bias=True),
    "lerp": lambda: Residual(scale=0.3),
    "mlp": MLP,
    "mlp bias": lambda: MLP(bias=True),
    "mlp lerp": lambda: MLP(1, 0.5, True),
    "outside residual": OutsideResidual,
    "shared": Shared,
    "sequential": lambda: nn.Sequential(
        nn.Linear(6, 4), Square(), nn.Sequential(nn.Linear(4, 4), Residual())
    ),
    "direct": Direct,
    "cubic": Cubic,
    "concat": Concat,
    "slices": Slices,
    "stack and sum": StackSum,
    "batch norm and dropout": _batch_normed,
    "permuted": Permuted,
    "shape logic": ShapeLogic,
    "in place": InPlace,
    "attention": Attention,
    "torch bilinear": Gated,
    "addcmul and lerp": TwoPower,
    "wrapper": lambda: Wrapper(Wrapper(MLP(1))),
    "rule": lambda: nn.Sequential(Opaque(), nn.Linear(4, 3)),
    "scalar": Scalar,
    "zero": Zero,
    "weight norm": _weight_normed,
    "convolution": Convolution,
    "tied": Tied,
    "addmm": AddMM,
    "identity": nn.Identity,
    "transformed": Transformed,
}


WIDTH = {"residual": 4, "residual bias": 4, "lerp": 4, "shared": 4}
NEEDS_EXAMPLE = {
    "identity": torch.zeros(6),
    "transformed": torch.zeros(2, 6),
    "convolution": torch.zeros(1, 1, 4, 4),
    "permuted": torch.zeros(6),
    "attention": torch.zeros(1, 6),
    "addcmul and lerp": None,
}
FITS_QUIMB = (
    "linear",
    "bilinear",
    "bilinear bias",
    "chunked bias",
    "residual bias",
    "mlp",
    "mlp bias",
    "shared",
    "sequential",
    "cubic",
    "slices",
    "batch norm and dropout",
    "torch bilinear",
    "rule",
    "zero",
    "convolution",
)


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(sum(map(ord, name)))
    model = ZOO[name]().double()
    example = NEEDS_EXAMPLE.get(name)
    shape = example.shape[1:] if example is not None and example.dim() > 1 else (WIDTH.get(name, 6),)
    return model, torch.randn(4, *shape, dtype=torch.float64)
