"""Modules that return more than a tensor: the user says which it is."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from modules import Forward, assert_close, fails, seeded
from torch import nn

from tnsim.convert import convert


@dataclass
class Returned:
    logits: torch.Tensor
    loss: None = None


class ModelOutput(OrderedDict):
    """As that of transformers: a dictionary whose entries are attributes as well."""

    def __getattr__(self, name):
        return self[name]


Pair = namedtuple("Pair", ["logits", "hidden"])

STYLES = {
    "dictionary": (lambda y, h: {"logits": y, "hidden": h}, "logits"),
    "dataclass": (lambda y, h: Returned(y), "logits"),
    "model output": (lambda y, h: ModelOutput(loss=None, logits=y), "logits"),
    "tuple": (lambda y, h: (h, y), 1),
    "tuple from its end": (lambda y, h: (h, y), -1),
    "named tuple": (Pair, "logits"),
    "function": (lambda y, h: {"all": [h, y]}, lambda out: out["all"][1]),
    "function that calculates": (lambda y, h: [y / 2, y], lambda out: out[0] * 2),
}


def two(style):
    return Forward(lambda s, x: style(s.b(s.a(x) ** 2), s.a(x)), a=nn.Linear(4, 3), b=nn.Linear(3, 2))


@pytest.mark.parametrize("name", STYLES)
def test_the_named_tensor_is_the_output(name):
    style, output = STYLES[name]
    model = seeded(two, style)
    x = torch.randn(5, 4, dtype=torch.float64)
    want = model.b(model.a(x) ** 2)
    for example in (None, x):
        assert_close(convert(model, example, output=output)(x), want)


@pytest.mark.parametrize(
    ("style", "output", "parts"),
    [
        ("dictionary", None, ["returns a dict", "output=", "'logits', 'hidden'"]),
        ("tuple", None, ["returns a tuple", "0, 1"]),
        ("dictionary", "logit", ["without output='logit'", "'logits', 'hidden'"]),
        ("tuple", 2, ["without output=2", "0, 1"]),
        ("dataclass", "loss", ["output='loss'", "a NoneType"]),
    ],
)
def test_what_there_is_instead(style, output, parts):
    fails(two(STYLES[style][0]), *parts, output=output)
