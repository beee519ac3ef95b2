"""A pretend accelerator: tensors on a device of their own whose numbers lie in ordinary memory.

It is as strict as a real one, or stricter. Its tensors refuse to be mixed with tensors of the CPU (a CPU tensor without
axes stands for a number where CUDA takes one for it), ``.numpy()`` and DLPack, and drawing random numbers there. It counts

* ``to``: copies of numbers to the device, however they come there,
* ``back``: copies of tensors from it,
* ``reads``: what waits for values on the way, such as ``.item()``, ``bool()``, ``nonzero`` and choosing by a mask.

torch's third device, PrivateUse1, gives it its name, memory and guards; a tensor of it is a wrapper around one of the CPU.
"""

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

import autoray as ar
import torch
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

aten = torch.ops.aten
NAME = "pretend"
DEVICE = torch.device("privateuseone", 0)

_setup_privateuseone_for_python_backend(NAME)

# operations that wait for values, by the names of their overload packets
_READS = {
    "_local_scalar_dense",
    "allclose",
    "equal",
    "is_nonzero",
    "item",
    "masked_select",
    "nonzero",
    "nonzero_static",
    "repeat_interleave",
    "unique_consecutive",
    "unique_dim",
    "_unique",
    "_unique2",
}
_RANDOM = {
    *(
        "bernoulli",
        "cauchy",
        "exponential",
        "geometric",
        "log_normal",
        "multinomial",
        "normal",
        "poisson",
        "random",
    ),
    *(
        "rand",
        "randint",
        "randn",
        "randperm",
        "uniform",
        "rand_like",
        "randint_like",
        "randn_like",
        "native_dropout",
    ),
}
_APART = {
    "cat",
    "stack",
    "mm",
    "bmm",
    "addmm",
    "dot",
    "mv",
    "index_select",
    "gather",
    "scatter",
}  # no numbers here


@dataclass
class Counts:
    """What went to and fro, and which operations read values."""

    to: int = 0
    back: int = 0
    reads: Counter = field(default_factory=Counter)
    last: str = ""

    @property
    def waits(self):
        """How often the caller had to wait for the device."""
        return self.back + self.reads.total()

    def __str__(self):
        return f"{self.to} to, {self.back} back, reads {dict(self.reads)}"


_counting: list[Counts] = []
_refused: list[torch.dtype] = []
_lock = Lock()  # gradients run in a thread of their own


@contextmanager
def counting():
    """Count what happens inside."""
    counts = Counts()
    _counting.append(counts)
    try:
        yield counts
    finally:
        _counting.remove(counts)


@contextmanager
def lacking(*dtypes):
    """The device knows no such numbers, as Apple's knows no float64."""
    _refused.extend(dtypes)
    try:
        yield
    finally:
        del _refused[len(_refused) - len(dtypes) :]


def _count(**what):
    with _lock:
        for counts in _counting:
            for name, value in what.items():
                if name == "read":
                    counts.reads[value] += 1
                else:
                    setattr(counts, name, getattr(counts, name) + value)


class PretendTensor(torch.Tensor):
    """A tensor on the pretend device."""

    __slots__ = ("inner",)  # not among the attributes that users give to tensors

    @staticmethod
    def __new__(cls, inner):
        if inner.dtype in _refused:
            name = str(inner.dtype).split(".")[-1]
            raise TypeError(
                f"Cannot convert a {NAME} Tensor to {name} dtype as the {NAME} framework doesn't support {name}. "
                "Please use float32 instead."
            )
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _done(func, args, kwargs or {})

    def untyped_storage(self):
        return self.inner.untyped_storage()  # the same for two views

    def tolist(self):
        return self.detach().cpu().tolist()

    def numpy(self, *, force=False):
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(
            f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
            "memory first."
        )

    def __array__(self, dtype=None):
        return self.numpy()

    def __format__(self, spec):
        return self.item().__format__(spec) if self.dim() == 0 else super().__format__(spec)

    def __repr__(self):
        return f"{self.detach().cpu()!r} on {NAME}"

    def __dlpack__(self, **kwargs):
        raise BufferError(f"tensors on {self.device} have no DLPack.")

    def __dlpack_device__(self):
        raise BufferError(f"tensors on {self.device} have no DLPack.")

    def __deepcopy__(self, memo):
        copy = self.detach().clone().requires_grad_(self.requires_grad)
        memo[id(self)] = copy
        return copy

    def __reduce_ex__(self, protocol):
        cpu = torch.Tensor.cpu(self.detach())
        return _restored, (cpu, self.requires_grad)


ar.register_backend(PretendTensor, "torch")


def _restored(cpu, graph):
    return cpu.to(DEVICE).requires_grad_(graph)


def _done(func, args, kwargs):
    """One operation: on the numbers inside, with everything refused and counted that a device refuses and is slow at."""
    name = func._schema.name.removeprefix("aten::").removesuffix("_")
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    here = [x for x in tensors if isinstance(x, PretendTensor)]
    others = [x for x in tensors if not isinstance(x, PretendTensor)]
    wanted = kwargs.get("device")
    stays = not (wanted is not None and torch.device(wanted).type != DEVICE.type)
    with _lock:
        for counts in _counting:
            counts.last = name
    if name == "copy":
        target, source = args[:2]
        if isinstance(target, PretendTensor):
            if not isinstance(source, PretendTensor):
                _count(to=1)
        else:
            _count(back=1)
        _inner(target).copy_(_inner(source))
        return target
    if others and not (name not in _APART and all(x.dim() == 0 and x.device.type == "cpu" for x in others)):
        devices = ", ".join(sorted({str(x.device) for x in tensors}))
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices: {devices} ({func})."
        )
    if name in _RANDOM:
        raise RuntimeError(f"{name} on {NAME}: random numbers are drawn on the CPU and moved.")
    if name in _READS or (name in ("index", "index_put") and _masked(args[1])):
        _count(read=name)
    if not stays and here:
        _count(back=1)
    named = {
        k: "cpu" if k == "device" and stays else _inner(v) for k, v in kwargs.items() if k != "pin_memory"
    }
    result = func(*tree_map(_inner, args), **named)
    if not stays:
        return result
    if func._schema.is_mutable and not isinstance(result, tuple | list):
        written = _same(func, args, kwargs)
        if torch.Tag.inplace_view in func.tags:
            with no_dispatch():
                func(*args, **kwargs)  # another view of the same numbers: so the wrapper becomes as well
        assert written.shape == result.shape, f"{func}: a wrapper can't grow."
        return written
    return tree_map(lambda x: PretendTensor(x) if isinstance(x, torch.Tensor) else x, result)


def _same(func, args, kwargs):
    """The argument that is changed in place."""
    written = [
        k for k, a in enumerate(func._schema.arguments) if a.alias_info is not None and a.alias_info.is_write
    ]
    argument = func._schema.arguments[written[0]]
    return kwargs[argument.name] if argument.name in kwargs else args[written[0]]


def _inner(x):
    if isinstance(x, tuple | list):
        return type(x)(map(_inner, x))
    return x.inner if isinstance(x, PretendTensor) else x


def _masked(indices):
    return any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in indices)


def _copied(source, target, non_blocking=False):
    return _done(aten.copy_.default, (target, source), {})


_fallback = torch.library.Library("_", "IMPL")
_fallback.fallback(lambda func, *args, **kwargs: _done(func, args, kwargs), "PrivateUse1")
_own = torch.library.Library("aten", "IMPL")
_own.impl("_copy_from", _copied, "PrivateUse1")
for _op in (
    "eye.default",
    "eye.m",
    "arange.default",
    "arange.start",
    "arange.start_step",
    "linspace.default",
):
    # torch makes these by filling an empty tensor that grows, and a wrapper can't grow
    _packet, _overload = _op.split(".")
    _func = getattr(getattr(aten, _packet), _overload)
    _name = _packet if _overload == "default" else _op
    _own.impl(_name, partial(lambda func, *args, **kwargs: _done(func, args, kwargs), _func), "PrivateUse1")
