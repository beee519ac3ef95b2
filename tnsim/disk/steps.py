"""Which checkpoint of a folder comes when: from the numbers in its name, and from words such as "final" and "best"."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Order", "order"]

_NUMBER = re.compile(r"(?<![A-Za-z\d.])?(\d+(?:\.\d+)?(?:[eE]\+?\d+)?)(?:(k|K|M)(?![A-Za-z]))?")
_WORD = re.compile(r"[A-Za-z]+")
# What a number counts, by the word before it: the first kind that all names have decides.
_KINDS = (
    ("step", "steps", "globalstep"),
    ("iter", "iters", "iteration", "iterations", "it", "update", "batch"),
    ("epoch", "epochs", "ep", "e"),
)
_LAST = {"final", "last", "latest", "end"}
_APART = {"best"}
_FIRST = {"init", "initial", "start"}


@dataclass(frozen=True)
class Order:
    """The order of checkpoints.

    Attributes:
        positions: which come when; those that are set apart are left out.
        steps: a number for each in that order, or ``None`` where its name says none.
        apart: which are set apart, such as the best of a run: no moment of its own.
    """

    positions: tuple[int, ...]
    steps: tuple[int | float | None, ...]
    apart: tuple[int, ...]


def order(names: Sequence[str], inside: Sequence[int | None] | None = None) -> Order:
    """Checkpoints in the order of training.

    Args:
        names: without their endings.
        inside: the numbers of steps that the files themselves tell, which go before those of names.

    Example:
        >>> order(["step_10000", "step_2000", "final", "best"])
        Order(positions=(1, 0, 2), steps=(2000, 10000, None), apart=(3,))
    """
    words = [{w.lower() for w in _WORD.findall(name)} for name in names]
    varying = [w - set.intersection(*words) if len(words) > 1 else w for w in words]
    apart = tuple(i for i, w in enumerate(varying) if w & _APART)
    rest = [i for i in range(len(names)) if i not in apart]
    timed = [i for i in rest if not varying[i] & (_LAST | _FIRST)]
    steps: list[int | float | None]
    steps = _steps([names[i] for i in timed]) if inside is None else [inside[i] for i in timed]
    if len(set(steps)) < len(steps):  # several runs: each by itself
        steps = [None] * len(steps)
    number = dict(zip(timed, steps, strict=True))

    def when(i: int) -> tuple[object, ...]:
        place = 2 if varying[i] & _LAST else 0 if varying[i] & _FIRST else 1
        step = number.get(i)
        return place, step is None, 0 if step is None else step, _natural(names[i])

    positions = tuple(sorted(rest, key=when))
    return Order(positions, tuple(number.get(i) for i in positions), apart)


def _steps(names: Sequence[str]) -> list[int | float | None]:
    """The number in every name that counts training: named as such, or the only one in which names differ."""
    if not names:
        return []
    found = [_numbers(name) for name in names]
    for kind in _KINDS:
        chosen = [[x for word, x in row if word in kind] for row in found]
        if all(len(row) == 1 for row in chosen):
            values = [row[0] for row in chosen]
            if len(values) == 1 or len(set(values)) > 1:
                return list(values)
    if len({len(row) for row in found}) != 1:
        return [None] * len(names)
    columns = list(zip(*([x for _, x in row] for row in found), strict=True))
    differing = [column for column in columns if len(set(column)) > 1]
    differing = differing or (columns[-1:] if len(names) == 1 else [])
    whole = [column for column in differing if all(isinstance(x, int) for x in column)]
    unique = [column for column in whole if len(set(column)) == len(names)]
    return list(whole[0]) if len(whole) == 1 and unique else [None] * len(names)


def _numbers(name: str) -> list[tuple[str, int | float]]:
    """The numbers in a name, each with the word before it."""
    found = []
    for match in _NUMBER.finditer(name):
        words = _WORD.findall(name[: match.start()])
        before = (
            words[-1].lower() if words and re.search(r"[A-Za-z][^A-Za-z\d]*$", name[: match.start()]) else ""
        )
        if before == "step" and len(words) > 1 and words[-2].lower() == "global":
            before = "globalstep"
        text, unit = match.groups()
        value: int | float = float(text) * {"k": 1e3, "K": 1e3, "M": 1e6, None: 1.0}[unit]
        plain = unit is not None or "." not in text
        found.append(
            (before, int(text) if text.isdigit() and unit is None else int(value) if plain else value)
        )
    return found


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """For sorting: numbers in a name by value."""
    parts = re.split(r"(\d{1,18})", name)
    return tuple((1, int(p)) if k % 2 else (0, p) for k, p in enumerate(parts))
