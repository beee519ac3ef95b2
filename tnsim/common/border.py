"""Border: the arguments of public functions, checked by their names, in one place, before anything is computed.

What a name stands for is the same everywhere (``budget`` is a number of flops, ``progress`` a switch), so it is checked in
the same way and refused in the same words. What was meant is taken as it was meant: numbers of numpy and torch are numbers.
"""

import os
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from math import isnan
from numbers import Real
from typing import Any, ParamSpec, TypeVar

import autoray as ar
import numpy as np

__all__ = [
    "Check",
    "bordered",
    "choice",
    "file",
    "flag",
    "instance",
    "limit",
    "number",
    "shown",
    "text",
    "whole",
]

P = ParamSpec("P")
R = TypeVar("R")
Check = Callable[[str, Any], Any]  # of a name and a value: the value as it was meant


def bordered(kinds: Mapping[str, Check]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Functions whose arguments are checked before they are called; a default is always right.

    Args:
        kinds: for names of arguments what they stand for.
    """

    def of(fn: Callable[P, R]) -> Callable[P, R]:
        known = signature(fn)
        defaults = {name: p.default for name, p in known.parameters.items()}
        checks = {name: kinds[name] for name in known.parameters if name in kinds}

        @wraps(fn)
        def asked(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = known.bind(*args, **kwargs)
            for name, value in bound.arguments.items():
                if name in checks and value is not defaults[name]:
                    bound.arguments[name] = checks[name](name, value)
            return fn(*bound.args, **bound.kwargs)

        return asked

    return of


def flag(name: str, value: Any) -> bool:
    """A switch.

    Raises:
        TypeError: for anything but True and False, 1 and 0.
    """
    value = _scalar(value)
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise TypeError(f"{name} is {shown(value)}; write {name}=True or {name}=False.")


def whole(least: int, most: int = 2**31 - 1) -> Check:
    """A whole number from ``least`` to ``most``.

    Raises (when it checks):
        TypeError: for anything else.
        ValueError: for one that is too small or too large.
    """

    def check(name: str, value: Any) -> int:
        value = _scalar(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(
                f"{name} is {shown(value)}; write a whole number, such as {name}={max(least, 1)}."
            )
        if not least <= value <= most:
            limits = f"at least {least}" if value < least else f"at most {most}"
            raise ValueError(f"{name} is {shown(value)}; write a whole number, {limits}.")
        return value

    return check


def number(least: float | None = None) -> Check:
    """A real number, no smaller than ``least``.

    Raises (when it checks):
        TypeError: for anything else.
        ValueError: for NaN, and one that is too small.
    """

    def check(name: str, value: Any) -> float:
        value = _real(name, _scalar(value))
        if isnan(value) or (least is not None and value < least):
            what = "a number" if least is None else f"a number from {least} on"
            raise ValueError(f"{name} is {value}; write {what}.")
        return value

    return check


def limit(name: str, value: Any) -> float:
    """A budget of flops, or a memory of bytes: infinite where one likes.

    Raises:
        TypeError: for what is no number.
        ValueError: for what is not positive, and for NaN, which every price passes.
    """
    value = _scalar(value)
    unit = "bytes" if name == "memory" else "flops"
    example = f"write a positive number of {unit}, such as {name}=1e12, or float('inf') for no limit."
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; {example}")
    value = _real(name, value)
    if not value > 0:
        raise ValueError(f"{name} is {value}; {example}")
    return value


def choice(*words: str) -> Check:
    """One of several words.

    Raises (when it checks):
        TypeError: for what is no word.
        ValueError: for another word.
    """
    *most, last = (f'"{word}"' for word in words)
    listed = f"{', '.join(most)} or {last}" if most else last

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"{name} is {shown(value)}; write {listed}.")
        if value not in words:
            raise ValueError(f'{name} is "{value}"; write {listed}.')
        return value

    return check


def instance(types: type | tuple[type, ...], instead: str) -> Check:
    """What is of certain types.

    Args:
        types: these.
        instead: what to write, where ``{name}`` is the argument.

    Raises (when it checks):
        TypeError: for anything else.
    """

    def check(name: str, value: Any) -> Any:
        if not isinstance(value, types):
            raise TypeError(f"{name} is {shown(value)}; {instead.format(name=name)}.")
        return value

    return check


text = instance(str, 'write a text, such as {name}="..."')
file = instance((str, os.PathLike), 'write a path, such as {name}="run.safetensors"')


def shown(x: Any) -> str:
    """What something is, for a message: its value if that is short, its kind otherwise."""
    if isinstance(x, type):
        return f"the class {x.__name__}"
    kind, size = type(x).__name__, getattr(x, "shape", None)
    if x is None or isinstance(x, bool):
        return repr(x)
    if isinstance(x, str | Real | complex | bytes) and not (isinstance(x, int) and abs(x) > 10**9):
        return f"{x!r} ({kind})" if len(repr(x)) <= 40 else f"a {kind} of {len(repr(x))} characters"
    article = "an" if kind[0] in "AEIOUaeiou" else "a"
    if isinstance(size, tuple):
        return f"{article} {kind} of shape {tuple(size)}"
    return f"{article} {kind}" + (f" of {len(x)}" if isinstance(x, list | tuple | dict | set) else "")


def _scalar(value: Any) -> Any:
    """A number of numpy or torch as one of Python."""
    if isinstance(value, np.generic) or (hasattr(value, "item") and ar.ndim(value) == 0):
        return value.item()
    return value


def _real(name: str, value: Any) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is {shown(value)}; write a number, such as {name}=0.1.")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f'{name} is beyond every float; write float("inf") for no limit.') from None
