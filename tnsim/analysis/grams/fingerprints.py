"""Fingerprints: a hash of everything that decides a result."""

import copyreg
import dis
import functools
import struct
import sys
import sysconfig
import types
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np
import torch

from tnsim.algebra.networks.network import Network
from tnsim.measure.pairings.measure import Measure

__all__ = ["fingerprint"]

_LIBRARIES = tuple({sysconfig.get_paths()[k] for k in ("stdlib", "platstdlib", "purelib", "platlib")})
_SLOTS = (types.MemberDescriptorType, types.GetSetDescriptorType)
_MAKERS = {
    "__init__",
    "__new__",
    "__post_init__",
    "__repr__",
    "__eq__",
    "__hash__",
    "__setattr__",
    "__delattr__",
}


def fingerprint(nets: Iterable[Network], law: Measure, *more: Any) -> str:
    """A hash of everything that a result depends on: weights, wiring, law, and whatever else is given.

    Of every array its dtype, shape and values count; of a law its class and its attributes by name, whatever they
    hold in turn. A class or a function that is not a library's counts with its code, what that code has by default
    or around it, and the globals that it names. Cached properties do not count. Cost: all arrays are read once.

    Args:
        nets: the models.
        law: the law of the input.
        more: anything else, in order.

    Raises:
        ValueError: if something in them has no content that could be read, such as a lock; the message says where.
    """
    seen = _Digest()
    parts = [seen.of(_content(net), f"model {k}") for k, net in enumerate(nets)]
    return _hash("result", *parts, seen.of(law, "under"), seen.of(more, "options")).hex()


def _content(net: Network) -> tuple[Any, ...]:
    """Wiring and weights of a network."""
    terms = [t for f in net.polys for t in f.terms]
    return (
        net.in_shape,
        net.signature(),
        [(t.symmetry, [sorted(x.tags) for x in t.tensors]) for t in terms],
        [x.data for t in terms for x in t.tensors],
    )


def _hash(kind: str, *parts: bytes) -> bytes:
    """A hash of parts, told apart by their lengths, under the name of what they make up."""
    digest = sha256()
    for part in (kind.encode(), *parts):
        digest.update(struct.pack("<Q", len(part)))
        digest.update(part)
    return digest.digest()


class _Digest:
    """Hashes of objects by what they are made of, each made once."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[bytes, Any]] = {}  # the object is held, so that its id stays its own
        self._open: dict[int, int] = {}

    def of(self, x: Any, where: str) -> bytes:
        if id(x) in self._made:
            return self._made[id(x)][0]
        if id(x) in self._open:  # something that contains itself
            return _hash("again", str(len(self._open) - self._open[id(x)]).encode())
        self._open[id(x)] = len(self._open)
        try:
            digest = self._new(x, where)
        except RecursionError:
            raise ValueError(
                f"{where} is nested too deeply for a checkpoint file; leave checkpoint= out."
            ) from None
        finally:
            del self._open[id(x)]
        self._made[id(x)] = (digest, x)
        return digest

    def _new(self, x: Any, where: str) -> bytes:
        kind = type(x)
        if x is None or x is NotImplemented or x is Ellipsis or kind in (bool, int, str):
            return _hash(kind.__name__, str(x).encode("utf-8", "surrogatepass"))
        if kind is float:
            return _hash("float", struct.pack("<d", x))
        if kind is complex:
            return _hash("complex", struct.pack("<2d", x.real, x.imag))
        if kind in (bytes, bytearray):
            return _hash(kind.__name__, bytes(x))
        if isinstance(x, torch.Tensor):
            return self._tensor(x, where)
        if isinstance(x, np.ndarray | np.generic):
            return self._array(np.asarray(x), where)
        if isinstance(x, torch.dtype | torch.device | torch.layout | np.dtype):
            return _hash("word", str(x).encode())
        if kind in (tuple, list):
            return _hash(kind.__name__, *(self.of(y, f"{where}[{k}]") for k, y in enumerate(x)))
        if kind in (set, frozenset):
            return _hash(kind.__name__, *sorted(self.of(y, f"an element of {where}") for y in x))
        if kind in (dict, types.MappingProxyType):
            pairs = (self.of(z, f"{where}[{y!r}]") for y, v in x.items() for z in (y, v))
            return _hash("dict", *pairs)
        if isinstance(x, types.ModuleType):
            return _hash("module", x.__name__.encode())
        if isinstance(x, types.CodeType):
            return self._code(x, where)
        if isinstance(x, type):
            return self._class(x, where)
        if isinstance(x, types.FunctionType):
            return self._function(x, where)
        if isinstance(x, functools.partial):
            return self._parts("partial", (x.func, x.args, x.keywords), where)
        if isinstance(x, staticmethod | classmethod | types.MethodType):
            return self._parts(kind.__name__, (x.__func__, getattr(x, "__self__", None)), where)
        if isinstance(x, property):
            return self._parts("property", (x.fget,), where)
        if isinstance(x, functools.cached_property):
            return self._parts("property", (x.func,), where)
        if hasattr(x, "__wrapped__") and callable(x):
            return self.of(x.__wrapped__, where)
        return self._object(x, where)

    def _parts(self, kind: str, parts: Iterable[Any], where: str) -> bytes:
        return _hash(kind, *(self.of(part, where) for part in parts))

    def _tensor(self, x: torch.Tensor, where: str) -> bytes:
        if x.is_meta or x.layout != torch.strided or x.is_quantized:
            raise ValueError(
                f"{where} is a tensor on {x.device}, {x.layout}, {x.dtype}; write a dense one there."
            )
        flat = x.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        head = f"{x.dtype} {tuple(x.shape)}".encode()
        return _hash("tensor", head, flat.view(torch.uint8).numpy().tobytes())

    def _array(self, x: np.ndarray, where: str) -> bytes:
        head = f"{x.dtype.descr if x.dtype.names else x.dtype.str} {x.shape}".encode()
        if x.dtype.hasobject:
            return _hash("objects", head, self.of(x.ravel().tolist(), where))
        return _hash("array", head, np.ascontiguousarray(x).tobytes())

    def _class(self, x: type, where: str) -> bytes:
        """A library's by name; any other with all that stands in it."""
        name = f"{x.__module__}.{x.__qualname__}"
        if _is_library(x.__module__):
            return _hash("class", name.encode())
        own = {
            k: v
            for k, v in vars(x).items()
            if not isinstance(v, _SLOTS)
            and (callable(v) and k not in _MAKERS if k.startswith("__") else not k.startswith("_abc_"))
        }
        members = (self.of(z, f"{name}.{k}") for k, v in sorted(own.items()) for z in (k, v))
        return _hash("class", name.encode(), *(self.of(base, name) for base in x.__bases__), *members)

    def _function(self, x: types.FunctionType, where: str) -> bytes:
        if _is_library(x.__module__):
            return _hash("function", f"{x.__module__}.{x.__qualname__}".encode())
        cells = [_inside(cell) for cell in x.__closure__ or ()]
        named = {k: x.__globals__[k] for k in sorted(_globals(x.__code__)) if k in x.__globals__}
        return self._parts("function", (x.__code__, x.__defaults__, x.__kwdefaults__, cells, named), where)

    def _code(self, x: types.CodeType, where: str) -> bytes:
        shape = (x.co_argcount, x.co_posonlyargcount, x.co_kwonlyargcount, x.co_flags)
        names = (x.co_names, x.co_varnames, x.co_freevars, x.co_cellvars)
        return self._parts("code", (x.co_code, shape, names, x.co_consts), where)

    def _object(self, x: Any, where: str) -> bytes:
        """Any other object: what it says is needed to copy it."""
        try:
            known = copyreg.dispatch_table.get(type(x))
            made = x.__reduce_ex__(4) if known is None else known(x)
        except (TypeError, AttributeError, NotImplementedError, RuntimeError) as error:
            raise ValueError(
                f"{where} is a {type(x).__name__}, whose content cannot be read ({error}); a checkpoint file is found "
                "again by what decides its values. Write numbers, words, arrays or collections of these there, or leave "
                "checkpoint= out."
            ) from None
        if isinstance(made, str):  # something that a module has one of
            return _hash("one", f"{getattr(x, '__module__', '')} {made}".encode())
        maker, args, state, items, pairs = (*made, None, None, None)[:5]
        if isinstance(state, Mapping):
            own = {k: state[k] for k in sorted(state, key=str) if not _is_cached(type(x), k)}
            inside = _hash("state", *(self.of(z, f"{where}.{k}") for k, v in own.items() for z in (k, v)))
        else:
            inside = self.of(state, where)
        parts = (
            self.of(part, where) for part in (type(x), maker, args, list(items or ()), list(pairs or ()))
        )
        return _hash("object", inside, *parts)


def _is_library(module: str | None) -> bool:
    """Whether a module is built in, installed, or tnsim's own; code that is written elsewhere may change any time."""
    if not module or module == "__main__":
        return False
    if module.split(".")[0] in ("builtins", "tnsim") or module.split(".")[0] in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and file.startswith(_LIBRARIES)


def _is_cached(kind: type, name: Any) -> bool:
    """Whether an attribute is a cached property: made of the others, and there or not."""
    return isinstance(getattr(kind, str(name), None), functools.cached_property)


def _globals(code: types.CodeType) -> set[str]:
    """The globals that code names."""
    own = {str(i.argval) for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*(_globals(x) for x in code.co_consts if isinstance(x, types.CodeType)))


def _inside(cell: Any) -> Any:
    """What a closure holds; nothing where that is not made yet."""
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()
