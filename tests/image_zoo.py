"""Models of images: one way each to convolve, pool, resize, and cut images into pieces, with the shape of one input."""

import torch
import torch.nn.functional as F
from modules import Forward, p
from torch import nn


class Square(nn.Module):
    def forward(self, x):
        return x * x


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.a, self.b = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        return x + self.a(x) * self.b(x)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.i, self.m = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.o = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        y = self.i(x)
        z = self.m(F.avg_pool2d(y, 2)) ** 2
        return self.o(torch.cat([F.interpolate(z, scale_factor=2, mode="bilinear"), y], 1))


def flat(*layers):
    return nn.Sequential(*layers, nn.Flatten())


SMALL = (2, 6, 4)

IMAGES = {
    "convolved, squared, pooled": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), Square(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(18, 3)
        ),
        SMALL,
    ),
    "stride and dilation": (
        lambda: flat(
            nn.Conv2d(2, 3, (3, 2), (2, 1), (2, 1), (2, 3)), Square(), nn.Conv2d(3, 2, 2, padding="same")
        ),
        (2, 7, 6),
    ),
    "depthwise and pointwise": (
        lambda: flat(nn.Conv2d(2, 6, 3, padding=1, groups=2), nn.Conv2d(6, 3, 1), Square()),
        SMALL,
    ),
    "grouped twice": (
        lambda: flat(nn.Conv2d(4, 8, 3, groups=2), Square(), nn.Conv2d(8, 4, 2, groups=4, bias=False)),
        (4, 5, 4),
    ),
    "transposed": (
        lambda: Forward(
            lambda s, x: s.u(s.d(x) ** 2) * x,
            d=nn.Conv2d(2, 3, 3, stride=2, padding=1),
            u=nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1),
        ),
        SMALL,
    ),
    "transposed, grouped": (
        lambda: flat(
            nn.ConvTranspose2d(4, 6, (2, 3), stride=2, padding=(0, 1), groups=2, dilation=2), Square()
        ),
        (4, 3, 3),
    ),
    "residuals": (
        lambda: flat(nn.Conv2d(2, 3, 3, padding=1), Residual(3), nn.AdaptiveAvgPool2d((1, 1))),
        SMALL,
    ),
    "batch norm": (
        lambda: flat(
            nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), Square(), nn.AvgPool2d(3, 1, padding=1)
        ),
        SMALL,
    ),
    "padded around": (
        lambda: flat(
            nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"),
            Square(),
            nn.ReplicationPad2d(1),
            nn.AvgPool2d(2),
        ),
        SMALL,
    ),
    "a U": (UNet, SMALL),
    "a gate from a mean": (
        lambda: Forward(
            lambda s, x: (lambda y: s.h((y * s.g(y.mean((2, 3)))[:, :, None, None]).mean((2, 3))))(s.a(x)),
            a=nn.Conv2d(2, 3, 3),
            g=nn.Linear(3, 3),
            h=nn.Linear(3, 2),
        ),
        SMALL,
    ),
    "attention between patches": (
        lambda: Forward(
            lambda s, x: (lambda q, k, v: ((q @ k.mT) @ v).mean(1))(
                *(s.q(s.p(x).flatten(2).transpose(1, 2) + s.e)).chunk(3, -1)
            ),
            p=nn.Conv2d(2, 3, 2, 2),
            q=nn.Linear(3, 6),
            e=p(1, 6, 3),
        ),
        SMALL,
    ),
    "patches by reshape": (
        lambda: Forward(
            lambda s, x: (
                s.l(s.c(x).reshape(-1, 2, 3, 2, 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(-1, 6, 8)) ** 2
            ).mean(1),
            c=nn.Conv2d(2, 2, 3, padding=1),
            l=nn.Linear(8, 3),
        ),
        SMALL,
    ),
    "patches by unfold": (
        lambda: Forward(
            lambda s, x: (
                s.l(F.unfold(x, (2, 3), padding=(0, 1), stride=(2, 1)).transpose(1, 2)).square().mean(1)
            ),
            l=nn.Linear(12, 3),
        ),
        SMALL,
    ),
    "windows of one axis": (
        lambda: Forward(
            lambda s, x: (s.c(x).unfold(2, 3, 2) * s.k).sum(-1) ** 2, c=nn.Conv2d(2, 2, 1), k=p(3)
        ),
        (2, 7, 3),
    ),
    "pixels shuffled": (
        lambda: Forward(
            lambda s, x: F.pixel_unshuffle(F.pixel_shuffle(s.c(x), 2) ** 2, 2), c=nn.Conv2d(2, 4, 3)
        ),
        SMALL,
    ),
    "channels shuffled": (
        lambda: Forward(
            lambda s, x: s.b(F.channel_shuffle(s.a(x), 2)) ** 2,
            a=nn.Conv2d(4, 4, 3, groups=2),
            b=nn.Conv2d(4, 4, 1, groups=2),
        ),
        (4, 4, 4),
    ),
    "every second pixel": (
        lambda: Forward(lambda s, x: (s.a(x) ** 2)[:, :, ::2, 1::2], a=nn.Conv2d(2, 3, 3, padding=1)),
        SMALL,
    ),
    "channels last": (
        lambda: Forward(lambda s, x: (s.a(x.permute(0, 3, 1, 2)) ** 2).mean((2, 3)), a=nn.Conv2d(2, 3, 3)),
        (6, 4, 2),
    ),
    "a vector viewed as an image": (
        lambda: Forward(lambda s, x: (s.a(x.view(-1, 2, 6, 4)) ** 2).mean((2, 3)), a=nn.Conv2d(2, 3, 3)),
        (48,),
    ),
    "channels multiplied": (
        lambda: Forward(
            lambda s, x: (lambda y: torch.einsum("bip,bjp->bij", y, y).flatten(1))(s.a(x).flatten(2)),
            a=nn.Conv2d(2, 3, 3),
        ),
        SMALL,
    ),
    "a row of numbers": (
        lambda: flat(nn.Conv1d(2, 3, 3, padding=1), Square(), nn.AvgPool1d(2), nn.ConvTranspose1d(3, 2, 2)),
        (2, 8),
    ),
    "a volume": (
        lambda: flat(nn.Conv3d(1, 2, 2), Square(), nn.AvgPool3d((1, 2, 2)), nn.ConvTranspose3d(2, 2, 2, 2)),
        (1, 3, 4, 3),
    ),
}
