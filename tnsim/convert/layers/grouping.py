"""Grouping: layers joined into fewer ones, by the names of modules."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any

from tnsim.convert.layers.cuts import MOST_NAMES, Layer
from tnsim.convert.module.errors import ConvertError
from tnsim.convert.record.trace import Recorded

__all__ = ["Cut", "grouped"]

Cut = str | Sequence[str] | None


def grouped(layers: Sequence[Layer], cut: Cut) -> tuple[Layer, ...]:
    """The layers with cuts before and after certain modules only.

    Args:
        layers: those with all cuts.
        cut: names of modules, parameters or layers, in which ``*`` stands for any one part, as in ``blocks.*``. Each of
            them becomes one layer, and so does what lies between two of them. ``None`` leaves all cuts.

    Raises:
        ConvertError: if there is no such name, or what it names cannot be cut out.
    """
    if cut is None:
        return tuple(layers)
    patterns = _patterns(cut)
    keys = [_key(layer, patterns) for layer in layers]
    for pattern in patterns:
        if not any(key and key[0] == pattern for key in keys):
            raise _not_found(pattern, layers)
    counts: dict[str, int] = {}
    made: list[Layer] = []
    for key, run in groupby(zip(keys, layers, strict=True), key=lambda pair: pair[0]):
        parts = [layer for _, layer in run]
        name = key[1] if key else _between(parts, len(made))
        counts[name] = counts.get(name, 0) + 1
        name = name if counts[name] == 1 else f"{name}#{counts[name]}"
        steps = tuple(step for layer in parts for step in layer.steps)
        made.append(
            replace(
                parts[0], name=name, output=parts[-1].output, steps=steps, is_constant=parts[-1].is_constant
            )
        )
    return tuple(made)


def _patterns(cut: Any) -> tuple[str, ...]:
    names = (
        (cut,)
        if isinstance(cut, str)
        else tuple(cut)
        if isinstance(cut, list | tuple | set | frozenset)
        else cut
    )
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise ConvertError(
            f'cut={cut!r} names no modules; write cut="blocks.*", a list of names such as cut=["embed", "blocks.0"], or '
            "cut=[] for a single layer."
        )
    return names


def _key(layer: Layer, patterns: Sequence[str]) -> tuple[str, str, Any] | None:
    """The pattern that a layer matches, the name that it gives the layer, and the call of the module, if it is called."""
    heavy = [step for step in layer.steps if step.has_weights] or list(layer.steps)
    for pattern in patterns:
        if layer.name == pattern:
            return pattern, pattern, None
        found = {next(_places(step, pattern), None) for step in heavy}
        if len(found) == 1 and None not in found:
            ((name, call),) = found  # type: ignore[misc]
            return pattern, name, call
    return None


def _places(step: Recorded, pattern: str) -> Iterator[tuple[str, Any]]:
    """Where an operation stands, as far down as the pattern goes and if it matches."""
    parts = pattern.split(".")
    paths = [call.path for call in step.stack] + list(step.weights)
    for path in paths:
        own = path.split(".")[: len(parts)]
        if path and len(own) == len(parts) and all(map(fnmatchcase, own, parts)):
            name = ".".join(own)
            yield name, next((call for call in step.stack if call.path == name), None)


def _between(parts: Sequence[Layer], position: int) -> str:
    name = "+".join(layer.name for layer in parts)
    return name if len(parts) == 1 or name.count("+") < MOST_NAMES else f"layer{position}"


def _not_found(pattern: str, layers: Sequence[Layer]) -> ConvertError:
    names = [layer.name for layer in layers]
    holding = [layer.name for layer in layers if any(any(_places(step, pattern)) for step in layer.steps)]
    if holding:
        return ConvertError(
            f"cut={pattern!r}: {', '.join(holding)} cannot be cut there. Around a module there is a cut only if all data "
            f"passes through it, so no residual goes past it; the layers are {names}."
        )
    close = difflib.get_close_matches(pattern, names, 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ConvertError(f"cut={pattern!r} names no module that is called; the layers are {names}.{hint}")
