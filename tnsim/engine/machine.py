"""Speed: how long what is counted takes on this machine, measured once in a process, when it is first asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import autoray as ar

from tnsim.common.caches import cached
from tnsim.common.values import numbers

__all__ = ["Machine", "Speed", "speed"]

Array = Any
Machine = tuple[str, str, str]  # a backend, a dtype, a device

_SIZE = 384  # of square matrices: some milliseconds
_ROWS = 1024  # of a matrix that is more than a cache holds
_TINY, _STARTS = 4, 60
_AROUND = (
    5  # times as long as bare operations take those in a recipe: with finding, checking and freeing arrays
)
_TURNS = 3


@dataclass(frozen=True)
class Speed:
    """Of one kind of arrays.

    Attributes:
        flops: in a second, in products of matrices.
        writes: numbers in a second, in sums of large arrays whose axes are in another order.
        starts: small operations in a second.
    """

    flops: float
    writes: float
    starts: float

    def seconds(self, flops: float, writes: float, starts: float) -> float:
        """How long that takes together."""
        return flops / self.flops + writes / self.writes + starts / self.starts


@cached(64)
def speed(machine: Machine) -> Speed:
    """Measured now: less than a fifth of a second.

    Args:
        machine: a backend of autoray, the name of a dtype, and a device.
    """
    backend, dtype, device = machine
    where = {} if backend == "numpy" else {"device": device}

    def ones(*shape: int) -> Array:
        return ar.do("ones", shape, like=backend, dtype=dtype, **where)

    square, large, tiny = ones(_SIZE, _SIZE), ones(_ROWS, _ROWS), ones(_TINY, _TINY)

    def small() -> Array:
        x = tiny
        for _ in range(_STARTS):
            x = ar.do(
                "reshape", ar.do("transpose", ar.do("tensordot", x, tiny, axes=1), (1, 0)), (_TINY, _TINY)
            )
            x = x - x
        return x

    return Speed(
        2.0 * _SIZE**3 / _seconds(lambda: ar.do("tensordot", square, square, axes=1)),
        _ROWS**2 / _seconds(lambda: large + ar.do("transpose", large, (1, 0))),
        _STARTS / _AROUND / _seconds(small),
    )


def _seconds(run: Callable[[], Array]) -> float:
    """What takes as long as usual, up to a number that is read back: a device may do things later."""

    def once() -> float:
        start = perf_counter()
        numbers(ar.do("sum", run()))
        return perf_counter() - start

    once()
    return median(once() for _ in range(_TURNS))
