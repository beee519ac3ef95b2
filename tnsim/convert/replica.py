"""Replica: a module tree made anew, so that a forward pass changes nothing that belongs to the user.

``copy.deepcopy`` will not do: it copies every tensor, fails on locks, open files and tensors with a history, runs hooks
of the classes it meets, and leaves functions alone, so that a lambda which captured the model goes on using the original.
"""

import copy
import random
import sys
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from types import BuiltinMethodType, CellType, CodeType, FunctionType, MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["replica"]

_ATOMS = frozenset(
    (type(None), bool, int, float, complex, str, bytes, range, slice, type(...), torch.dtype, torch.device)
) | {torch.Size, type}
_MUTABLE = (dict, list, set, deque)
_CONTAINERS = (OrderedDict, defaultdict, dict, list, set, deque)
_GENERATORS = (random.Random, np.random.Generator, np.random.RandomState)
_PROXIES = (weakref.ProxyType, weakref.CallableProxyType)
_CACHED = type(lru_cache(int))
_MISSING = object()


def replica(module: nn.Module, tensors: Mapping[int, Tensor]) -> nn.Module:
    """A copy of a module and of everything it holds, with other tensors in place of some.

    New are: modules with their attributes, dictionaries and hooks; lists, dicts, sets and objects of Python classes;
    functions, down to the variables they captured and to the modules and containers that they name as globals;
    bound methods, weak references and generators of random numbers. What is shared stays shared. Tensors that are
    not replaced, and objects without a Python state (locks, files), are the very same. No code of the user's runs.

    Args:
        module: the module; it is only read.
        tensors: for the id of a tensor, what takes its place.

    Cost: one visit of every Python object that can be reached; no tensor is copied.
    """
    copier = _Copier(tensors)
    made: nn.Module = copier.finished(module)
    made.__dict__["_referents"] = copier.referents
    return made


class _Copier:
    """Copies objects, each once. Their contents follow later, one after the other, so that depth is no matter.

    Attributes:
        made: for the id of an object, its copy.
        kept: the originals, which keep the ids valid.
        todo: how to fill the copies that are still empty.
        referents: copies that are only weakly referred to.
    """

    def __init__(self, tensors: Mapping[int, Tensor]):
        self.made: dict[int, Any] = dict(tensors)
        self.kept: list[Any] = []
        self.todo: list[Callable[[], None]] = []
        self.referents: list[Any] = []
        self.reaching: dict[tuple[int, bool], bool] = {}

    def finished(self, x: Any) -> Any:
        made = self(x)
        while self.todo:
            self.todo.pop()()
        return made

    def __call__(self, x: Any) -> Any:
        if type(x) in _ATOMS:
            return x
        found = self.made.get(id(x), _MISSING)
        if found is not _MISSING:
            return found
        return self._known(x, self._copied(x))

    def _known(self, x: Any, made: Any) -> Any:
        self.kept.append(x)
        self.made[id(x)] = made
        return made

    def _copied(self, x: Any) -> Any:
        kind = type(x)
        if kind in _PROXIES:
            return self._referred(x.__repr__.__self__, x, lambda made: made)
        if kind in (weakref.ref, weakref.WeakMethod):
            return self._referred(x(), x, kind)
        if kind is FunctionType:
            return self._function(x) if _has_state(x) or self._reaches(x, True) else x
        if kind is MethodType:
            f, owner = self(x.__func__), self(x.__self__)
            return x if f is x.__func__ and owner is x.__self__ else MethodType(f, owner)
        if kind is BuiltinMethodType:
            owner = self(x.__self__)
            return x if owner is x.__self__ else getattr(owner, x.__name__)
        if kind is _CACHED:
            inner = self(x.__wrapped__)
            return x if inner is x.__wrapped__ else lru_cache(**x.cache_parameters())(inner)
        if kind is CellType:
            return self._cell(x)
        if kind is np.ndarray or kind is bytearray:
            return x.copy()
        if kind is SimpleNamespace:
            return self._filled(x, SimpleNamespace())
        if kind is torch.Generator:
            return x.clone_state()
        if issubclass(kind, _GENERATORS):
            return copy.deepcopy(x)
        if issubclass(kind, partial):
            return self._partial(x)
        if issubclass(kind, tuple | frozenset):
            return self._frozen(x)
        if issubclass(kind, _MUTABLE):
            return self._container(x)
        if issubclass(kind, nn.Module) or _is_plain(x):
            return self._object(x)
        return x

    # ------------------------------------------------------------------ containers

    def _frozen(self, x: Any) -> Any:
        items = [self(v) for v in x]
        if all(a is b for a, b in zip(items, x, strict=True)):
            return x
        base = tuple if isinstance(x, tuple) else frozenset
        return base.__new__(type(x), items)

    def _container(self, x: Any) -> Any:
        kind: Any = type(x)
        made = kind.__new__(kind)
        if isinstance(x, deque):
            deque.__init__(made, (), x.maxlen)
        if isinstance(x, defaultdict):
            made.default_factory = self(x.default_factory)
        if isinstance(x, dict):
            base: Any = OrderedDict if isinstance(x, OrderedDict) else dict

            def fill() -> None:
                for key, value in list(x.items()):
                    base.__setitem__(made, self._key(key), self(value))
        elif isinstance(x, set):

            def fill() -> None:
                set.update(made, map(self._key, list(x)))
        else:

            def fill() -> None:
                (list if isinstance(x, list) else deque).extend(made, map(self, list(x)))

        self.todo.append(fill)
        return made if kind in _CONTAINERS else self._filled(x, made)

    def _key(self, key: Any) -> Any:
        """Keys that are compared by identity are copied; others must stay equal to themselves."""
        return (
            self(key)
            if isinstance(key, nn.Module | Tensor | weakref.ref | FunctionType | MethodType)
            else key
        )

    def _partial(self, x: Any) -> Any:
        made = type(x)(self(x.func), *map(self, x.args), **{k: self(v) for k, v in x.keywords.items()})
        return self._filled(x, made)

    # ------------------------------------------------------------------ references and functions

    def _referred(self, target: Any, x: Any, refer: Callable[[Any], Any]) -> Any:
        made = None if target is None else self(target)
        if made is target:
            return x
        self.referents.append(made)
        return refer(made)

    def _cell(self, x: CellType) -> CellType:
        made = CellType()

        def fill() -> None:
            with suppress(ValueError):  # a variable without a value yet
                made.cell_contents = self(x.cell_contents)

        self.todo.append(fill)
        return made

    def _function(self, f: FunctionType) -> FunctionType:
        names = [name for name, value in _globals(f) if self._matters(f, value, True)]
        scope = dict(f.__globals__) if names else f.__globals__
        made = FunctionType(
            f.__code__, scope, f.__name__, None, tuple(map(self, f.__closure__ or ())) or None
        )

        def fill() -> None:
            scope.update({name: self(scope[name]) for name in names})
            made.__defaults__, made.__kwdefaults__ = self(f.__defaults__), self(f.__kwdefaults__)
            made.__qualname__, made.__module__, made.__doc__ = f.__qualname__, f.__module__, f.__doc__
            made.__annotations__ = f.__annotations__

        self.todo.append(fill)
        return self._filled(f, made)

    def _reaches(self, f: FunctionType, containers: bool) -> bool:
        """Whether a function captured or names a module, or perhaps a container, that a copy must take the place of."""
        key = id(f), containers
        if key not in self.reaching:
            self.reaching[key] = False  # while this is found out, for functions that call each other
            self.kept.append(f)
            captured = [_contents(cell) for cell in f.__closure__ or ()]
            values = [*captured, *(value for _, value in _globals(f))]
            self.reaching[key] = any(self._matters(f, value, containers) for value in values)
        return self.reaching[key]

    def _matters(self, f: FunctionType, value: Any, containers: bool) -> bool:
        if type(value) is FunctionType:
            return value.__globals__ is f.__globals__ and self._reaches(value, containers)
        if type(value) in _CONTAINERS or type(value) is tuple:
            members = value.values() if isinstance(value, dict) else value
            return (containers and type(value) is not tuple) or any(
                isinstance(v, nn.Module) for v in list(members)
            )
        return isinstance(value, nn.Module)

    # ------------------------------------------------------------------ objects

    def _object(self, x: Any) -> Any:
        if not isinstance(x, nn.Module):
            return self._filled(x, object.__new__(type(x)))
        made = self._known(x, object.__new__(_quiet(type(x))))
        made.__dict__["_compiled_call_impl"] = None
        for name, f in _methods(type(x)):
            if name not in x.__dict__ and self._reaches(f, False):  # hides the method of the class
                made.__dict__[name] = MethodType(self(f), made)
        return self._filled(x, made)

    def _filled(self, x: Any, made: Any) -> Any:
        """The copy ``made``, which will get the attributes of ``x``, those in slots too."""

        def fill() -> None:
            for name, value in list(getattr(x, "__dict__", {}).items()):
                if name not in made.__dict__:
                    made.__dict__[name] = self(value)
            for slot in _slots(type(x)):
                value = _held(slot, x)
                if value is not _MISSING:
                    slot.__set__(made, self(value))

        self.todo.append(fill)
        return made


def _has_state(f: FunctionType) -> bool:
    return bool(f.__closure__ or f.__dict__)


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _globals(f: FunctionType) -> Iterator[tuple[str, Any]]:
    """The global variables that a function of the user's names."""
    if (f.__module__ or "").partition(".")[0] != "torch":
        for name in _names(f.__code__):
            if name in f.__globals__:
                yield name, f.__globals__[name]


@lru_cache(4096)
def _names(code: CodeType) -> frozenset[str]:
    inner = (_names(c) for c in code.co_consts if isinstance(c, CodeType))
    return frozenset(code.co_names).union(*inner)


def _methods(kind: type) -> Iterator[tuple[str, FunctionType]]:
    """The methods of the user's classes, those that count first."""
    seen: set[str] = set()
    for cls in kind.__mro__:
        if cls.__module__.partition(".")[0] not in ("torch", "builtins", "typing"):
            for name, f in vars(cls).items():
                if type(f) is FunctionType and name not in seen and not name.startswith("__"):
                    yield name, f
        seen |= vars(cls).keys()


def _quiet(kind: type) -> type:
    """The class itself; or, where it has a finaliser, one without, so that the end of a copy is not noticed."""
    if not hasattr(kind, "__del__"):
        return kind
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__del__": lambda self: None})


def _is_plain(x: Any) -> bool:
    """Whether an object is of a Python class, and all it holds are attributes."""
    kind = type(x)
    ordinary = all(
        getattr(kind, name) is getattr(object, name) for name in ("__new__", "__reduce_ex__", "__reduce__")
    )
    if not ordinary or issubclass(kind, type | Tensor) or hasattr(kind, "__del__"):
        return False
    if any(_held(slot, x) is not _MISSING for slot in _slots(kind)):
        return True
    if not hasattr(x, "__dict__"):
        return False
    home = sys.modules.get(kind.__module__)
    return bool(x.__dict__) or not any(
        v is x for v in list(vars(home).values()) if home
    )  # a sentinel is itself


def _slots(kind: type) -> list[Any]:
    """The descriptors of the attributes that lie outside the dictionary."""
    member = type(FunctionType.__globals__)
    return [
        value
        for cls in kind.__mro__
        if "__slots__" in vars(cls)
        for value in vars(cls).values()
        if type(value) is member
    ]


def _held(slot: Any, x: Any) -> Any:
    try:
        return slot.__get__(x)
    except AttributeError:
        return _MISSING
