"""Names of weights: a checkpoint's turned into a model's, and what to write where they do not fit."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import SequenceMatcher

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

__all__ = ["Names", "listed", "match", "proposal", "renamed", "shown", "unwrapped"]

Names = Mapping[str, str | tuple[str, Callable[[Tensor], Tensor]]]
Sizes = Mapping[str, tuple[int, ...]]

# What torch puts around a module: its name stands in front of, or between, those of the module's own.
_WRAPPERS = frozenset(("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))
_MOST = 2000  # names that are paired; an assignment takes their third power


def renamed(state: Mapping[str, Tensor], names: Names, ignore: Sequence[str] = ()) -> dict[str, Tensor]:
    """Weights under other names.

    Raises:
        ValueError: if two get one name, or a pattern matches nothing.
    """
    found: dict[str, Tensor] = {}
    came: dict[str, str] = {}
    used: set[str] = set()
    for name, value in state.items():
        if any(match(pattern, name) for pattern in ignore):
            continue
        target, change = name, None
        for pattern, to in names.items():
            if (texts := match(pattern, name)) is not None:
                used.add(pattern)
                target, change = (to, None) if isinstance(to, str) else to
                for text in texts:
                    target = target.replace("*", text, 1)
                break
        if target in found:
            raise ValueError(f"{came[target]!r} and {name!r} of the checkpoint both become {target!r}.")
        came[target], found[target] = name, value if change is None else change(value)
    idle = [pattern for pattern in names if pattern not in used]
    if idle:
        raise ValueError(
            f"nothing in the checkpoint is called {', '.join(map(shown, idle))}; it holds {listed(state)}."
        )
    return found


def match(pattern: str, name: str) -> tuple[str, ...] | None:
    """What the stars of a pattern stand for in a name, if it fits."""
    found = re.fullmatch("(.+)".join(map(re.escape, pattern.split("*"))), name)
    return None if found is None else found.groups()


def unwrapped(name: str) -> str:
    """A name without those of torch's wrappers."""
    parts = name.split(".")
    return ".".join([p for p in parts[:-1] if p not in _WRAPPERS] + parts[-1:])


def shown(name: object) -> str:
    """A name from a file, in quotes, such that it does nothing to a terminal."""
    return repr(name)


def listed(names: Iterable[str], comma: str = ", ") -> str:
    """All names, those that differ in a number only as one: ``layers.(0…11).weight``."""
    groups: dict[tuple[str, ...], list[list[int]]] = {}
    for name in names:
        parts = re.split(r"(?<!\d)(\d{1,9})(?!\d)", str(name) if str(name).isprintable() else repr(name))
        groups.setdefault(tuple(parts[::2]), []).append([int(x) for x in parts[1::2]])
    texts = []
    for words, numbers in groups.items():
        text = words[0]
        for at, word in enumerate(words[1:]):
            text += _span(sorted({row[at] for row in numbers})) + word
        texts.append(text)
    return comma.join(texts)


def _span(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"({numbers[0]}…{numbers[-1]})"
    return f"({', '.join(map(str, numbers))})"


# ------------------------------------------------------------------------------------------------------ proposals


def proposal(extra: Sizes, missing: Sizes, kept: Mapping[str, str]) -> tuple[str, list[str]]:
    """The ``names=`` that would make a checkpoint fit, as it is to be written, and what is left over then.

    Names are paired that belong to tensors of one shape (or of the transposed one), by how much of their ends they have
    in common, and in order where that says nothing.

    Args:
        extra: names and shapes that the model has not.
        missing: names and shapes that the checkpoint has not.
        kept: names of the checkpoint that fit already, and as what: as they are, or without a common prefix.

    Returns:
        An empty text if nothing can be paired.
    """
    if not extra or not missing or max(len(extra), len(missing)) > _MOST:
        return "", list(extra)
    rows, columns = list(extra), list(missing)
    price = np.array(
        [
            [
                _price(a, b, extra[a], missing[b], i / len(rows), j / len(columns))
                for j, b in enumerate(columns)
            ]
            for i, a in enumerate(rows)
        ]
    )
    pairs = [
        (rows[i], columns[j], extra[rows[i]] != missing[columns[j]])
        for i, j in zip(*linear_sum_assignment(price), strict=True)
        if price[i, j] < _NEVER
    ]
    left = [a for a in rows if a not in {pair[0] for pair in pairs}]
    if not pairs:
        return "", left
    settled = [(a, b, False) for a, b in kept.items()]
    change = pairs + [pair for pair in settled if pair[0] != pair[1]]
    lines = [
        f"{shown(a)}: ({shown(b)}, torch.t)" if turned else f"{shown(a)}: {shown(b)}"
        for a, b, turned in _general(change, pairs + settled)
    ]
    return "{" + ", ".join(lines) + "}", left


_NEVER = 1e6
Pair = tuple[str, str, bool]


def _price(a: str, b: str, mine: tuple[int, ...], other: tuple[int, ...], x: float, y: float) -> float:
    """How unlikely it is that two names belong together."""
    if mine != other and not (len(mine) == len(other) == 2 and mine == other[::-1]):
        return _NEVER
    left, right = a.split("."), b.split(".")
    numbers = re.findall(r"\d+", a) != re.findall(r"\d+", b)
    ends = left[-1] != right[-1]
    alike = SequenceMatcher(None, a[::-1], b[::-1], autojunk=False).ratio()
    return 4.0 * (mine != other) + 2.0 * numbers + ends + (1 - alike) + 0.5 * abs(x - y)


def _general(change: Sequence[Pair], every: Sequence[Pair]) -> list[Pair]:
    """Pairs with stars for whatever both names share, as far as that says the same of every name."""
    found = list(change)
    for widen in (_by_number, _by_end):
        for new in dict.fromkeys(widen(*pair) for pair in found):
            trial = list(dict.fromkeys(new if widen(*pair) == new else pair for pair in found))
            found = trial if _says_the_same(trial, every) else found
    for pair in found[::-1]:
        trial = [other for other in found if other != pair]
        found = trial if _says_the_same(trial, every) else found
    return found


def _by_number(a: str, b: str, turned: bool) -> Pair:
    mine, other = (re.split(r"(\d+)", x) for x in (a, b))
    return (
        ("*".join(mine[::2]), "*".join(other[::2]), turned) if mine[1::2] == other[1::2] else (a, b, turned)
    )


def _by_end(a: str, b: str, turned: bool) -> Pair:
    mine, other = (x.rpartition(".") for x in (a, b))
    same = mine[2] == other[2] in ("weight", "bias") and mine[0] and other[0]
    return (f"{mine[0]}.*", f"{other[0]}.*", turned) if same else (a, b, turned)


def _says_the_same(wider: Sequence[Pair], pairs: Sequence[Pair]) -> bool:
    names: Names = {a: (b, torch.t) if turned else b for a, b, turned in wider}
    if len(names) < len(wider):
        return False
    for a, b, turned in pairs:
        pattern = next((p for p in names if match(p, a) is not None), None)
        to = a if pattern is None else names[pattern]
        target = to if isinstance(to, str) else to[0]
        for text in (pattern and match(pattern, a)) or ():
            target = target.replace("*", text, 1)
        if target != b or isinstance(to, str) == turned:
            return False
    return True
