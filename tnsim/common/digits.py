"""Figures: counts, flops and bytes in words, with as many digits as are needed."""

import math
from collections.abc import Callable

__all__ = [
    "apart",
    "bytes_in_words",
    "count_in_words",
    "counted",
    "flops_in_words",
    "rounded",
    "time_in_words",
]


def rounded(count: int) -> float:
    """A whole number as a price: infinite where no floating-point number is as large."""
    try:
        return float(count)
    except OverflowError:
        return math.inf


def count_in_words(number: int) -> str:
    """A number of things."""
    return str(number) if number < 10**6 else f"{rounded(number):.1e}"


def counted(number: int, one: str) -> str:
    """A number of things and what they are.

    Example:
        >>> counted(1, "output"), counted(3, "model")
        ('1 output', '3 models')
    """
    return f"{count_in_words(number)} {one}{'s' * (number != 1)}"


def flops_in_words(count: float, digits: int = 0) -> str:
    """Work."""
    return f"{count:.{digits + 1}e} flops"


def bytes_in_words(size: float, digits: int = 0) -> str:
    """Memory."""
    *units, last = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    for k, unit in enumerate(units):
        if size < 1024:
            return f"{size:.{digits + (k > 2)}f} {unit}"
        size /= 1024
    return f"{size:.{digits + 1}f} {last}" if size < 1e6 else f"{size:.{digits + 1}e} {last}"


def time_in_words(seconds: float) -> str:
    """Time, roughly.

    Example:
        >>> [time_in_words(x) for x in (0.004, 0.25, 40, 3000, 2e5, 1e12)]
        ['4 ms', '0.2 s', '40 s', '50 min', '56 h', 'years']
    """
    if seconds < 0.1:
        return f"{max(1, round(1e3 * seconds))} ms"
    for size, unit in ((1, "s"), (60, "min"), (3600, "h"), (86400, "days")):
        digits = int(seconds < 2 * size)
        if seconds < 100 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return "years" if seconds > 2 * 365 * 86400 else f"{seconds / 86400:.0f} days"


def apart(show: Callable[[float, int], str], value: float, limit: float) -> tuple[str, str]:
    """Both in words; where ``value`` is beyond ``limit``, with the digits that show it."""
    digits = 0
    while value > limit and show(value, digits) == show(limit, digits) and digits < 17:
        digits += 1
    return show(value, digits), show(limit, digits)
