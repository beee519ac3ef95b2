"""Questions: what the arguments of a public question stand for, checked once, at the border."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import autoray as ar
import numpy as np
import quimb.tensor as qtn
import torch

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term
from tnsim.common.border import Check, bordered, choice, file, flag, limit, number, shown, whole
from tnsim.common.values import numbers
from tnsim.measure.laws.under import law

__all__ = ["builder", "either", "question", "questioning"]

P = ParamSpec("P")
R = TypeVar("R")

_MATRIX = "A matrix between models is square, symmetric and finite."


def model(name: str, value: Any) -> Any:
    """A model.

    Raises:
        TypeError: for anything else; it says what to write.
    """
    if isinstance(value, Network | Poly | torch.nn.Module):
        return value
    what, instead = shown(value), "pass a torch.nn.Module or a tnsim Network"
    if isinstance(value, type) and issubclass(value, torch.nn.Module):
        instead = f"pass a module of it, such as {value.__name__}(...)"
    elif isinstance(value, Mapping) and value and all(isinstance(x, torch.Tensor) for x in value.values()):
        instead = "weights alone are no model; tnsim.load(MyModel(), state) puts them into one"
    elif isinstance(value, str | os.PathLike):
        what = f"a {type(value).__name__}"
        instead += "; tnsim.load(MyModel(), path) reads a checkpoint into a module"
    elif isinstance(value, Term):
        instead = "a term is part of a Poly: pass that"
    elif isinstance(value, qtn.Tensor | qtn.TensorNetwork):
        instead = "tnsim.poly(equation, **arrays) makes a model of tensors"
    elif isinstance(value, list | tuple) and value:
        instead = "pass one model; gram, nearest and trajectory take lists"
    raise TypeError(f"{name} is {what}; {instead}.")


def models(name: str, value: Any) -> Any:
    """Several models: any list of them, a run that reads them, or one stacked network.

    Raises:
        TypeError: for anything else; it says what to write.
    """
    if isinstance(value, Network | Poly | torch.nn.Module):
        if not isinstance(value, torch.nn.Module) and value.models:
            return value
        raise TypeError(f"{name} is a single model; pass a list, such as {name}=[a, b].")
    if isinstance(value, Mapping):
        raise TypeError(
            f"{name} is {shown(value)}; pass list({name}.values()), and labels=list({name}) where they count."
        )
    if isinstance(value, Sequence) and not isinstance(value, list | tuple | str | bytes | range):
        return value  # a run, which reads its models one by one
    if hasattr(value, "similarity"):
        raise TypeError(f"{name} is {shown(value)}; pass the models themselves.")
    if isinstance(value, str | bytes | range | torch.Tensor | np.ndarray) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is {shown(value)}; pass a list of models.")
    return [model(f"{name}[{k}]", x) for k, x in enumerate(value)]


def either(name: str, value: Any) -> Any:
    """A model, or several.

    Raises:
        TypeError: for anything else; it says what to write.
    """
    several = isinstance(value, Iterable) and not isinstance(value, Network | torch.nn.Module | Mapping | str)
    return models(name, value) if several else model(name, value)


def comparison(name: str, value: Any) -> Any:
    """Models that have been compared, or will be: a Gram, a square matrix, or a list of models.

    Raises:
        TypeError: for anything else.
        ValueError: for a matrix that is not square, or holds something else than numbers.
    """
    if isinstance(value, list | tuple) and value and all(isinstance(row, list | tuple) for row in value):
        value = numbers(value)
    if isinstance(value, torch.Tensor | np.ndarray):
        shape = tuple(ar.shape(value))
        if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
            raise ValueError(f"{name} has shape {shape}. {_MATRIX}")
        mirror = ar.do("transpose", _finite(name, value, _MATRIX), (1, 0))
        if not ar.do("allclose", value, mirror, atol=1e-6):
            raise ValueError(f"{name} is not symmetric. {_MATRIX}")
        return value
    return value if hasattr(value, "similarity") else models(name, value)


def outputs(name: str, value: Any) -> Any:
    """One output (its number, or as many numbers as outputs have axes), or a slice of outputs.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(value, slice):
        ends = [value.start, value.stop, value.step]
        if all(x is None or isinstance(x, int) for x in ends) and value.step != 0:
            return value
    elif isinstance(value, list) and value:
        return [_position(name, x) for x in value]
    elif isinstance(value, tuple) and value:
        return tuple(x if isinstance(x, slice) else _position(name, x) for x in value)
    else:
        return _position(name, value)
    raise TypeError(f"{name} is {value!r}; write one output, such as {name}=3, or a slice of them.")


def table(name: str, value: Any) -> Any:
    """What models put out for samples: finite numbers, samples first.

    Raises:
        TypeError: for anything else.
        ValueError: for too few axes, nothing, and NaN.
    """
    if not isinstance(value, torch.Tensor | np.ndarray):
        raise TypeError(
            f"{name} is {shown(value)}; pass what a model puts out for samples, shape (samples, features)."
        )
    if ar.ndim(value) < 2 or not ar.size(value):
        raise ValueError(f"{name} has shape {tuple(ar.shape(value))}; it needs samples and features.")
    return _finite(name, value)


def place(name: str, value: Any) -> Any:
    """The name of a layer or of hidden units, or its number; or a list of names.

    Raises:
        TypeError: for anything else.
        ValueError: for an empty list.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple):
        return _position(name, value)
    if not value:
        raise ValueError(f'{name} is empty; write names, such as {name}=["layer0"], or leave it out.')
    if not all(isinstance(x, str) for x in value):
        raise TypeError(f'{name} holds something else than names; write {name}=["layer0"].')
    return tuple(value)


def ranks(name: str, value: Any) -> Any:
    """One rank, or one for every bond or leg.

    Raises:
        TypeError: for anything else.
        ValueError: for one below 1.
    """
    one = whole(1)
    if isinstance(value, Mapping):
        return {k: one(f"{name}[{k!r}]", x) for k, x in value.items()}
    if isinstance(value, list | tuple | range):
        return [one(name, x) for x in value]
    return one(name, value)


def labelled(name: str, value: Any) -> Any:
    """Labels, one for every model.

    Raises:
        TypeError: for what is no list.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is {shown(value)}; write a list with one label for every model.")
    found = value.tolist() if isinstance(value, torch.Tensor | np.ndarray) else list(value)
    try:
        hash(tuple(found))
    except TypeError:
        raise TypeError(
            f"{name} holds lists; write a list with one number or text for every model."
        ) from None
    return found


def builder(name: str, value: Any) -> Any:
    """What builds a module when it is called.

    Raises:
        TypeError: for what cannot be called, and for a module, which is there already.
    """
    if not callable(value) or isinstance(value, torch.nn.Module):
        raise TypeError(f"{name} is {shown(value)}; write what builds a module, such as {name}=MyModel.")
    return value


def _position(name: str, value: Any) -> int:
    return int(whole(-(2**31))(name, value))


def _finite(name: str, value: Any, instead: str = "") -> Any:
    try:
        fine = bool(ar.do("all", ar.do("isfinite", value)))
    except TypeError:
        raise TypeError(f"{name} holds {value.dtype}; it needs numbers.") from None
    if not fine:
        raise ValueError(f"{name} is not finite: it holds NaN or infinite numbers. {instead}".rstrip())
    return value


_KINDS = {
    **dict.fromkeys(("a", "b", "model", "before", "after"), model),
    **dict.fromkeys(("models", "networks", "history"), models),
    **dict.fromkeys(("f", "g"), table),
    **dict.fromkeys(("progress", "slices", "centred", "each", "bound"), flag),
    **dict.fromkeys(("budget", "memory"), limit),
    **dict.fromkeys(("method", "modes"), choice("exact", "layerwise")),
    "under": law,
    "run": comparison,
    "output": outputs,
    "of": choice("interaction", "gradient"),
    "to": choice("outputs", "inputs", "directions", "layers", "hidden", "heads"),
    "kind": choice("cp", "tucker", "hosvd", "symmetric-cp"),
    "labels": labelled,
    "checkpoint": file,
    "layer": place,
    "at": place,
    "constant_row": flag,
    "top": whole(1),
    "k": whole(1),
    "rank": ranks,
    "parameters": ranks,
    "error": number(0.0),
    "tolerance": number(0.0),
    "seed": whole(0, 2**63 - 1),
    "restarts": whole(1, 10_000),
}


def questioning(**kinds: Check) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A public question some of whose arguments stand for something else than usual."""
    return bordered({**_KINDS, **kinds})


def question(fn: Callable[P, R]) -> Callable[P, R]:
    """A public question: what its arguments are is checked before anything is computed."""
    return questioning()(fn)
