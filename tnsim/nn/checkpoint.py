"""Reading checkpoints: plain files of weights, whatever their names, into a model."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tnsim.nn.conversion import check_conversion
from tnsim.nn.tensorfile import read_tensors
from tnsim.nn.transformer import Transformer

__all__ = ["Names", "Source", "language_model", "load", "read_state"]

Model = TypeVar("Model", bound=nn.Module)
Source = str | os.PathLike[str] | Mapping[str, Tensor]
Names = Mapping[str, str | tuple[str, Callable[[Tensor], Tensor]]]

_INSIDE = ("state_dict", "model_state_dict", "model")


def read_state(source: Source) -> dict[str, Tensor]:
    """The weights in a file, by name. Nothing but tensors is ever unpickled.

    Args:
        source: a ``.safetensors`` file, a file written by ``torch.save`` that holds a state dict (or a dict with one
            under "state_dict", "model_state_dict" or "model"), or a state dict.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds anything else, is empty, damaged or a pointer of Git LFS, or declares more than it holds.

    Example:
        >>> read_state({"w": torch.ones(2)})
        {'w': tensor([1., 1.])}
    """
    if isinstance(source, Mapping):
        content: Any = dict(source)
    else:
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}.")
        content = read_tensors(path)
    seen = set()
    while isinstance(content, Mapping) and (key := next((k for k in _INSIDE if _holds(content, k)), None)):
        if id(content) in seen:
            raise ValueError(f"what is called {key!r} contains itself; pass the state dict alone.")
        seen.add(id(content))
        content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(
            f"{source if not isinstance(source, Mapping) else 'the state'} holds no weights by name."
        )
    odd = [name for name, value in content.items() if not isinstance(value, Tensor)]
    nameless = [name for name in content if not isinstance(name, str)]
    if nameless:
        raise ValueError(f"weights go by names; {_listed(map(repr, nameless))} are none.")
    if odd:
        raise ValueError(
            f"a state dict holds tensors only; {_listed(map(repr, odd))} are not. Take them out."
        )
    return dict(content)


def load(model: Model, source: Source, names: Names | None = None, ignore: Iterable[str] = ()) -> Model:
    """Fill a model with the weights of a checkpoint, every one of them, and set it to evaluation mode.

    Args:
        model: a module of `tnsim.nn`, or any other; filled in place, in its own dtype.
        source: a file or a state dict, see `read_state`.
        names: what the checkpoint calls its weights, and what the model calls them. A ``*`` stands for any text and
            is carried over: ``{"layers.*.attn.wq.weight": "blocks.*.q1.weight"}``. A pair of a name and a function
            also changes the tensor: ``{"embed": ("embed.weight", torch.t)}``. Names that are not mentioned stay.
        ignore: names in the checkpoint to pass over, also with ``*``.

    Returns:
        The model.

    Raises:
        ValueError: if weights are missing, left over, of another shape, not finite, complex where the model is real, or
            too large for its dtype; the message names them, and the model is as it was.

    Example:
        >>> trained, fresh = nn.Linear(2, 1), nn.Linear(2, 1)
        >>> state = {f"model.{name}": value for name, value in trained.state_dict().items()}
        >>> torch.equal(load(fresh, state, {"model.*": "*"}).weight, trained.weight)
        True
    """
    state = _renamed(read_state(source), names or {}, tuple(ignore))
    wanted = model.state_dict()
    _check(state, wanted, type(model).__name__)
    check_conversion(state, wanted)
    with torch.no_grad():
        model.load_state_dict({n: value.reshape(wanted[n].shape) for n, value in state.items()})
    return model.eval()


def language_model(
    source: Source,
    names: Names | None = None,
    *,
    n_head: int = 8,
    n_ctx: int = 4,
    scale: float = 0.35,
    base: float = 10000.0,
    eps: float = 1e-6,
    ignore: Iterable[str] = (),
) -> Transformer:
    """An attention-only language model from its weights; all sizes but the heads are read off them.

    The layout: an embedding stored as (vocabulary, d); layers x + scale · O z with rotary embedding, biases on queries
    and keys (or none) and no other; an unembedding (vocabulary, d) after a norm that is a running mean energy E, folded
    into it as (E + eps)^−½ (or no norm). The defaults are those of the language model of arXiv 2605.15183.

    Args:
        source: a file or a state dict, see `read_state`.
        names: what the checkpoint calls its weights, as in `load`. The model calls them ``embed.weight``,
            ``blocks.0.q1.weight``, ``blocks.0.q1.bias``, … ``q2 k1 k2 v o``, ``unembed.weight``, ``unembed.energy``.
        n_head: heads of a layer.
        n_ctx: positions to keep; fewer than in training are enough for most questions.
        scale: weight of a layer beside its input.
        base: base of the rotary embedding.
        eps: added to the energy.
        ignore: names in the checkpoint to pass over, also with ``*``.

    Returns:
        The model in evaluation mode.

    Raises:
        ValueError: if the weights are not of this layout.

    Example:
        >>> trained = Transformer(9, 4, 2, 8, bias="qk", scale=0.35, norm=True)
        >>> model = language_model(trained.state_dict(), n_head=2, n_ctx=3)
        >>> ids = torch.tensor([[1, 2, 3]])
        >>> torch.equal(model(ids), trained.eval()(ids))
        True
    """
    ignore = tuple(ignore)
    state = _renamed(read_state(source), names or {}, ignore)
    needed = ("embed.weight", "unembed.weight", "blocks.0.q1.weight")
    absent = [n for n in needed if n not in state]
    if absent:
        raise ValueError(
            f"the checkpoint has no {_listed(absent)}, only {_listed(state)}; say in names= what it calls them."
        )
    found = dict.fromkeys(m[1] for n in state if (m := re.match(r"blocks\.(\d+)\.", n)))
    if set(found) != {str(k) for k in range(len(found))}:
        raise ValueError(
            f"the checkpoint has the blocks {_listed(found)}; they are to be counted from 0 on, none left out. Say in "
            "names= what belongs where, and in ignore= what to pass over."
        )
    shape = {n: tuple(state[n].shape) for n in needed}
    odd = [f"{n} of shape {s}" for n, s in shape.items() if len(s) != 2]
    if odd:
        raise ValueError(f"{_listed(odd)} is no matrix.")
    (n_vocab, d_model), (width, _) = shape["embed.weight"], shape["blocks.0.q1.weight"]
    if width % n_head:
        raise ValueError(
            f"{n_head} heads do not divide the {width} rows of blocks.0.q1.weight; write n_head=."
        )
    if not state["embed.weight"].is_floating_point():
        raise ValueError(f"embed.weight is {state['embed.weight'].dtype}; a language model has real weights.")

    def made(base: float | None) -> Transformer:
        return Transformer(
            n_vocab,
            d_model,
            n_head,
            n_ctx,
            ["attn" for _ in found],
            d_head=width // n_head,
            d_out=shape["unembed.weight"][0],
            base=base,
            bias="qk" if "blocks.0.q1.bias" in state else False,
            scale=scale,
            norm="unembed.energy" in state,
        )

    with torch.device("meta"):  # before memory is asked for; no weight tells of the rotary embedding
        _check(state, made(None).state_dict(), "Transformer")
    model = made(base)
    model.unembed.eps = eps
    return load(model.to(state["embed.weight"].dtype), state)


def _check(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], kind: str) -> None:
    """Whether names and shapes are those of a module, and all numbers are finite."""
    missing, extra = [n for n in wanted if n not in state], [n for n in state if n not in wanted]
    if missing or extra:
        parts = [f"the checkpoint has no {_listed(missing)}"] if missing else []
        parts += [f"{kind} has no {_listed(extra)}"] if extra else []
        raise ValueError(
            f"the checkpoint does not fit {kind}: {'; '.join(parts)}. Say in names= what belongs where, and in ignore= "
            "what to pass over."
        )
    other = [n for n, value in wanted.items() if not isinstance(value, Tensor)]
    if other:
        raise ValueError(f"{kind} keeps {_listed(other)} beside its weights; use load_state_dict.")
    shapes = {n: (tuple(state[n].shape), tuple(wanted[n].shape)) for n in wanted}
    wrong = [
        f"{n} is {a}, {kind} needs {b}"
        for n, (a, b) in shapes.items()
        if a != b and not _one(state[n], wanted[n])
    ]
    if wrong:
        raise ValueError(f"the checkpoint does not fit {kind}: {_listed(wrong, '; ')}.")
    broken = [n for n, value in state.items() if _is_dense(value) and not bool(value.isfinite().all())]
    if broken:
        raise ValueError(f"the checkpoint holds NaN or infinite entries in {_listed(broken)}.")


def _is_dense(x: Tensor) -> bool:
    return x.layout == torch.strided and not x.is_meta and not x.is_quantized


def _holds(content: Mapping[str, Any], key: str) -> bool:
    return isinstance(content.get(key), Mapping)


def _renamed(state: Mapping[str, Tensor], names: Names, ignore: tuple[str, ...]) -> dict[str, Tensor]:
    """The state under the model's names."""
    found: dict[str, Tensor] = {}
    came: dict[str, str] = {}
    used: set[str] = set()
    for name, value in state.items():
        if any(_match(pattern, name) for pattern in ignore):
            continue
        target, change = name, None
        for pattern, to in names.items():
            if (match := _match(pattern, name)) is not None:
                used.add(pattern)
                target, change = (to, None) if isinstance(to, str) else to
                for text in match.groups():
                    target = target.replace("*", text, 1)
                break
        if target in found:
            raise ValueError(f"{came[target]!r} and {name!r} of the checkpoint both become {target!r}.")
        came[target], found[target] = name, value if change is None else change(value)
    idle = [pattern for pattern in names if pattern not in used]
    if idle:
        raise ValueError(
            f"nothing in the checkpoint is called {_listed(map(repr, idle))}; it holds {_listed(state)}."
        )
    return found


def _match(pattern: str, name: str) -> re.Match[str] | None:
    return re.fullmatch("(.+)".join(map(re.escape, pattern.split("*"))), name)


def _one(a: Tensor, b: Tensor) -> bool:
    return a.numel() == b.numel() == 1


def _listed(names: Iterable[str], comma: str = ", ") -> str:
    found = list(names)
    more = f"{comma}… ({len(found)} in all)" if len(found) > 8 else ""
    return comma.join(found[:8]) + more
