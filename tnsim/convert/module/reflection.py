"""Reflection: what a Python object refers to, read without running any of its code."""

import sys
from collections.abc import Iterator
from types import CellType, CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor

from tnsim.common.caches import cached

__all__ = [
    "ATOMS",
    "MISSING",
    "class_attributes",
    "contents",
    "defaults",
    "has_state",
    "held",
    "is_plain",
    "named_globals",
    "quiet",
    "slots",
]

ATOMS = frozenset(
    (type(None), bool, int, float, complex, str, bytes, range, slice, type(...), torch.dtype, torch.device)
) | {torch.Size, type}
MISSING = object()


def has_state(f: FunctionType) -> bool:
    """Whether a function has captured variables, attributes, or defaults that can change."""
    return bool(f.__closure__ or f.__dict__ or any(type(v) not in ATOMS for v in defaults(f)))


def defaults(f: FunctionType) -> list[Any]:
    """The default values of a function's arguments."""
    return [*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()]


def contents(cell: CellType) -> Any:
    """The value of a captured variable; ``None`` where it has none yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def named_globals(f: FunctionType) -> Iterator[tuple[str, Any]]:
    """The global variables that a function of the user's names."""
    if (f.__module__ or "").partition(".")[0] != "torch":
        for name in _names(f.__code__):
            if name in f.__globals__:
                yield name, f.__globals__[name]


@cached(4096)
def _names(code: CodeType) -> frozenset[str]:
    inner = (_names(c) for c in code.co_consts if isinstance(c, CodeType))
    return frozenset(code.co_names).union(*inner)


def class_attributes(kind: type) -> Iterator[tuple[str, Any]]:
    """The methods and attributes of the user's classes, those that count."""
    seen: set[str] = set()
    for cls in kind.__mro__:
        if cls.__module__.partition(".")[0] not in ("torch", "builtins", "typing"):
            for name, value in list(vars(cls).items()):
                if name not in seen and not name.startswith("__"):
                    yield name, value
        seen |= vars(cls).keys()


def quiet(kind: type) -> type:
    """The class itself; or, where it has a finaliser, one without, so that the end of a copy is not noticed."""
    if not hasattr(kind, "__del__"):
        return kind
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__del__": lambda self: None})


def is_plain(x: Any) -> bool:
    """Whether an object is of a Python class, and all it holds are attributes."""
    kind = type(x)
    ordinary = all(
        getattr(kind, name) is getattr(object, name) for name in ("__new__", "__reduce_ex__", "__reduce__")
    )
    if not ordinary or issubclass(kind, type | Tensor) or hasattr(kind, "__del__"):
        return False
    if any(held(slot, x) is not MISSING for slot in slots(kind)):
        return True
    if not hasattr(x, "__dict__"):
        return False
    home = sys.modules.get(kind.__module__)
    return bool(x.__dict__) or not any(
        v is x for v in list(vars(home).values()) if home
    )  # a sentinel is itself


def slots(kind: type) -> list[Any]:
    """The descriptors of the attributes that lie outside the dictionary."""
    member = type(FunctionType.__globals__)
    return [
        value
        for cls in kind.__mro__
        if "__slots__" in vars(cls)
        for value in vars(cls).values()
        if type(value) is member
    ]


def held(slot: Any, x: Any) -> Any:
    """The value of an attribute in a slot; ``MISSING`` where it has none."""
    try:
        return slot.__get__(x)
    except AttributeError:
        return MISSING
