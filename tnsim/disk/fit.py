"""Which part of a checkpoint is a model's state dict, and what to write where none is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tnsim.disk.names import Names, listed, proposal, renamed, shown, unwrapped
from tnsim.disk.tree import Subtree, branches

__all__ = ["Fit", "check_tied", "found_in", "shape_of", "tied_names"]


@dataclass(frozen=True)
class Fit:
    """Weights under a model's names, or what keeps them from that.

    Attributes:
        branch: where they stand in the checkpoint.
        raw: under their own names, those that ``names`` mention under others.
        state: under the model's names, as far as they fit.
        note: what was taken off.
        extra: what the model has not.
        missing: what the checkpoint has not.
    """

    branch: Subtree
    raw: Mapping[str, Tensor]
    state: Mapping[str, Tensor]
    note: str
    extra: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether all weights have their place, and all places their weights."""
        return not self.extra and not self.missing


def found_in(
    content: Any,
    wanted: Mapping[str, Tensor],
    tied: Mapping[str, str],
    names: Names,
    ignore: tuple[str, ...],
    key: str | None,
    kind: str,
    whose: str,
) -> Fit:
    """The one part of a checkpoint that is a model's state dict.

    Args:
        content: what was read.
        wanted: the model's.
        tied: names of the same tensor in the model (:func:`tied_names`).
        names: what the checkpoint calls its weights, and what the model calls them.
        ignore: names in the checkpoint to pass over.
        key: which part, where several fit.
        kind: the model's class, for messages.
        whose: where the content comes from, for messages.

    Raises:
        ValueError: if none fits, or several do; it says what to write.
    """
    places = branches(content)
    if not places:
        raise ValueError(f"{whose} holds no weights by name.")
    if key is not None:
        places = _under(places, key, whose)
    fits, refused = [], []
    for branch in places:
        try:
            fits.append(_fit(branch, renamed(branch.tensors, names, ignore), wanted, tied))
        except ValueError as error:
            refused.append((branch, error))
    whole = [fit for fit in fits if fit.fits]
    alike = [fit for fit in whole if _same_shapes(fit.state, wanted)] or whole
    if len(alike) > 1:
        keys = " or ".join(f"key={shown(fit.branch.key)}" for fit in alike)
        raise ValueError(f"{whose} holds several sets of weights that fit {kind}; write {keys}.")
    if alike:
        return alike[0]
    if not fits:
        reason = max(refused, key=lambda pair: len(pair[0].tensors))[1]
        raise ValueError(f"{whose}: {reason}") from None
    nearest = max(fits, key=lambda fit: _nearness(fit, wanted))
    raise ValueError(_misfit(nearest, fits, wanted, kind, whose))


def _under(places: list[Subtree], key: str, whose: str) -> list[Subtree]:
    """What is called so in a checkpoint: a key, or what several names begin with."""
    exact = [branch for branch in places if branch.key == key]
    if exact:
        return exact[:1]
    for branch in places:
        start = key.removeprefix(branch.key + ".") if branch.key else key
        inside = {
            n.removeprefix(f"{start}."): x for n, x in branch.tensors.items() if n.startswith(f"{start}.")
        }
        if inside:
            return [Subtree((*branch.path, start), inside)]
    raise ValueError(
        f"{whose} has no weights under {shown(key)}; there are some under "
        f"{', '.join(shown(branch.key) for branch in places if branch.key) or 'no key: leave key= out'}."
    )


def _fit(
    branch: Subtree, raw: Mapping[str, Tensor], wanted: Mapping[str, Tensor], tied: Mapping[str, str]
) -> Fit:
    """Weights beside a model's names: as they are, without wrappers, without a common prefix of either."""
    best = None
    for mine, taken in _shorter(list(raw)):
        for other, _ in _shorter(list(wanted)):
            if len(set(mine.values())) < len(mine) or len(set(other.values())) < len(other):
                continue
            long = {short: name for name, short in other.items()}
            state = {long[short]: raw[name] for name, short in mine.items() if short in long}
            state |= {n: state[tied[n]] for n in wanted if n not in state and tied.get(n) in state}
            extra = tuple(name for name, short in mine.items() if short not in long)
            missing = tuple(n for n in wanted if n not in state)
            found = Fit(branch, raw, state, taken, extra, missing)
            if found.fits:
                return found
            best = found if best is None or len(state) > len(best.state) else best
    assert best is not None
    return best


def _shorter(names: list[str]) -> list[tuple[dict[str, str], str]]:
    """From names to shorter ones, in the order in which they are tried, with what is taken off in words."""
    found = [({n: n for n in names}, "")]
    plain = {n: unwrapped(n) for n in names}
    gone = sorted({p for n, short in plain.items() for p in set(n.split(".")) - set(short.split("."))})
    said = " and ".join(f"{shown(p + '.')}" for p in gone)
    if gone:
        found.append((plain, f"{said} taken off"))
    parts = [short.split(".") for short in plain.values()]
    most = min((len(p) for p in parts), default=1) - 1
    for k in range(1, most + 1):
        if len({tuple(p[:k]) for p in parts}) > 1:
            break
        prefix = shown(".".join(parts[0][:k]) + ".")
        short = {n: ".".join(s.split(".")[k:]) for n, s in plain.items()}
        found.append((short, f"{f'{said} and ' if said else ''}{prefix} taken off"))
    return found


def tied_names(model: nn.Module) -> dict[str, str]:
    """For every name of a weight that the model has twice, another of the same tensor: a file may hold one alone."""
    first: dict[int, str] = {}
    found = {}
    for name, x in model.state_dict(keep_vars=True).items():
        if isinstance(x, Tensor):
            other = first.setdefault(id(x), name)
            if other != name:
                found[name] = other
                found.setdefault(other, name)
    return found


def check_tied(model: nn.Module, state: Mapping[str, Tensor], kind: str, whose: str) -> None:
    """Whether a tensor that a model has under two names is one in the checkpoint.

    Raises:
        ValueError: if not.
    """
    for name, other in tied_names(model).items():
        mine, others = (state[n].cpu().to(torch.float64) for n in (name, other))  # some devices lack float64
        if not torch.equal(mine, others):
            raise ValueError(
                f"{whose}: {kind} has one tensor as {name} and {other}, and the checkpoint two that differ. Untie them "
                "in the module, as they were in training."
            )


def _same_shapes(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    return all(shape_of(state[n]) == shape_of(x) for n, x in wanted.items() if n in state)


def _nearness(fit: Fit, wanted: Mapping[str, Tensor]) -> tuple[int, int, int]:
    """How near weights are to a model: common names, then common shapes, then how little is left over."""
    shapes = [shape_of(x) for x in wanted.values()]
    alike = sum(shape_of(x) in shapes for x in fit.raw.values())
    return len(fit.state), min(alike, len(shapes)), -len(fit.raw)


def _misfit(fit: Fit, fits: list[Fit], wanted: Mapping[str, Tensor], kind: str, whose: str) -> str:
    """What is missing, what is left over, and what to write."""
    place = f" (under {shown(fit.branch.key)})" if fit.branch.key else ""
    parts = [f"{whose}{place} does not fit {kind}:"]
    if fit.missing:
        parts.append(f"the checkpoint has no {listed(fit.missing)};")
    if fit.extra:
        parts.append(f"{kind} has no {listed(fit.extra)};")
    text = " ".join(parts).rstrip(";") + "."
    starts = {n.split(".")[0] for n in fit.raw}
    for start in sorted(starts):
        inner = {n.removeprefix(f"{start}."): x for n, x in fit.raw.items() if n.startswith(f"{start}.")}
        if inner and _fit(Subtree((), inner), inner, wanted, {}).fits:
            return f"{text} The weights under {shown(start)} fit: write key={shown('.'.join((*fit.branch.path, start)))}."
    short = {id(x): n for n, x in fit.state.items()}
    kept = {n: short[id(x)] for n, x in fit.raw.items() if n not in fit.extra and id(x) in short}
    sizes = {n: shape_of(fit.raw[n]) for n in fit.extra}
    names, left = proposal(sizes, {n: shape_of(wanted[n]) for n in fit.missing}, kept)
    advice = [f"names={names}"] if names else []
    advice += [f"ignore={_patterns(left)}"] if left and len(left) < len(fit.raw) else []
    if advice:
        return f"{text} By shape and name it may be {', '.join(advice)}."
    return f"{text} Build it as it was trained, say in names= what belongs where, and in ignore= what to pass over."


def _patterns(names: Iterable[str]) -> str:
    starred = dict.fromkeys(".".join("*" if p.isdigit() else p for p in n.split(".")) for n in names)
    return "[" + ", ".join(map(shown, starred)) + "]"


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of a tensor; of what is none, that of a number."""
    return tuple(x.shape) if isinstance(x, Tensor) else ()
