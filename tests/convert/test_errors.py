"""Code that is no polynomial of one input says what it is, where it stands, and what to write instead."""

import sys

import pytest
import torch
import torch.nn.functional as F
from modules import Forward, fails, p
from torch import nn

from tnsim.convert import convert


class Inner(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.w = nn.Linear(4, 4)
        self.fn = fn

    def forward(self, x):
        return self.fn(self, self.w(x))


class Outer(nn.Module):
    """Runs ``fn`` in a module that stands at "mlp.1"."""

    def __init__(self, fn):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(4, 4), Inner(fn))

    def forward(self, x):
        return self.mlp(x)


class Act(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.act = act
        self.w = nn.Linear(4, 4)

    def forward(self, x):
        return self.act(self.w(x))


def outer(fn, *parts) -> str:
    return fails(Outer(fn), *parts)


def test_the_message_of_the_house():
    model = nn.Module()
    model.forward = lambda x: None
    mlp = nn.Sequential(nn.Linear(4, 4), Act(nn.ReLU()))
    model = nn.Sequential()
    model.add_module("mlp", mlp)
    assert fails(model) == (
        'no polynomial form for ReLU at "mlp.1.act". tnsim needs polynomial layers: use tnsim.nn.BilinearLayer, or '
        "register a rule with @tnsim.convert.register."
    )


@pytest.mark.parametrize(
    ("layer", "parts"),
    [
        (nn.GELU(), ["GELU", "BilinearLayer"]),
        (nn.ReLU(inplace=True), ["ReLU", "BilinearLayer"]),
        (nn.Softmax(-1), ["Softmax", "exponentials", "register"]),
        (nn.LayerNorm(4), ["LayerNorm", "norm of the data", "BatchNorm"]),
        (nn.BatchNorm1d(4), ["BatchNorm1d in training mode", "model.eval()"]),
        (nn.BatchNorm1d(4, track_running_stats=False).eval(), ["BatchNorm1d", "without running statistics"]),
        (nn.Dropout(0.5), ["Dropout in training mode", "model.eval()"]),
        (nn.MaxPool1d(2), ["MaxPool1d", "register"]),
    ],
)
def test_layers(layer, parts):
    fails(nn.Sequential(nn.Linear(4, 4), Act(layer)), 'at "1.act"', *parts)


@pytest.mark.parametrize(
    ("fn", "parts"),
    [
        (lambda s, h: F.relu(h), ["torch.nn.functional.relu", "F.relu(h)"]),
        (lambda s, h: h.abs(), ["torch.Tensor.abs", "h.abs()"]),
        (lambda s, h: torch.softmax(h, -1), ["torch.softmax", "exponentials"]),
        (lambda s, h: h / h.sum(-1, keepdim=True), ["division by data", "Multiply instead"]),
        (lambda s, h: 1 / h, ["division by data"]),
        (lambda s, h: h**0.5, ["power 0.5", "x ** 2"]),
        (lambda s, h: h**-1, ["power -1"]),
        (lambda s, h: 2**h, ["exponent that depends on data"]),
        (lambda s, h: h * (h > 0), ["torch.Tensor.gt", "constant mask"]),
        (lambda s, h: torch.where(h > 0, h, 0 * h), ["gt"]),
        (lambda s, h: h + torch.randn_like(h), ["randn_like", "random"]),
        (lambda s, h: h.long() * 1.0, ["torch.Tensor.long", "whole number"]),
        (lambda s, h: h - h.mean(0), ["mean mixes the samples", "batch axis"]),
        (lambda s, h: h.sum() + h, ["sum mixes the samples"]),
        (lambda s, h: h.flip(0), ["flip mixes the samples"]),
        (lambda s, h: h @ h.T @ h, ["samples"]),
        (lambda s, h: F.normalize(h), ["normalize", "norm of the data"]),
        (lambda s, h: h.div(2, rounding_mode="floor"), ["rounding"]),
        (lambda s, h: h.norm(dim=-1, keepdim=True) * h, ["norm"]),
        (lambda s, h: h.clone().relu_(), ["relu_", "BilinearLayer"]),
        (lambda s, h: h.clone().uniform_(), ["uniform_", "writes into a tensor", "torch.cat"]),
        (lambda s, h: write(h), ["setitem"]),
        (lambda s, h: torch.add(h, h, out=torch.empty(3, 4, dtype=h.dtype)), ["out="]),
        (lambda s, h: alias(h), ["shares memory", "x = x + y"]),
        (lambda s, h: h if h.sum() > 0 else -h, ["decides on the values", "h if h.sum() > 0"]),
        (lambda s, h: h * float(h[0, 0]), ["decides on the values"]),
        (lambda s, h: h * h.max().item(), ["decides on the values"]),
        (lambda s, h: torch.from_numpy(h.detach().numpy()), ["decides on the values"]),
        (lambda s, h: s.missing(h), ["AttributeError", "missing"]),
        (lambda s, h: dense(s, h), ["terms in one layer", "skip over"]),
        (lambda s, h: h[:, 4:].sum(-1, keepdim=True) + h[:, 4:], ["leaves nothing"]),
    ],
)
def test_operations(fn, parts):
    message = outer(fn, *parts)
    if "AttributeError" not in message:
        assert 'at "mlp.1"' in message
        assert "test_errors.py:" in message  # the line of code


@pytest.mark.parametrize(
    "fn",
    [
        lambda s, h: h.clamp(-1e6, 1e6),
        lambda s, h: F.hardshrink(h, 1e-9),
        lambda s, h: F.softshrink(h, 1e-30),
        lambda s, h: F.hardtanh(h, -1e200, 1e200),
        lambda s, h: F.threshold(h, -1e100, 0.0),
        lambda s, h: torch.round(h, decimals=12),
        lambda s, h: F.max_pool1d(h, 2),
        lambda s, h: torch.sort(h, -1).values,
    ],
)
def test_what_is_linear_at_one_scale_only(fn):
    outer(fn, "no polynomial form")


@pytest.mark.parametrize(
    "fn", [lambda s, h: torch.sort(h).values, lambda s, h: torch.rsqrt(h), lambda s, h: h.std(-1)]
)
def test_only_activations_are_told_to_use_bilinear_layers(fn):
    assert "BilinearLayer" not in outer(fn, "register")


def test_samples_of_a_folded_batch_stay_apart():
    for fn in (
        lambda s, x: s.w(x.reshape(-1, 4).flip(0)).view(-1, 3, 4),
        lambda s, x: (s.w(x.reshape(-1, 4)) - x.reshape(-1, 4).mean(0)).view(-1, 3, 4),
    ):
        fails(Forward(fn, w=nn.Linear(4, 4)), "samples", example=torch.zeros(1, 3, 4))
    mixing = Forward(lambda s, x: s.w(x.transpose(0, 1).reshape(-1, 2, 4)), w=nn.Linear(4, 4))
    fails(mixing, "samples", example=torch.zeros(1, 2, 4))


def test_the_first_error_of_a_model_of_tokens_is_shown():
    model = Forward(lambda s, t: (s.e(t) + s.place) ** 2, e=nn.Embedding(10, 4), place=p(8, 4))
    message = fails(model, "8", example=torch.zeros(1, 4, dtype=torch.long))
    assert "torch.long" not in message
    fails(model, "dtype=torch.long", example=torch.zeros(1, 8))


@pytest.mark.parametrize(
    "leave", [lambda y: y.detach().numpy(), lambda y: y.sum().item(), lambda y: y.tolist()]
)
def test_hooks_that_leave_torch(leave):
    for model in (nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4))):
        part = model if isinstance(model, nn.Linear) else model[0]
        part.register_forward_hook(lambda module, args, out: leave(out) and None)
        fails(model, "a hook decides on the values", "test_errors.py:")


def test_parallel_modules():
    fails(nn.DataParallel(nn.Linear(4, 4)), "DataParallel", "model.module")
    fails(nn.Sequential(nn.DataParallel(nn.Linear(4, 4))), '"0" is a DataParallel')


def test_what_hides_its_operations():
    hidden = torch.jit.script(scripted)
    fails(Forward(lambda s, x: torch.vmap(lambda row: s.w(row) ** 2)(x), w=nn.Linear(4, 4)), "torch.vmap")
    fails(Forward(lambda s, x: hidden(x), w=nn.Linear(4, 4)), "hidden", "scripted", example=torch.zeros(1, 4))
    fails(Forward(lambda s, x: s.w(x) * hidden(x), w=nn.Linear(4, 4)), "scripted")


def scripted(x: torch.Tensor) -> torch.Tensor:
    return x * x


def test_refusals_come_before_matrices_are_built(monkeypatch):
    monkeypatch.setattr(
        sys.modules["tnsim.convert.operations.general"],
        "affine_in_all",
        lambda *_: pytest.fail("a matrix was built"),
    )
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 3), nn.ReLU())
    fails(model, "ReLU", example=torch.zeros(1, 1, 8, 8))


def test_division_by_data_behind_a_reduced_axis():
    model = Forward(lambda s, x: s.w((x / x.mean((1, 2), keepdim=True)).mean(1)), w=nn.Linear(4, 4))
    fails(model, "division by data", example=torch.zeros(1, 3, 4))


def dense(s, h):
    """Every step reads all before it, so nothing can be cut."""
    kept = [h]
    for _ in range(6):
        kept.append((sum(kept) + s.w(h) ** 2) * (kept[-1] + 1))
    return kept[-1]


def write(h):
    h[0] = 1.0
    return h


def alias(h):
    view = h[:, :2]
    h += 1
    return h[:, :2] * view


def test_an_operation_in_the_root_module():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Linear(4, 4)

        def forward(self, x):
            return torch.tanh(self.w(x))

    message = fails(Root(), "torch.tanh in the root module", "return torch.tanh(self.w(x))")
    assert '""' not in message


def test_attention_of_torch():
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x):
            return self.attend(x, x, x)[0]

    fails(Attend(), "MultiheadAttention", 'at "attend"', "softmax", example=torch.zeros(1, 3, 4))


@pytest.mark.parametrize(
    ("fn", "parts"),
    [
        (lambda s, x: s.w(x)[0], ["samples"]),
        (lambda s, x: (s.w(x), x), ["returns a tuple", "single tensor"]),
        (lambda s, x: {"y": s.w(x)}, ["returns a dict"]),
        (lambda s, x: s.w.weight, ["does not depend on its input"]),
        (lambda s, x: s.w(x).T, ["batch on axis 1"]),
        (lambda s, x: s.w(x) * torch.rand(4), ["differs", "random"]),
        (lambda s, x: s.w(x) * len(x), ["differs", "batch size"]),
        (lambda s, x: s.w(x) + torch.arange(3.0)[:, None], ["constant that differs between samples"]),
    ],
)
def test_outputs(fn, parts):
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Linear(4, 4)

        def forward(self, x):
            return fn(self, x)

    fails(Root(), *parts, example=torch.zeros(1, 4))


def test_more_than_one_input():
    class Two(nn.Module):
        def forward(self, x, y, z=None):
            return x + y

    fails(Two(), "Two.forward needs one input", "x, y", "default", example=torch.zeros(1, 2))


def test_no_input():
    class None_(nn.Module):
        def forward(self):
            return torch.zeros(1)

    fails(None_(), "needs one input", example=torch.zeros(1, 2))


@pytest.mark.parametrize("thing", [nn.Linear, "model.pt", lambda x: x])
def test_not_a_module(thing):
    fails(thing, "torch.nn.Module")


def test_compiled_parts_are_named():
    model = nn.Sequential(nn.Linear(4, 4), torch.compile(nn.Linear(4, 4)))
    fails(model, '"1" is a torch.compile', "_orig_mod")


def test_an_encoder_layer_of_torch_is_refused_for_its_softmax():
    fails(nn.TransformerEncoderLayer(4, 2, batch_first=True), "exponentials", example=torch.zeros(1, 3, 4))


def test_roots_and_reciprocals():
    for fn in (lambda s, x: torch.sqrt(s.w(x) ** 2), lambda s, x: torch.hypot(s.w(x), x)):
        message = fails(Forward(fn, w=nn.Linear(4, 4)), "A root is no polynomial")
        assert "BilinearLayer" not in message
    fails(Forward(lambda s, x: s.w(x).reciprocal(), w=nn.Linear(4, 4)), "divides by data")
    fails(Forward(lambda s, x: s.w(x) * x.norm(dim=-1, keepdim=True), w=nn.Linear(4, 4)), "norm of the data")


def test_only_masks_of_token_ids_are_negated_and_joined():
    for fn in (lambda h: ~h, lambda h: h & 1, lambda h: 1 | h):
        model = Forward(lambda s, t, f=fn: s.w(f(F.one_hot(t, 4)).double()), w=nn.Linear(4, 4))
        fails(model, "Only what is said of token ids", example=torch.zeros(1, 2, dtype=torch.long))


@pytest.mark.parametrize(
    ("fn", "parts"),
    [
        (lambda s, x: F.max_pool1d(s.w(x), 2), ["max_pool1d", "picks the largest"]),
        (lambda s, x: s.w(x).amax(-1), ["amax", "picks the largest"]),
        (lambda s, x: s.w(x).topk(2, -1).values, ["topk", "puts the data in order"]),
        (lambda s, x: s.w(x) // 2, ["rounding", "Divide with /"]),
        (lambda s, x: s.w(x) % 2, ["remainder", "whole number"]),
        (
            lambda s, x: torch.linalg.inv(s.w(x).view(-1, 2, 2)).flatten(1),
            ["inv", "divides by a determinant"],
        ),
        (
            lambda s, x: torch.linalg.solve(s.w(x).view(-1, 2, 2), x.view(-1, 2, 2)).flatten(1),
            ["solve", "divides by a determinant"],
        ),
        (
            lambda s, x: torch.autograd.grad((s.w(x.requires_grad_()) ** 2).sum(), x)[0],
            ["Gradients are taken in forward", "test_errors.py:"],
        ),
        (lambda s, x: s.w(x["x"]), ["read by name", 'self.model({"x": x})', "test_errors.py:"]),
        (lambda s, x: (lambda a, b: s.w(a) * b)(*pair(x)), ["The input is one tensor", "test_errors.py:"]),
        (
            lambda s, x: (x + s.w.weight[:3, :3].sum(0)) ** 2,
            ["size of tensor", "of a shape that the model takes"],
        ),
    ],
)
def test_what_to_write_instead(fn, parts):
    fails(Forward(fn, w=nn.Linear(4, 4)), *parts, example=torch.zeros(1, 4))


def pair(x):
    a, b = x
    return a, b


def test_recurrent_layers_have_gates():
    for layer in (nn.GRU, nn.LSTM, nn.RNN):
        model = Forward(lambda s, x: s.r(x)[0], r=layer(4, 4, batch_first=True))
        fails(model, layer.__name__, "sigmoids and tanh", example=torch.zeros(1, 3, 4))


def test_tables_that_are_too_short_and_ids_of_two_axes():
    parts = dict(e=nn.Embedding(6, 4), p=nn.Embedding(2, 4))
    model = Forward(lambda s, t: (s.e(t) + s.p(torch.arange(t.shape[1]))) ** 2, **parts)
    fails(
        model,
        "beyond its last row: that of positions",
        "test_errors.py:",
        example=torch.zeros(1, 3, dtype=torch.long),
    )
    model = Forward(lambda s, t: s.e(t).sum((1, 2)), e=nn.Embedding(6, 4))
    fails(model, "ids of shape (3, 2)", "ids.flatten(1)", example=torch.zeros(1, 3, 2, dtype=torch.long))


def test_a_module_may_write_into_its_input():
    for fn in (lambda s, x: s.w(x.mul_(2)) * x, lambda s, x: s.w(x.sub_(1)) ** 2):
        model = Forward(fn, w=nn.Linear(4, 4)).double()
        x = torch.randn(3, 4, dtype=torch.float64)
        assert torch.allclose(convert(model, x)(x), model(x.clone()), rtol=1e-10)


def test_torchscript():
    fails(torch.jit.script(nn.Linear(2, 2)), "TorchScript")
    fails(nn.Sequential(nn.Linear(2, 2), torch.jit.script(nn.Linear(2, 2))), '"1" is a TorchScript module')
