"""Kinds: what the arguments of a picture stand for."""

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, is_color_like

from tnsim.common.border import choice, flag, instance, number, shown, text, whole
from tnsim.common.values import numbers

__all__ = ["KINDS"]


def colour_map(name: str, value: Any) -> Any:
    """A colour map, or the name of one that matplotlib has."""
    if isinstance(value, Colormap):
        return value
    if not isinstance(value, str) or value not in mpl.colormaps:
        raise ValueError(
            f'{name} is {shown(value)}; write the name of a colour map, such as {name}="viridis".'
        )
    return value


def colours(name: str, value: Any) -> Any:
    """Names, and a colour for each."""
    if not isinstance(value, Mapping) or not all(map(is_color_like, value.values())):
        raise TypeError(
            f'{name} is {shown(value)}; write a dict of names and colours, such as {{"loss": "black"}}.'
        )
    return value


def named(name: str, value: Any) -> Any:
    """Names, and a list of numbers for each."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(
            f'{name} is {shown(value)}; write a dict of names and numbers, such as {{"loss": [1, 0]}}.'
        )
    return value


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Several texts."""
    found = (
        () if isinstance(value, str | bytes) or not isinstance(value, Iterable) else tuple(_each(name, value))
    )
    if (
        not isinstance(value, Iterable)
        or isinstance(value, str | bytes)
        or not all(isinstance(x, str) for x in found)
    ):
        raise TypeError(
            f'{name} is {shown(value)}; write a list of texts, such as {name}=["before", "after"].'
        )
    return found


def words(name: str, value: Any) -> tuple[str, ...]:
    """A text, or several."""
    return (value,) if isinstance(value, str) else texts(name, value)


def marks(name: str, value: Any) -> list[float]:
    """Several numbers."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is {shown(value)}; write a list of numbers, such as {name}=[3, 7].")
    one = number()
    return [one(f"{name}[{k}]", x) for k, x in enumerate(_each(name, value))]


def pair(check: Any) -> Any:
    """Two of a kind."""

    def both(name: str, value: Any) -> Any:
        found = [] if not isinstance(value, list | tuple) else list(value)
        if len(found) != 2:
            raise TypeError(f"{name} is {shown(value)}; write two numbers, such as {name}=(1, 2).")
        return tuple(check(f"{name}[{k}]", x) for k, x in enumerate(found))

    return both


def groups(name: str, value: Any) -> Any:
    """Several lists of positions."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise TypeError(
            f"{name} is {shown(value)}; write a list of lists of positions, such as {name}=[[0, 1]]."
        )
    one = whole(0)
    found = []
    for x in _each(name, value):
        members = getattr(x, "members", x)
        if isinstance(members, str | bytes | Mapping) or not isinstance(members, Iterable):
            raise TypeError(
                f"{name} holds {shown(x)}; write a list of lists of positions, such as {name}=[[0, 1]]."
            )
        found.append([one(name, k) for k in _each(name, members)])
    return found


def labels(name: str, value: Any) -> Any:
    """Names or numbers, one for every model; or a pair of such lists."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is {shown(value)}; write a list with one label for every model.")
    return value if isinstance(value, tuple) else list(_each(name, value))


def names(name: str, value: Any) -> Any:
    """Whether names are written, or which."""
    return flag(name, value) if isinstance(value, bool | int | np.bool_) else labels(name, value)


def axis(name: str, value: Any) -> Any:
    """The name of an axis, or of both."""
    if isinstance(value, tuple) and len(value) == 2:
        return tuple(text(name, x) for x in value)
    return text(name, value)


def _each(name: str, value: Any) -> Any:
    """What is in a list, an array or a tensor."""
    if not hasattr(value, "shape"):
        return value
    found = numbers(value)
    if found.ndim != 1:
        raise ValueError(f"{name} has shape {found.shape}; write a list.")
    return found.tolist()


KINDS = {
    "ax": instance(Axes, "pass axes of matplotlib, as of plt.subplots(), or leave it out"),
    **dict.fromkeys(("title", "xlabel", "ylabel"), text),
    **dict.fromkeys(("vmin", "vmax", "width", "height"), number()),
    **dict.fromkeys(("colorbar", "annotate", "interactive", "legend", "log", "sizes"), flag),
    **dict.fromkeys(("cols", "rows", "columns"), whole(1, 10_000)),
    **dict.fromkeys(("labels", "titles"), labels),
    "axis_label": axis,
    "boundaries": marks,
    "cmap": colour_map,
    "colours": colours,
    "groups": groups,
    "highlight": words,
    "level": choice("model", "layer", "network"),
    "mark": whole(-(2**31)),
    "names": names,
    "origin": choice("lower", "upper"),
    "phases": texts,
    "series": named,
    "shape": pair(whole(1)),
    **dict.fromkeys(("ylim", "band"), pair(number())),
}
