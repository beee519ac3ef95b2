"""Replica: a module tree made anew, so that a forward pass changes nothing that belongs to the user.

``copy.deepcopy`` will not do: it copies every tensor, fails on locks, open files and tensors with a history, runs hooks
of the classes it meets, and leaves functions alone, so that a lambda which captured the model goes on using the original.
"""

import copy
import random
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from types import BuiltinMethodType, CellType, FunctionType, MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tnsim.convert.module.reflection import (
    ATOMS,
    MISSING,
    class_attributes,
    contents,
    defaults,
    has_state,
    held,
    is_plain,
    named_globals,
    quiet,
    slots,
)

__all__ = ["replica"]

_MUTABLE = (dict, list, set, deque)
_CONTAINERS = (OrderedDict, defaultdict, dict, list, set, deque)
_SIMPLE = frozenset((OrderedDict, dict, list, set))
_GENERATORS = (random.Random, np.random.Generator, np.random.RandomState)
_PROXIES = (weakref.ProxyType, weakref.CallableProxyType)
_CACHED = type(lru_cache(int))


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
        self.hiding: dict[type, list[tuple[str, Any]]] = {}

    def finished(self, x: Any) -> Any:
        made = self(x)
        while self.todo:
            self.todo.pop()()
        return made

    def __call__(self, x: Any) -> Any:
        if type(x) in ATOMS:
            return x
        found = self.made.get(id(x), MISSING)
        if found is not MISSING:
            return found
        if type(x) in _SIMPLE and not x:  # most of what a module holds
            return self._known(x, type(x)())
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
            return self._function(x) if has_state(x) or self._reaches(x, True) else x
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
        if issubclass(kind, nn.Module) or is_plain(x):
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
        names = [name for name, value in named_globals(f) if self._matters(f, value, True)]
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
            captured = [*map(contents, f.__closure__ or ()), *defaults(f)]
            values = [*captured, *(value for _, value in named_globals(f))]
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
        made = self._known(x, object.__new__(quiet(type(x))))
        made.__dict__["_compiled_call_impl"] = None
        for name, value in self._hidden(type(x)):
            if name not in x.__dict__:
                copied = self(value)
                made.__dict__[name] = MethodType(copied, made) if type(value) is FunctionType else copied
        return self._filled(x, made)

    def _hidden(self, kind: type) -> list[tuple[str, Any]]:
        """The attributes and methods of a class that a copy needs as its own, which hides that of the class."""
        if kind not in self.hiding:
            self.hiding[kind] = [
                (name, value)
                for name, value in class_attributes(kind)
                if type(value) in _CONTAINERS or (type(value) is FunctionType and self._reaches(value, False))
            ]
        return self.hiding[kind]

    def _filled(self, x: Any, made: Any) -> Any:
        """The copy ``made``, which will get the attributes of ``x``, those in slots too."""

        def fill() -> None:
            for name, value in list(getattr(x, "__dict__", {}).items()):
                if name not in made.__dict__:
                    made.__dict__[name] = self(value)
            for slot in slots(type(x)):
                value = held(slot, x)
                if value is not MISSING:
                    slot.__set__(made, self(value))

        self.todo.append(fill)
        return made
