"""Layout: arrays that are needed one after the other share one stretch of memory."""

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Layout", "laid_out"]

_STEP = 8  # arrays start at multiples of so many numbers


@dataclass(frozen=True)
class Layout:
    """Where arrays lie.

    Attributes:
        places: where every array starts.
        passing: where that starts which is needed only while an array is made.
        total: the length of the whole.
    """

    places: Mapping[int, int]
    passing: Mapping[int, int]
    total: int


def laid_out(needs: Sequence[tuple[int, int, int]], done: Sequence[Sequence[int]]) -> Layout:
    """A place for every array, the first gap that is wide enough.

    Args:
        needs: in the order in which they are made: the number of an array, its size, and what is needed besides while
            it is made. Arrays of size zero get no place.
        done: with every array the numbers of those that are then needed no more.
    """
    taken: list[tuple[int, int]] = []
    places: dict[int, tuple[int, int]] = {}
    passing: dict[int, int] = {}
    total = 0

    def take(size: int) -> tuple[int, int]:
        nonlocal total
        start = 0
        for a, b in taken:
            if start + size <= a:
                break
            start = b
        place = (start, start + -(-size // _STEP) * _STEP)
        insort(taken, place)
        total = max(total, place[1])
        return place

    for (number, size, besides), gone in zip(needs, done, strict=True):
        if size:
            places[number] = take(size)
        if besides:
            place = take(besides)
            passing[number] = place[0]
            taken.remove(place)
        for other in gone:
            taken.remove(places[other])
    return Layout({number: a for number, (a, _) in places.items()}, passing, total)
