"""What tests of the untouched module share: modules of many kinds, and a fingerprint of all that one holds."""

import random
import threading
import weakref
from collections import defaultdict, deque
from functools import lru_cache, partial
from types import BuiltinMethodType, FunctionType, MethodType, SimpleNamespace

import numpy as np
import torch
from modules import Forward
from torch import nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

# ---------------------------------------------------------------------- everything a module holds, as one comparable value


def fingerprint(x, seen=None):
    """Identities, values, versions and flags of everything that can be reached from an object; it runs none of its code."""
    seen = {} if seen is None else seen
    if isinstance(x, str | bytes | int | float | complex | type | None):
        return (type(x).__name__, x)
    if id(x) in seen:
        return ("again", seen[id(x)][0])
    seen[id(x)] = (len(seen), x)
    if isinstance(x, Remembering):
        return (fingerprint(Remembering.history, seen), id(x), _inner(x.__dict__, seen))
    head = (type(x).__name__, id(x) if not isinstance(x, MethodType | BuiltinMethodType) else 0)
    if isinstance(x, torch.Tensor):
        facts = (x.dtype, str(x.device), x.requires_grad, x._version, x.data_ptr(), tuple(x.shape), x.is_leaf)
        bits = bytes(x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        grad = None if not x.is_leaf else fingerprint(x.grad, seen)
        return (*head, facts, bits, grad, _inner(x.__dict__, seen))
    if isinstance(x, np.ndarray):
        return (*head, x.tobytes())
    if isinstance(x, torch.Generator):
        return (*head, bytes(x.get_state().numpy()))
    if isinstance(x, random.Random):
        return (*head, x.getstate())
    if isinstance(x, np.random.Generator):
        return (*head, repr(x.bit_generator.state))
    if isinstance(x, dict):
        parts = [(fingerprint(k, seen), fingerprint(v, seen)) for k, v in x.items()]
        return (*head, parts, _inner(getattr(x, "__dict__", {}), seen))
    if isinstance(x, list | tuple | deque | set | frozenset):
        return (*head, [fingerprint(v, seen) for v in x])
    if isinstance(x, FunctionType):
        cells = [c.cell_contents for c in x.__closure__ or ()]
        return (*head, _inner(x.__dict__, seen), fingerprint(cells, seen)[2:])
    if isinstance(x, MethodType):
        return (*head, fingerprint(x.__self__, seen), fingerprint(x.__func__, seen))
    if isinstance(x, partial):
        return (*head, fingerprint((x.func, x.args, x.keywords), seen)[2:])
    return (*head, _inner(getattr(x, "__dict__", {}), seen))


def _inner(d, seen):
    return [(k, fingerprint(v, seen)) for k, v in d.items()]


def surroundings():
    """The state of the process that a forward pass could change."""
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        repr(np.random.get_state()),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.overrides._get_current_function_mode_stack(),
        threading.active_count(),
    )


# ---------------------------------------------------------------------- kinds of modules

D = 4
COUNTS = defaultdict(int)  # globals that a hook and a function write


class Counter(nn.Module):
    """Keeps every kind of state in ``forward``."""

    def __init__(self):
        super().__init__()
        self.w = nn.Linear(D, D)
        self.calls, self.cache, self.history, self.sizes, self.last = 0, None, [], set(), deque(maxlen=2)
        self.names, self.state, self.box, self.array = {}, SimpleNamespace(n=0), Box(), np.zeros(2)
        self.plain, self.many = torch.zeros(3), [torch.zeros(2)]
        self.dice, self.numbers, self.noise = random.Random(0), np.random.default_rng(0), torch.Generator()
        self.lock = threading.Lock()
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        with self.lock:
            self.calls += 1
        self.steps += 1
        self.cache = torch.eye(D).to(x.dtype) if self.cache is None else self.cache
        self.history.append(x)
        self.last.append(x)
        self.sizes.add(x.shape)
        self.names["x"] = x
        self.state.n += 1
        self.box.count += 1
        self.box.new = x
        self.array += 1
        self.plain.add_(1)
        self.many[0] += 1
        self.dice.random(), self.numbers.random(), torch.rand(1, generator=self.noise)
        random.random(), np.random.rand(), torch.rand(2)
        return self.w(x) * (x @ self.cache)


class Box:
    __slots__ = ("__dict__", "count")

    def __init__(self):
        self.count = 0


class Parent(nn.Module):
    """A child that knows its parent, in four ways, and calls it."""

    class Child(nn.Module):
        def forward(self, x):
            self.parent[0].calls += 1
            self.weak().calls += 1
            self.proxy.calls += 1
            return self.up(x) + self.parent[0].w(x) * self.weak().w(x) + self.again(x)

    def __init__(self):
        super().__init__()
        self.w, self.child, self.calls = nn.Linear(D, D), Parent.Child(), 0
        self.child.parent, self.child.weak, self.child.proxy = [self], weakref.ref(self), weakref.proxy(self)
        self.child.up, self.child.again = self.lift, partial(Parent.lift, self)
        self.children_by_name = {"child": self.child, self.child: "child"}

    def lift(self, x):
        self.calls += 1
        return self.w(x)

    def forward(self, x):
        return self.children_by_name["child"](x)


class Lambdas(nn.Module):
    """Functions that captured the module itself, as ``forward``, as an attribute, and behind a cache."""

    def __init__(self):
        super().__init__()
        self.w, self.calls, n = nn.Linear(D, D), 0, 0

        def forward(x):
            nonlocal n
            n += 1
            self.calls += 1
            forward.calls = getattr(forward, "calls", 0) + 1
            return self.f(x) * self.g(self.size(D))

        self.f = lambda x: self.w(x)
        self.g = lambda k: self.w.weight.sum() + k
        self.size = lru_cache(None)(lambda k: setattr(self, "asked", k) or k)
        self.forward = forward


class Norm(nn.Module):
    """Writes into its own weights, as a constraint on their norm does."""

    def __init__(self):
        super().__init__()
        self.w, self.v, self.u = (nn.Linear(D, D) for _ in range(3))
        self.table = nn.Embedding(2, D, max_norm=0.1)
        self.frozen = nn.Linear(D, D).requires_grad_(False)

    def forward(self, x):
        self.w.weight.data = torch.renorm(self.w.weight.data, 2, 0, 0.5)
        with torch.no_grad():
            self.v.weight.clamp_(-0.1, 0.1)
        self.u.weight.detach().numpy()[0] = 1.0
        self.w.bias.tag = "seen"
        return self.w(x) * self.v(x) * self.u(x) + self.table(torch.tensor(1)).to(x.dtype) + self.frozen(x)


class Global(nn.Module):
    """Reads a module that is a global variable, and so is its own part."""

    def __init__(self):
        super().__init__()
        self.w, self.v = nn.Linear(D, D), nn.Linear(D, D)
        self.w.calls = 0

    def forward(self, x):
        WHOLE["module"].w.calls += 1
        return WHOLE["module"].w(x) * LINEAR(x) + helped(x)


WHOLE: dict = {}
LINEAR = nn.Linear(D, D)


def helped(x):
    LINEAR.calls = getattr(LINEAR, "calls", 0) + 1
    return LINEAR.weight.sum() * x


def hooked():
    seen, model = [], nn.Sequential(nn.Linear(D, D), nn.Linear(D, D))

    def note(module, inputs, output=None):
        seen.append(output)
        COUNTS[type(module).__name__] += 1
        module.noted = True

    model.handle = model[0].register_forward_hook(note)
    model.register_forward_pre_hook(note)
    model[1].register_forward_hook(lambda m, i, o: (model.handle.remove(), o)[1])
    model[1].register_full_backward_hook(lambda m, i, o: None)
    return model


def shared_block():
    block = nn.Linear(D, D)
    return Forward(lambda s, x: s.blocks[1](s.blocks[0](x) ** 2), blocks=nn.ModuleList([block, block]))


def global_module():
    WHOLE["module"] = Global()
    return WHOLE["module"]


def normed(norm):
    model = nn.Sequential(norm(nn.Linear(D, D)), nn.Linear(D, D))
    return model


def trained():
    model = nn.Sequential(nn.Linear(D, D), nn.BatchNorm1d(D), nn.Dropout(0.5), nn.Linear(D, 2))
    model(torch.randn(8, D)).square().sum().backward()
    return model


class Symmetric(nn.Module):
    def forward(self, w):
        self.calls = getattr(self, "calls", 0) + 1
        return w + w.T


def parametrized():
    model = nn.Sequential(nn.Linear(D, D), nn.Linear(D, D))
    parametrize.register_parametrization(model[0], "weight", Symmetric())
    return model


def tied():
    model = nn.Sequential(nn.Linear(D, D), nn.Linear(D, D))
    model[1].weight = model[0].weight
    return model


def cached_product():
    model = Forward(lambda s, x: x @ s.product, w=nn.Linear(D, D), v=nn.Linear(D, D))
    model.product = model.w.weight @ model.v.weight  # with a history
    return model


def reseeding():
    def forward(s, x):
        torch.manual_seed(0)
        noise = torch.randn(D)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        return s.w(x) * noise.to(x.dtype)

    return Forward(forward, w=nn.Linear(D, D))


class Remembering(nn.Module):
    """A list that belongs to the class, a method of a base that counts, and a layer that is made in ``forward``."""

    history: list = []  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.w, self.later = nn.Linear(D, D), None

    def forward(self, x):
        self.history.append(1)
        if self.later is None:
            self.later = nn.Linear(D, D).to(x.dtype)
            nn.init.eye_(self.later.weight)
            nn.init.zeros_(self.later.bias)
        return self.w(x) * self.later(x)


def defaults():
    model = nn.Sequential(nn.Linear(D, D))

    def forward(x, _model=model):
        _model.calls = 1
        return _model[0](x)

    model.forward = forward
    return model


def counting(s, x):
    s.n = getattr(s, "n", 0) + 1
    return s.w(x) * s.n


CONVERTED = {
    "a block registered twice": shared_block,
    "tied weights": tied,
    "eval mode after training": lambda: trained().eval(),
    "state kept in forward": Counter,
    "a child with its parent": Parent,
    "functions that captured the module": Lambdas,
    "hooks": hooked,
    "a global module": global_module,
    "a module as a default": defaults,
    "attributes of the class": Remembering,
    "weights written in forward": Norm,
    "weight_norm by hooks": lambda: normed(weight_norm),
    "spectral_norm by hooks": lambda: normed(spectral_norm),
    "weight_norm": lambda: normed(parametrizations.weight_norm),
    "spectral_norm": lambda: normed(parametrizations.spectral_norm),
    "a parametrisation": parametrized,
    "a product kept from before": cached_product,
    "frozen weights": lambda: nn.Sequential(nn.Linear(D, D), nn.Linear(D, D)).requires_grad_(False),
    "double precision": lambda: nn.Sequential(nn.Linear(D, D), nn.Linear(D, D)).double(),
    "seeds and switches": reseeding,
}

REFUSED = {
    "training mode": trained,
    "an activation": lambda: nn.Sequential(nn.Linear(D, D), nn.ReLU()),
    "no such attribute": lambda: Forward(lambda s, x: setattr(s, "n", 1) or s.missing(x), w=nn.Linear(D, D)),
    "random": lambda: Forward(lambda s, x: s.w(x) * torch.rand(D), w=nn.Linear(D, D)),
    "a buffer that counts": lambda: Forward(counting, w=nn.Linear(D, D), n=torch.zeros(())),
    "freezes itself": lambda: Forward(lambda s, x: s.requires_grad_(False).w(x), w=nn.Linear(D, D)),
    "an output that counts": lambda: Forward(counting, w=nn.Linear(D, D)),
}

EXAMPLE = torch.zeros(1, D)


def made(name):
    torch.manual_seed(0)
    return {**CONVERTED, **REFUSED}[name]()
