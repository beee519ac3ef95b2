"""Planning: what is weighed before anything is computed has a price as well, and may take a part of what it can save.

One rule for the whole process. Planning is counted in operations weighed, each some thirty microseconds: an operation on
tensors that is noted, a tensor that a path search takes up, a few ways of pairing legs.

* A question may weigh as much as a tenth of its budget pays for, and 60,000 operations (some two seconds) in any case. Then
  it is given up, and refused as what takes more than the budget is.
* What is only to find something cheaper (a better path, another form of the same) may weigh what a tenth of the effort
  that it can save pays for, over the twenty times that a plan is used (for the next checkpoint, the next pair), and a
  third of what the question may weigh.

Operations are counted and not seconds, so that what is refused does not depend on the machine or on what else it does.
"""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf

__all__ = [
    "MOST_SEARCHED",
    "Overplanned",
    "Planning",
    "allowance",
    "planning",
    "reserve",
    "room",
    "spare",
    "weigh",
    "weigh_once",
    "worth",
]

FLOPS_PER_WEIGHED = 2.5e6  # that can be done while one operation is weighed
MOST_SEARCHED = 20_000  # operations weighed to find the path of one contraction

_SHARE = 0.1  # of what is spent, or saved
_SPARED = 0.36  # of what a question may weigh, for what is only to find something cheaper
_USES = 20  # of a plan
_LEAST = 60_000  # operations weighed that every question may take


class Overplanned(Exception):
    """As much was weighed as may be."""


class Planning:
    """What was weighed.

    Attributes:
        weighed: operations so far.
        limit: how many there may be.
    """

    def __init__(self) -> None:
        self.weighed, self.limit = 0.0, inf
        self._known: set[Hashable] = set()

    def add(self, count: float) -> None:
        """Note so many operations more.

        Raises:
            Overplanned: if these are too many; then they are not done, and not noted.
        """
        if self.weighed + count > self.limit:
            raise Overplanned
        self.weighed += count

    def first(self, key: Hashable) -> bool:
        """Whether something is weighed for the first time."""
        new = key not in self._known
        self._known.add(key)
        return new


_PLANNING: ContextVar[Planning | None] = ContextVar("planning", default=None)


@contextmanager
def planning(limit: float = inf) -> Iterator[Planning]:
    """Code that may weigh so many operations, as part of what the code around it may weigh."""
    now = _PLANNING.get()
    made = now or Planning()
    token = None if now else _PLANNING.set(made)
    before, made.limit = made.limit, min(made.limit, made.weighed + limit)
    try:
        yield made
    finally:
        made.limit = before
        if token is not None:
            _PLANNING.reset(token)


def weigh(count: float = 1) -> None:
    """Note that so many operations were weighed.

    Raises:
        Overplanned: if these are more than may be.
    """
    now = _PLANNING.get()
    if now is not None:
        now.add(count)


def weigh_once(key: Hashable, count: float) -> None:
    """The same for what is weighed once for a question, and remembered: whether others asked before changes nothing."""
    now = _PLANNING.get()
    if now is not None and now.first(key):
        now.add(count)


def room() -> float:
    """How many operations more may be weighed."""
    now = _PLANNING.get()
    return inf if now is None else now.limit - now.weighed


def reserve() -> float:
    """A part of what may be weighed still: to be left for what has to be done in any case."""
    left = room()
    return (1 - _SPARED) * left if left < inf else 0.0


def spare(effort: float, reserved: float) -> float:
    """As :func:`worth`, without touching the reserve."""
    return max(0.0, min(worth(effort), room() - reserved))


def allowance(budget: float) -> float:
    """How many operations a question may weigh that may take so many flops."""
    return max(_LEAST, _SHARE * budget / FLOPS_PER_WEIGHED)


def worth(effort: float) -> float:
    """How many operations may be weighed to find what takes less than this effort."""
    return _SHARE * _USES * effort / FLOPS_PER_WEIGHED
