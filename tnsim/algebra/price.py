"""What contractions cost, known before they run."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

__all__ = [
    "FLOPS_PER_START",
    "FLOPS_PER_WRITE",
    "Bill",
    "Cost",
    "CostError",
    "Exceeded",
    "capped",
    "check_budget",
    "current_bill",
    "current_cap",
    "paying",
    "price",
    "pricing",
    "scope",
]

FLOPS_PER_WRITE = 200  # of the order of a processor's arithmetic throughput over its memory bandwidth

FLOPS_PER_START = 1e6  # flops that take as long as it takes to start one operation


class CostError(RuntimeError):
    """The computation is dearer than the budget allows; the message carries the price."""


@dataclass(frozen=True)
class Cost:
    """The price of a computation, known before it runs.

    Attributes:
        flops: floating-point operations (a multiply-add counts as two).
        bytes: the largest memory that intermediate tensors of one contraction need at once.
        contractions: how many networks are contracted.
        writes: numbers written to memory on the way.
    """

    flops: float = 0.0
    bytes: float = 0.0
    contractions: int = 0
    writes: float = 0.0

    @property
    def effort(self) -> float:
        """Flops and memory traffic in one number, to choose between forms: a write takes as long as many flops."""
        return self.flops + FLOPS_PER_WRITE * self.writes

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.flops + other.flops,
            max(self.bytes, other.bytes),
            self.contractions + other.contractions,
            self.writes + other.writes,
        )

    def __str__(self) -> str:
        return f"{self.contractions} contractions, {self.flops:.1e} flops and {_human(self.bytes)}"


def _human(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


class Exceeded(Exception):
    """A bill passed its limit; the cost so far is a lower bound."""

    def __init__(self, cost: Cost):
        super().__init__(str(cost))
        self.cost = cost


class Bill:
    """What contractions cost, added up by :func:`pricing`.

    Results of one :func:`scope` are alive together, so their sizes add up; scopes come one after the other.

    Args:
        limit: flops beyond which nothing more is noted.
        paid: whether contractions are done as well.
    """

    def __init__(self, limit: float = math.inf, paid: bool = False) -> None:
        self._limit, self.paid = limit, paid
        self._done = Cost()
        self._open = Cost()
        self._kept = 0.0

    def add(self, cost: Cost, kept: float) -> None:
        """Note a contraction, and the bytes its result takes.

        Raises:
            Exceeded: if the flops noted so far pass the limit.
        """
        self._open = self._open + cost
        self._kept += kept
        if self._done.flops + self._open.flops > self._limit:
            raise Exceeded(self.total())

    def close(self) -> None:
        """What was kept is let go."""
        opened = self._open
        self._done = self._done + replace(opened, bytes=opened.bytes + self._kept)
        self._open, self._kept = Cost(), 0.0

    def total(self) -> Cost:
        """All of it; ``bytes`` is that of the largest scope."""
        self.close()
        return self._done


_BILL: ContextVar[Bill | None] = ContextVar("bill", default=None)


def current_bill() -> Bill | None:
    """The bill that is being written, if code runs for its price."""
    return _BILL.get()


@contextmanager
def pricing(limit: float = math.inf) -> Iterator[Bill]:
    """Run code for its price: contractions inside add to the bill and return empty shapes.

    Price and computation share one code path, so they cannot tell different stories.

    Raises:
        Exceeded: as soon as the flops pass the limit; what is left is not priced.
    """
    bill = Bill(limit)
    token = _BILL.set(bill)
    try:
        yield bill
    finally:
        _BILL.reset(token)


@contextmanager
def paying(limit: float = math.inf) -> Iterator[Bill]:
    """Run code and note what its contractions cost, each before it is done.

    Raises:
        Exceeded: before the first contraction with which the flops pass the limit.
    """
    bill = Bill(limit, paid=True)
    token = _BILL.set(bill)
    try:
        yield bill
    finally:
        _BILL.reset(token)


_CAP: ContextVar[float] = ContextVar("cap", default=math.inf)


def current_cap() -> float:
    """Bytes that one contraction may take: it is cut into slices, done one after the other, where it takes more."""
    return _CAP.get()


@contextmanager
def capped(nbytes: float) -> Iterator[None]:
    """Code whose contractions are sliced where one would take more than half of ``nbytes``.

    The other half is for what is kept between contractions. It is rounded down to a power of two.
    """
    token = _CAP.set(2.0 ** math.floor(math.log2(nbytes / 2)) if 0 < nbytes < math.inf else math.inf)
    try:
        yield
    finally:
        _CAP.reset(token)


@contextmanager
def scope() -> Iterator[None]:
    """Code whose intermediate results are let go when it ends."""
    bill = _BILL.get()
    if bill is not None:
        bill.close()
    yield
    if bill is not None:
        bill.close()


def check_budget(cost: Cost, flops: float, nbytes: float, what: str, instead: str) -> None:
    """Raise :class:`CostError` if ``cost`` exceeds the budget, saying what to do instead."""
    if cost.flops > flops or cost.bytes > nbytes:
        more = " or more" if cost.flops > flops else ""
        limit = f"{flops:.0e} flops" if cost.flops > flops else _human(nbytes)
        raise CostError(f"{what} takes {cost}{more}; the budget is {limit}. {instead}")


def price(run: Callable[[], object], flops: float = math.inf) -> Cost:
    """What ``run()`` would cost; a lower bound above ``flops``."""
    try:
        with pricing(flops) as bill:
            run()
    except Exceeded as error:
        return error.cost
    return bill.total()
