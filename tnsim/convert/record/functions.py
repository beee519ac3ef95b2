"""Functions: what torch functions are called, which only tell a fact, and what stands for one that writes in place."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tnsim.convert.record.trace import words

__all__ = [
    "CASTS",
    "DETACHED",
    "EMPTY",
    "FACTS",
    "FRESH",
    "LIKE",
    "READ_IDS",
    "functional",
    "operation",
    "spelled",
]

FACTS = words("""
    shape size dim ndim ndimension numel nelement len device dtype layout is_floating_point is_complex requires_grad
    is_leaf grad_fn grad is_cuda is_cpu is_mps is_meta is_contiguous stride storage_offset element_size itemsize nbytes
    get_device is_sparse is_quantized is_nested is_same_size hash repr format str names is_conj is_neg is_inference
    is_signed untyped_storage
""")

FRESH = words("zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_tensor new_empty")
CASTS = words("to float double half bfloat16 type type_as cpu cuda long int bool")
EMPTY = words("empty empty_like new_empty empty_strided")
READ_IDS = words("embedding embedding_bag one_hot getitem index_select")
LIKE = words("expand_as view_as reshape_as type_as to")  # only shape and kind of the second argument are read
DETACHED = words("detach data")
_NUMPY = {"axis": "dim", "keepdims": "keepdim"}


def operation(func: Any) -> tuple[str, bool]:
    """The normalised name of a torch function, and whether it changes its first argument."""
    name = getattr(func, "__name__", str(func))
    if name in ("__get__", "__set__", "__delete__"):
        return (func.__self__.__name__, False) if name == "__get__" else ("set", True)
    if name.startswith("__") and name.endswith("__"):
        plain = name[2:-2]
        if plain == "setitem":
            return plain, True
        if plain in ("float", "int", "bool", "complex", "index"):
            return "item", False
        if plain[:1] == "i" and plain[1:] in ("add", "sub", "mul", "div", "truediv", "pow", "matmul"):
            return plain[1:].replace("truediv", "div"), True
        return plain, False
    return (name[:-1], True) if name.endswith("_") and not name.startswith("_") else (name, False)


def spelled(func: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments as torch calls them: its built-in functions also take numpy's names."""
    if not kwargs or hasattr(func, "__code__"):
        return kwargs
    return {_NUMPY.get(name, name): value for name, value in kwargs.items()}


def functional(op: str) -> Callable[..., Tensor] | None:
    """What ``x.op_(...)`` would return if it left x alone; ``None`` where torch has no such function.

    Args:
        op: the name without the underscore; ``setitem`` for ``x[key] = value``.
    """
    return _FUNCTIONS.get(op) or getattr(Tensor, op, None)


def _written(target: Tensor, key: Any, value: Any) -> Tensor:
    out = target.clone()
    out[key] = value
    return out


def _copied(target: Tensor, value: Tensor, non_blocking: bool = False) -> Tensor:
    return value.expand(target.shape).to(target.dtype)


_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "setitem": _written,
    "copy": _copied,
    "fill": torch.fill,
    "zero": torch.zeros_like,
}
