"""Pickles read as data: what they would build, without building it. No name is looked up, nothing is called.

A pickle is a program for a small stack machine. `pickletools` of the standard library splits it into its instructions
and runs none. Here they are carried out on plain containers; whatever the program would make of a class or a function,
is an inert :class:`StandIn` that remembers its name and what it was given. Tensors and storages are the few names that
mean something.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

__all__ = ["StandIn", "Storage", "read_pickle"]

_ORDERED = ("collections.OrderedDict", "builtins.dict", "collections.defaultdict", "collections.Counter")
_PLAIN: Mapping[str, type] = {
    "builtins.list": list,
    "builtins.tuple": tuple,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "torch.Size": tuple,
}
_STORED = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool, "ComplexDouble": torch.complex128, "ComplexFloat": torch.complex64,
}  # fmt: skip


class StandIn:
    """What a pickle would have made of a class or a function: its name, and what it was given. It does nothing.

    Attributes:
        name: the class or function, with its module.
        args: what it would have been called with; ``None`` if it is only named.
        state: what the object was to be filled with.
        items: what was to be appended to it.
        pairs: what was to be stored in it under keys.
    """

    def __init__(self, name: str, args: Any = None):
        self.name, self.args = name, args
        self.state: Any = None
        self.items: list[Any] = []
        self.pairs: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"StandIn({self.name})"


class Storage:
    """The numbers that tensors share: a dtype, and bytes as a tensor of uint8."""

    def __init__(self, dtype: torch.dtype, data: Tensor):
        self.dtype, self.data = dtype, data

    @classmethod
    def of(cls, kind: Any, data: Tensor) -> "Storage":
        """A storage of the class that a pickle names, such as ``torch.FloatStorage``."""
        name = kind.name.rsplit(".", 1)[-1].removesuffix("Storage") if isinstance(kind, StandIn) else ""
        if name not in (*_STORED, "Untyped"):
            raise ValueError(f"numbers of the unknown kind {kind!r}")
        return cls(_STORED.get(name, torch.uint8), data)


Stored = Callable[[Any], Any]


def read_pickle(file: BinaryIO, stored: Stored, opened: Stored = StandIn) -> Any:
    """What the next pickle in a file holds.

    Args:
        file: open, at the beginning of a pickle; left behind its end.
        stored: from a persistent id to what it stands for.
        opened: from the bytes of a file of torch's, where the pickle holds one, to what is in it.

    Raises:
        ValueError: if it is no pickle, or one that says what cannot be.
    """
    machine = _Machine(stored, opened)
    try:
        for code, argument, _ in pickletools.genops(file):
            if code.name == "STOP":
                return machine.stack.pop()
            machine.step(code.name, argument)
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"not a pickle that can be followed: {type(error).__name__} {reason}") from None
    raise ValueError("a pickle without an end")


class _Machine:
    """The stack, what was put below each mark, and the memo."""

    def __init__(self, stored: Stored, opened: Stored):
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.stored, self.opened = stored, opened

    def step(self, name: str, x: Any) -> None:
        """Carry out one instruction."""
        stack = self.stack
        if name in _PUSHED:
            stack.append(x)
        elif name in _CONSTANT:
            stack.append(_CONSTANT[name]())
        elif name in ("PROTO", "FRAME"):
            pass
        elif name == "MARK":
            self.below.append(stack)
            self.stack = []
        elif name in ("POP_MARK", "LIST", "TUPLE", "FROZENSET", "DICT"):
            items = self._marked()
            if name != "POP_MARK":
                self.stack.append(_gathered(name, items))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            n = int(name[-1])
            if len(stack) < n:
                raise IndexError("the stack is too short")
            stack[-n:] = [tuple(stack[-n:])]
        elif name in ("APPENDS", "ADDITEMS", "SETITEMS"):
            items = self._marked()
            _extended(self.stack[-1], items, name)
        elif name == "APPEND":
            _extended(stack[-2], [stack.pop()], "APPENDS")
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _extended(stack[-1], [key, value], "SETITEMS")
        elif name == "POP":
            stack.pop() if stack else self._marked()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[int(x)] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[int(x)])
        else:
            self._object(name, x)

    def _object(self, name: str, x: Any) -> None:
        """Instructions about classes, functions and what lies elsewhere."""
        stack = self.stack
        if name == "GLOBAL":
            stack.append(_named(*x.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            word, module = stack.pop(), stack.pop()
            stack.append(_named(module, word))
        elif name == "INST":
            arguments = tuple(self._marked())
            self.stack.append(_made(_named(*x.split(" ", 1)), arguments))
        elif name == "OBJ":
            what, *rest = self._marked()
            self.stack.append(_made(what, tuple(rest)))
        elif name in ("REDUCE", "NEWOBJ"):
            given, what = stack.pop(), stack.pop()
            nested = isinstance(what, StandIn) and what.name == "torch.storage._load_from_bytes"
            stack.append(self.opened(given[0]) if nested else _made(what, given))
        elif name == "NEWOBJ_EX":
            words, given = stack.pop(), stack.pop()
            stack.append(_made(stack.pop(), given))
            _filled(stack[-1], words)
        elif name == "BUILD":
            state = stack.pop()
            stack[-1] = _filled(stack[-1], state)
        elif name == "BINPERSID":
            stack.append(self.stored(stack.pop()))
        elif name == "PERSID":
            stack.append(self.stored(x))
        else:
            raise ValueError(f"the instruction {name}")

    def _marked(self) -> list[Any]:
        """What stands above the last mark, which is taken away."""
        items, self.stack = self.stack, self.below.pop()
        return items


_PUSHED = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "FLOAT",
    "BINFLOAT",
))  # fmt: skip
_CONSTANT: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": set,
}  # fmt: skip


def _gathered(name: str, items: list[Any]) -> Any:
    if name == "DICT":
        return dict(zip(items[::2], items[1::2], strict=True))
    return {"LIST": list, "TUPLE": tuple, "FROZENSET": frozenset}[name](items)


def _extended(whole: Any, items: list[Any], name: str) -> None:
    """Items appended to, or stored in, a collection or what stands for one."""
    if name == "SETITEMS":
        target = whole.pairs if isinstance(whole, StandIn) else whole
        if not isinstance(target, dict):
            raise TypeError(f"keys in a {type(target).__name__}")
        target.update(zip(items[::2], items[1::2], strict=True))
    elif isinstance(whole, set):
        whole.update(items)
    else:
        (whole.items if isinstance(whole, StandIn) else whole).extend(items)


def _named(module: Any, word: Any) -> StandIn:
    if not isinstance(module, str) or not isinstance(word, str):
        raise TypeError("a name that is no word")
    return StandIn(f"{_MODULES.get(module, module)}.{word}")


_MODULES = {"__builtin__": "builtins"}  # as Python 2 wrote it


def _made(what: Any, given: Any) -> Any:
    """What a call would have made: plain containers, tensors, numbers; a stand-in for everything else."""
    if not isinstance(what, StandIn) or not isinstance(given, tuple):
        return StandIn(what.name if isinstance(what, StandIn) else repr(type(what)), given)
    name = what.name
    if name in _ORDERED:
        first = given[0] if given and not isinstance(given[0], StandIn) else None
        return dict(first) if first else {}
    if name in _PLAIN:
        return _PLAIN[name](*given)
    if name == "_codecs.encode" and len(given) == 2 and given[1] == "latin1" and isinstance(given[0], str):
        return given[0].encode("latin1")
    if name in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
        return _tensor(*given[:4])
    if name == "torch._utils._rebuild_tensor_v3":
        return _tensor(given[0], given[1], given[2], given[3], _dtype(given[6]))
    if name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
        return given[0]
    if name == "torch._tensor._rebuild_from_type_v2":
        return _made(given[0], given[2])
    if name.startswith("numpy.") and name.endswith(".multiarray.scalar") and len(given) == 2:
        return _numbers(given[0], given[1]).item()
    if name.startswith("numpy.") and name.endswith("._frombuffer") and len(given) == 4:
        return torch.from_numpy(_numbers(given[1], given[0]).reshape(given[2], order=given[3]).copy())
    return StandIn(name, given)


def _filled(what: Any, state: Any) -> Any:
    """An object with its state; an array of numpy's becomes a tensor, containers and tensors stay what they are."""
    if not isinstance(what, StandIn):
        return what
    what.state = state
    if what.name.startswith("numpy.") and what.name.endswith("._reconstruct"):
        _, shape, dtype, columns, data = state
        numbers = _numbers(dtype, data)
        return torch.from_numpy(numbers.reshape(shape, order="F" if columns else "C").copy())
    return what


def _tensor(storage: Any, offset: int, size: Any, stride: Any, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor in a storage; torch refuses one that would reach beyond it."""
    if not isinstance(storage, Storage):
        raise TypeError("a tensor without numbers")
    wanted = storage.dtype if dtype is None else dtype
    data = storage.data[: len(storage.data) // wanted.itemsize * wanted.itemsize]
    return data.view(wanted).as_strided(tuple(size), tuple(stride), offset)


def _dtype(what: Any) -> torch.dtype:
    found = getattr(torch, what.name.removeprefix("torch.")) if isinstance(what, StandIn) else None
    if not isinstance(found, torch.dtype):
        raise TypeError(f"{what!r} is no dtype")
    return found


def _numbers(dtype: Any, data: Any) -> np.ndarray:
    """Numbers that numpy wrote. Only plain ones: no objects, no records."""
    kind = dtype.args[0] if isinstance(dtype, StandIn) and dtype.name == "numpy.dtype" and dtype.args else ""
    order = dtype.state[1] if kind and isinstance(dtype.state, tuple) else "|"
    if not isinstance(kind, str) or kind[:1] not in tuple("biufc") or order not in ("<", ">", "|", "="):
        raise ValueError("an array of something else than numbers")
    found = np.dtype(order + kind) if kind[1:] else np.dtype(kind)
    read = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(read, found).astype(found.newbyteorder("="))
