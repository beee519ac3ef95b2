"""Scaled: numbers as mantissa and power of two, which reach beyond the range of their dtype."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import autoray as ar
import numpy as np

from tnsim.common.values import numbers

__all__ = ["ScaleError", "Scaled", "limits"]

Array = Any


class ScaleError(ArithmeticError, ValueError):
    """A number is too large or too small for its dtype.

    Example:
        >>> import torch, tnsim
        >>> f = tnsim.poly("D[out,in0]", D=torch.full((1, 1), 2.0**100))
        >>> try:
        ...     tnsim.inner(f)  # 2²⁰⁰ is none of float32's numbers
        ... except tnsim.ScaleError:
        ...     tnsim.similarity(f, f)
        tensor(1.)
    """


@dataclass(frozen=True, eq=False)
class Scaled:
    """The array m · 2ᵉ.

    Attributes:
        mantissa: m, any array.
        exponent: e, whole numbers as an array (or a plain 0), whose axes are the first ones of the mantissa.
    """

    mantissa: Array
    exponent: Array = 0.0

    def value(self, what: str) -> Array:
        """The array itself, if it fits; gradients flow.

        Args:
            what: its name, for the message.

        Raises:
            ScaleError: if an entry overflows, or one that is not zero is below the smallest normal number.
        """
        with np.errstate(all="ignore"):  # it is said below
            value = _shifted(self.mantissa, self.exponent)
        tiny, _ = limits(value)
        inside, size = numbers(self.mantissa), np.abs(numbers(value))
        if not np.isfinite(size).all():
            raise ScaleError(f"{what} overflows {ar.get_dtype_name(value)}. {_advice(value)}")
        if ((inside != 0) & (size < tiny)).any():
            raise ScaleError(
                f"{what} underflows {ar.get_dtype_name(value)}: it is not zero, but below {tiny:.1e}. {_advice(value)}"
            )
        return value

    def at(self, exponent: Array) -> Array:
        """The mantissa in other units, m · 2^(e − exponent). What is small in these may become zero."""
        return _shifted(self.mantissa, self.exponent - exponent)

    def shifted(self, by: Array) -> "Scaled":
        """The array times 2^by."""
        return replace(self, exponent=self.exponent + by)

    def root(self) -> "Scaled":
        """The square root, entry by entry. Rounding below zero is zero, and at zero the derivative is zero."""
        half = _floor(self.exponent / 2)
        m = _shifted(self.mantissa, self.exponent - 2 * half)
        above = m > 0
        safe = ar.do("where", above, m, ar.do("ones_like", m))
        return Scaled(ar.do("where", above, safe**0.5, ar.do("zeros_like", m)), half)

    @classmethod
    def total(cls, parts: "Sequence[tuple[float, Scaled]]") -> "Scaled":
        """Σ c · x, in units of the largest. No exponent has axes that another lacks."""
        largest = reduce(_maximum, (x.exponent for _, x in parts))
        return cls(reduce(operator.add, (c * x.at(largest) for c, x in parts)), largest)


def limits(x: Array) -> tuple[float, float]:
    """The smallest normal and the largest number of an array's dtype."""
    info = np.finfo(ar.get_dtype_name(x) if ar.get_dtype_name(x) != "bfloat16" else "float32")
    return float(info.tiny), float(info.max)


def _shifted(m: Array, exponent: Array) -> Array:
    """m · 2ᵉ. In steps, for 2ᵉ may overflow where the product does not."""
    if isinstance(exponent, int | float) and not exponent:
        return m
    axes = ar.ndim(m) - ar.ndim(exponent)
    third = _floor(exponent / 3)
    for step in (third, third, exponent - 2 * third):
        gain = 2.0**step
        m = m * (ar.do("reshape", gain, (*ar.shape(gain), *(1,) * axes)) if ar.ndim(gain) else gain)
    return m


def _floor(x: Array) -> Array:
    return float(np.floor(x)) if isinstance(x, int | float) else ar.do("floor", x)


def _maximum(a: Array, b: Array) -> Array:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return max(a, b)
    a, b = (b, a) if isinstance(a, int | float) else (a, b)
    return ar.do("where", a > b, a, b)


def _advice(x: Array) -> str:
    wider = "" if ar.get_dtype_name(x) == "float64" else 'Convert with .to(dtype="float64"), or ask'
    return f"{wider or 'Ask'} for a cosine, which has no units, or rescale the model."
