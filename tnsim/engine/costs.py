"""What contractions cost, known before they run."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from tnsim.common.digits import apart, bytes_in_words, count_in_words, flops_in_words, time_in_words
from tnsim.common.notebook import Shown
from tnsim.engine.effort import Overplanned, Planning, allowance, planning
from tnsim.engine.machine import Machine, speed

__all__ = [
    "FLOPS_PER_START",
    "FLOPS_PER_WRITE",
    "LARGEST",
    "Bill",
    "Cost",
    "CostError",
    "Exceeded",
    "capped",
    "check_budget",
    "current_bill",
    "current_cap",
    "left",
    "paying",
    "price",
    "pricing",
    "scope",
]

FLOPS_PER_WRITE = 200  # of the order of a processor's arithmetic throughput over its memory bandwidth

FLOPS_PER_START = 1e6  # flops that take as long as it takes to start one operation

_USUAL = ("numpy", "float64", "cpu")

LARGEST = 2.0**60  # bytes of one array; no memory holds more, and sizes beyond can't be told to a backend


@dataclass(frozen=True)
class Cost(Shown):
    """The price of a computation, known before it runs.

    Attributes:
        flops: floating-point operations (a multiply-add counts as two).
        bytes: the largest memory that intermediate tensors of one contraction need at once.
        contractions: how many networks are contracted.
        writes: numbers written to memory on the way.
        at_least: whether these are lower bounds: what is beyond a limit is not priced to its end.
        weighed: operations that were weighed in order to find this out (:mod:`tnsim.engine.effort`).
        starts: operations on arrays that are started, however small.
        machine: the kind of arrays, and where they lie, if that is known.

    Example:
        >>> import tnsim
        >>> model = tnsim.nn.BilinearMLP(16, 8, 8, 3, n_layer=2)
        >>> price = tnsim.cost(model, model)
        >>> print("price:", price)
        price: ... contractions, ... flops and ... MiB: about ...
        >>> price.flops < 1e8
        True
    """

    flops: float = 0.0
    bytes: float = 0.0
    contractions: int = 0
    writes: float = 0.0
    at_least: bool = False
    weighed: float = 0.0
    starts: float = 0.0
    machine: Machine | None = None

    @property
    def seconds(self) -> float:
        """About how long it takes here, within a factor of three for most questions. Asking measures the machine, once."""
        return speed(self.machine or _USUAL).seconds(self.flops, self.writes, self.starts)

    @property
    def effort(self) -> float:
        """All in one number, to choose between forms: a write takes as long as some flops, a start as many more."""
        return self.flops + FLOPS_PER_WRITE * self.writes + FLOPS_PER_START * self.starts

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.flops + other.flops,
            max(self.bytes, other.bytes),
            self.contractions + other.contractions,
            self.writes + other.writes,
            self.at_least or other.at_least,
            self.weighed + other.weighed,
            self.starts + other.starts,
            self.machine or other.machine,
        )

    def __str__(self) -> str:
        return self.told()

    def __repr__(self) -> str:
        return f"Cost({self.told()})"

    def told(self, flops: float = math.inf, nbytes: float = math.inf) -> str:
        """The price in words, with as many digits as tell it from a limit that it is beyond."""
        least, count = "at least " * self.at_least, count_in_words(self.contractions)
        if self.flops == math.inf:  # it was not planned further: they are too many
            return f"{least}{count} contractions"
        work, room = apart(flops_in_words, self.flops, flops)[0], apart(bytes_in_words, self.bytes, nbytes)[0]
        time = f"{least or 'about '}{time_in_words(self.seconds)} here"
        return f"{least}{count} contractions, {work} and {room}: {time}"


class CostError(RuntimeError):
    """The computation is dearer than the budget allows; the message carries the price.

    Attributes:
        cost: the price; a lower bound, where it was not planned to its end, and infinite where no budget is enough.

    Example:
        >>> import tnsim
        >>> model = tnsim.nn.BilinearMLP(16, 8, 8, 3, n_layer=2)
        >>> try:
        ...     tnsim.similarity(model, model, budget=1000)
        ... except tnsim.CostError as error:
        ...     error.cost.flops > 1000
        True
    """

    def __init__(self, message: str, cost: Cost | None = None):
        super().__init__(message)
        self.cost = Cost(math.inf, math.inf, 0, math.inf, True) if cost is None else cost


class Exceeded(Exception):
    """A bill passed its limit; the cost so far is a lower bound."""

    def __init__(self, cost: Cost):
        self.cost = replace(cost, at_least=True)
        super().__init__(str(self.cost))


class Bill:
    """What contractions cost, added up by :func:`pricing`.

    Results of one :func:`scope` are alive together, so their sizes add up; scopes come one after the other.

    Args:
        limit: flops beyond which nothing more is noted.
        paid: whether contractions are done as well.
        planning: where it is counted what was weighed.
        noted: a list, to which every contraction is appended with its price.
    """

    def __init__(
        self, limit: float, paid: bool, planning: Planning, noted: list[tuple[Any, Cost]] | None = None
    ) -> None:
        self._limit, self.paid, self._noted = limit, paid, noted
        self._planning, self._before = planning, planning.weighed
        self._done = Cost()
        self._open = Cost()
        self._kept = 0.0

    def add(self, cost: Cost, kept: float, what: Any = None) -> None:
        """Note a contraction, or another operation, and the bytes its result takes.

        Raises:
            Exceeded: if the flops noted so far pass the limit, or no memory holds the result.
        """
        if self._noted is not None:
            self._noted.append((what, cost))
        self._open = self._open + cost
        self._kept += kept
        if self.left < 0 or kept > LARGEST:
            raise Exceeded(self.total())

    def foresee(self, least: Cost) -> None:
        """Stop where what comes next takes too much by a lower bound.

        Raises:
            Exceeded: with what was noted so far, and the bound.
        """
        if least.flops > self.left or least.bytes > LARGEST:
            raise Exceeded(self.total() + least)

    @property
    def left(self) -> float:
        """Flops up to the limit; negative beyond."""
        return math.inf if self._limit == math.inf else self._limit - self._done.flops - self._open.flops

    def close(self) -> None:
        """What was kept is let go."""
        opened = self._open
        self._done = self._done + replace(opened, bytes=opened.bytes + self._kept)
        self._open, self._kept = Cost(), 0.0

    def total(self) -> Cost:
        """All of it; ``bytes`` is that of the largest scope."""
        self.close()
        return replace(self._done, weighed=self.weighed)

    @property
    def weighed(self) -> float:
        """Operations weighed since it was begun."""
        return self._planning.weighed - self._before


_BILL: ContextVar[Bill | None] = ContextVar("bill", default=None)


def current_bill() -> Bill | None:
    """The bill that is being written, if code runs for its price."""
    return _BILL.get()


@contextmanager
def pricing(limit: float = math.inf, noted: list[tuple[Any, Cost]] | None = None) -> Iterator[Bill]:
    """Run code for its price: contractions inside add to the bill and return empty shapes.

    Price and computation share one code path, so that no contraction is forgotten; what each takes is a formula of its own.

    Args:
        limit: flops beyond which nothing more is priced.
        noted: a list, to which every contraction or other operation is appended with its price.

    Raises:
        Exceeded: as soon as the flops pass the limit, or as much is weighed as that is worth; what is left is not
            priced.
    """
    yield from _billed(limit, paid=False, noted=noted)


@contextmanager
def paying(limit: float = math.inf, noted: list[tuple[Any, Cost]] | None = None) -> Iterator[Bill]:
    """Run code and note what its contractions cost, each before it is done.

    Raises:
        Exceeded: before the first contraction with which the flops pass the limit.
    """
    yield from _billed(limit, paid=True, noted=noted)


def _billed(limit: float, paid: bool, noted: list[tuple[Any, Cost]] | None = None) -> Iterator[Bill]:
    with planning(allowance(limit)) as planned:
        bill = Bill(limit, paid, planned, noted)
        token = _BILL.set(bill)
        try:
            yield bill
        except Overplanned:
            raise Exceeded(replace(bill.total(), weighed=planned.weighed)) from None
        except Exceeded as error:
            error.cost = replace(error.cost, weighed=planned.weighed)
            raise
        finally:
            _BILL.reset(token)


def left() -> float:
    """Flops that the bill that is being written may still take."""
    bill = _BILL.get()
    return math.inf if bill is None else bill.left


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
    """Raise :class:`CostError` if ``cost`` exceeds the budget, saying what to do instead.

    A lower bound that is within the budget is of something that no memory holds, or that takes too long to plan, and is
    refused as well.
    """
    if not (cost.flops > flops or cost.bytes > nbytes or cost.at_least):
        return
    said = f"takes {cost.told(flops, nbytes)}"
    if cost.flops > flops:
        limit = f"the budget is {apart(flops_in_words, cost.flops, flops)[1]}"
    elif cost.bytes > nbytes:
        limit = f"the budget is {apart(bytes_in_words, cost.bytes, nbytes)[1]}"
    elif cost.bytes > LARGEST:
        limit = "that is more than can be held anywhere"
    else:
        said = f"takes so much to plan that it was given up after {cost.weighed:.0f} operations were weighed"
        limit = f"so far {cost.told()}" if cost.contractions else "nothing is known of its price"
    raise CostError(f"{what} {said}; {limit}. {instead}", cost)


def price(run: Callable[[], object], flops: float = math.inf) -> Cost:
    """What ``run()`` would cost; a lower bound above ``flops``."""
    try:
        with pricing(flops) as bill:
            run()
    except Exceeded as error:
        return error.cost
    return bill.total()
