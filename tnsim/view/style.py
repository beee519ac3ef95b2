"""The house style, in one place: colours, colour maps, sizes.

Every colour in a picture comes from here. A role keeps its colour within a figure and across figures, and
no picture relies on colour alone: tensors carry their letter, curves their name, matrices a colour bar.
"""

import functools
import zlib
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, cast

import matplotlib as mpl
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb

from tnsim.common.border import bordered
from tnsim.view.kinds import KINDS

__all__ = [
    "BLANK",
    "DIVERGING",
    "FONT",
    "INK",
    "LINE",
    "MARK",
    "MUTED",
    "PALETTE",
    "PAPER",
    "RULE",
    "SEQUENTIAL",
    "SIZES",
    "faded",
    "ink_on",
    "kind_colour",
    "kind_meaning",
    "role_colour",
    "role_colours",
    "styled",
]

P = ParamSpec("P")
T = TypeVar("T")

PAPER = "#ffffff"
INK = "#17202e"
MUTED = "#6b7686"
RULE = "#c9d0d9"
MARK = "#c2331f"  # what is to be compared with
BLANK = "#d9d9d6"  # where there is no value

# Distinct for the common forms of colour blindness (after Paul Tol's muted and vibrant schemes).
PALETTE = (
    "#33418f",  # indigo
    "#dd7a2b",  # orange
    "#3fa0d0",  # sky
    "#1d7a4a",  # green
    "#882255",  # wine
    "#d1b23c",  # sand
    "#43a89b",  # teal
    "#c2577a",  # rose
    "#8a8a2e",  # olive
    "#9a4fa0",  # purple
)

_INDIGO, _ORANGE, _SKY, _GREEN, _WINE, _SAND, _TEAL, _ROSE, _OLIVE, _ = PALETTE

LINE = "#8b95a3"  # of an index

# (colour, what it does, letters that stand for it where no place says it)
_ROLES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (_INDIGO, "output map", ("D", "d", "P", "U", "head", "unembed")),
    (_ORANGE, "left factor", ("L", "l")),
    (_SKY, "right factor", ("R", "r")),
    ("#b3693f", "both factors", ()),
    (_ROSE, "third factor", ()),
    (_OLIVE, "fourth factor", ()),
    (_GREEN, "input map", ("w", "W", "E", "e", "embed")),
    (_SAND, "linear map", ("A",)),
    ("#3d5a80", "interaction", ()),
    ("#8d97a5", "constant", ("c", "b", "bias")),
    ("#b9a7c9", "gain", ("scale",)),
    ("#d5dae1", "ones", ("I",)),
    (_WINE, "query", ("Q", "q", "query 1", "Q1", "q1")),
    (_TEAL, "key", ("K", "k", "key 1", "K1", "k1")),
    (_ROSE, "query 2", ("Q2", "q2")),
    (_OLIVE, "key 2", ("K2", "k2")),
    (_WINE, "score", ()),
    ("#b77cc0", "value", ("V", "v")),
    ("#1f5fa8", "head output", ("O", "o")),
    ("#4a5261", "mask", ("MASK", "M")),
    ("#5d8f3a", "turn", ("ROPE",)),
    ("#b5542a", "covariance", ("COV",)),
    ("#e0a070", "mean", ("MEAN",)),
    ("#7a5c46", "data", ("DATA",)),
)
_KINDS = {  # of the boxes of a model
    "linear": ("#efe3b4", "linear"),
    "identity": ("#e3e7ec", "passes on what it reads"),
    "product": ("#e59c62", "a product of maps of its input"),
    "mixing": ("#d9a3bd", "reads other positions too"),
    "left out": (PAPER, ""),
}
# For roles without a colour of their own: none of these stands for anything else.
_SPARE = ("#6f5b93", "#0f6b70", "#b0484a", "#7d6608", "#c77fb0", "#4d84d8", "#866a58")
_COLOUR = {name: colour for colour, meaning, names in _ROLES for name in (meaning, *names)}


def role_colour(role: str) -> str:
    """The colour of a role, such as ``"left factor"``, or of its usual letter; any other name gets a fixed spare colour.

    Example:
        >>> role_colour("left factor") == role_colour("L") != role_colour("R")
        True
    """
    return _COLOUR.get(role) or _SPARE[zlib.crc32(role.encode()) % len(_SPARE)]


def role_colours(roles: Iterable[str]) -> dict[str, str]:
    """The colours of the roles of one picture: as :func:`role_colour`, but no two spare ones alike if avoidable.

    Example:
        >>> role_colours(["D", "P"])["D"] == role_colour("D")
        True
    """
    names = sorted(set(roles))
    chosen = {r: role_colour(r) for r in names}
    free = [c for c in (*_SPARE, *PALETTE) if c not in chosen.values()]
    taken: set[str] = set()
    for r in names:
        if r not in _COLOUR and chosen[r] in taken and free:
            chosen[r] = free.pop(0)
        taken.add(chosen[r])
    return chosen


def kind_colour(kind: str) -> str:
    """The colour of a box: linear, identity, product, mixing."""
    return _KINDS[kind][0]


def kind_meaning(kind: str) -> str:
    """What a colour of boxes stands for."""
    return _KINDS[kind][1]


def faded(colour: str, part: float = 0.16) -> tuple[float, float, float]:
    """A colour mixed with white."""
    r, g, b = to_rgb(colour)
    return 1 - part * (1 - r), 1 - part * (1 - g), 1 - part * (1 - b)


def ink_on(colour: Any) -> str:
    """Black or white, whichever is easier to read on ``colour``.

    Example:
        >>> ink_on("#33418f"), ink_on("#d5dae1")
        ('#ffffff', '#17202e')
    """
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour))
    return INK if 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.36 else PAPER


# White is "nothing" in both maps, and the positive half of the diverging map is the sequential one:
# a similarity keeps its colour whichever map a figure uses.
_BLUES = ("#ffffff", "#cfe3f2", "#92bfe0", "#4f95c6", "#27699f", "#1b3f73", "#141b45")
_BROWNS = ("#3a1206", "#6a2b12", "#9c481c", "#cd7a44", "#e9af87", "#f7dac6", "#ffffff")
SEQUENTIAL: Colormap = LinearSegmentedColormap.from_list("tnsim.sequential", _BLUES)
DIVERGING: Colormap = LinearSegmentedColormap.from_list("tnsim.diverging", (*_BROWNS, *_BLUES[1:]))

FONT = "DejaVu Sans"  # ships with matplotlib, so figures are the same on every machine
SIZES = {"title": 11.0, "label": 9.5, "tick": 8.5, "small": 7.5}  # points

_RC: dict[str, Any] = {
    "font.family": FONT,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.facecolor": PAPER,
    "axes.labelcolor": INK,
    "axes.labelsize": SIZES["label"],
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": SIZES["title"],
    "axes.titleweight": "normal",
    "figure.dpi": 110,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "legend.frameon": False,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": SIZES["tick"],
    "ytick.labelsize": SIZES["tick"],
}


def styled(fn: Callable[P, T]) -> Callable[P, T]:
    """Run a plotting function in the house style, its arguments checked; the user's own settings are left as they were.

    Whether matplotlib is interactive is no matter of style. The first figure of a session loads the backend, and
    backends set that as they are loaded: in a notebook, figures are shown at the end of a cell only where it is so.
    """

    checked = bordered(KINDS)(fn)

    @functools.wraps(fn)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        interactive = mpl.is_interactive()
        try:
            with mpl.rc_context(cast(Any, _RC)):
                try:
                    return checked(*args, **kwargs)
                finally:
                    interactive = mpl.is_interactive()
        finally:
            mpl.interactive(interactive)

    return wrapper
