"""Short names: what fits into a disc or a box, one for every name, so that the legend can write the others out."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from tnsim.view.text import extent

__all__ = ["ELLIPSIS", "cut_to", "short_names", "without_prefix"]

ELLIPSIS = "…"


def short_names(names: Iterable[str], most: int = 6) -> dict[str, str]:
    """A short form of every name; no two have the same, and none is another's name.

    Of the parts of a name (``gate_proj`` has two) it keeps what tells it apart, or the beginning of that.

    Args:
        names: the names of one picture.
        most: characters that a short form may have.

    Example:
        >>> short_names(["gate_proj", "up_proj", "W"])
        {'gate_proj': 'gate', 'up_proj': 'up', 'W': 'W'}
        >>> short_names(["c_attn", "c_proj"])
        {'c_attn': 'c_attn', 'c_proj': 'c_proj'}
    """
    known = list(dict.fromkeys(names))
    found = {name: name for name in known if len(name) <= most}
    taken = set(known)
    parts = Counter(part for name in known for part in set(_parts(name)))
    for name in known:
        if name not in found:
            found[name] = next(c for c in _candidates(name, parts, most) if len(c) <= most and c not in taken)
            taken.add(found[name])
    return {name: found[name] for name in known}


def _candidates(name: str, parts: Counter[str], most: int) -> Iterator[str]:
    own = _parts(name)
    apart = [part for part in own if parts[part] == 1]
    yield from apart
    yield from (part[: most - 1] + ELLIPSIS for part in apart if len(part) > most)
    yield "".join(part[0] for part in own)
    yield from own
    yield name[: most - 1] + ELLIPSIS
    for n in range(10**most):
        digits = str(n)
        yield name[: most - 1 - len(digits)] + ELLIPSIS + digits


def _parts(name: str) -> list[str]:
    """The words of a name: between dots and underscores, and at capitals.

    Example:
        >>> _parts("q_proj"), _parts("selfAttention.0")
        (['q', 'proj'], ['self', 'Attention', '0'])
    """
    return [
        word
        for piece in re.split(r"[\W_]+", name)
        for word in re.findall(r"[A-Z]?[^A-Z]+|[A-Z]+", piece)
        if word
    ] or [name]


def without_prefix(names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The path that most of some names begin with, and the names without it.

    Example:
        >>> without_prefix(["model.layers.0.mlp", "model.layers.1.mlp", "lm_head"])
        ('model.layers.', {'model.layers.0.mlp': '…0.mlp', 'model.layers.1.mlp': '…1.mlp', 'lm_head': 'lm_head'})
    """
    paths = Counter(
        ".".join(pieces[:k]) + "."
        for pieces in (name.split("+")[0].split(".") for name in names)
        for k in range(1, len(pieces))
    )
    often = [path for path, n in paths.items() if n > 1 and 2 * n >= len(names)]
    prefix = max(often, key=len, default="")
    short = {
        name: ELLIPSIS + name.removeprefix(prefix) if prefix and name.startswith(prefix) else name
        for name in names
    }
    return prefix, short


def cut_to(text: str, size: float, wide: float, taken: Callable[[str], bool] = lambda _: False) -> str:
    """The text, or its beginning and end where it is wider than ``wide`` points at ``size`` points.

    Args:
        text: what to write.
        size: of the font.
        wide: the room there is.
        taken: what says that a form is another's.
    """
    if extent(text, size)[0] <= wide:
        return text
    for keep in range(len(text) - 1, 1, -1):
        for back in dict.fromkeys((keep // 2, keep // 3, 0)):
            cut = text[: keep - back] + ELLIPSIS + (text[-back:] if back else "")
            if extent(cut, size)[0] <= wide and not taken(cut):
                return cut
    return text[:1] + ELLIPSIS
