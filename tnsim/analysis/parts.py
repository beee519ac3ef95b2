"""Shares of a squared distance, with the names of the parts that they belong to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import autoray as ar
from torch import Tensor

from tnsim.algebra.shown import Plotted

__all__ = ["Shares"]


@dataclass(frozen=True, eq=False, repr=False)
class Shares(Plotted):
    """Shares that know their parts: what :func:`attribute` returns.

    It can be used wherever its tensor ``values`` can: in arithmetic, in functions of torch, with all methods of a tensor,
    gradient included. What comes of that (``shares[2]``, ``shares / shares.sum()``) is a plain tensor.

    Attributes:
        values: the shares, in the shape of the parts.
        over: what is split over: ``"outputs"``, ``"inputs"``, ``"layers"``, ``"hidden units of blocks.0"`` …
        what: what the shares add up to.
        parts: the name of every part, in the order of ``values.flatten()``: names of layers, positions otherwise (a
            tuple, where inputs or outputs have several axes).

    Example:
        >>> import tnsim
        >>> a, b = tnsim.nn.BilinearLayer(4, 8, 3), tnsim.nn.BilinearLayer(4, 8, 3)
        >>> shares = tnsim.attribute(a, b, to="inputs")
        >>> [part for part, _ in shares.top(2)] == shares.abs().argsort(descending=True)[:2].tolist()
        True
    """

    values: Tensor
    over: str
    what: str
    parts: tuple[Any, ...]

    @staticmethod
    def of(values: Tensor, over: str, what: str, names: tuple[str, ...] = ()) -> "Shares":
        """Shares with the names of their parts.

        Args:
            values: of any shape, with or without a gradient.
            over: what is split over.
            what: what they add up to.
            names: of the parts; their positions by default.
        """
        places = product(*map(range, values.shape))
        return Shares(values, over, what, names or tuple(i if len(i) > 1 else (i or (0,))[0] for i in places))

    @property
    def total(self) -> Tensor:
        """What the shares add up to."""
        return self.values.sum()

    def top(self, n: int = 5) -> list[tuple[Any, float]]:
        """The n largest shares by absolute value, each with the name of its part."""
        flat = self.values.detach().flatten()
        order = flat.abs().argsort(descending=True, stable=True)[:n]
        return [(self.parts[i], float(flat[i])) for i in order.tolist()]

    def __repr__(self) -> str:
        total, count = float(self.total.detach()), self.values.numel()
        rest = f", … ({count} in all)" if count > 5 else ""
        shown = ", ".join(
            f"{part} {value / total:.0%}" if total else f"{part} 0" for part, value in self.top()
        )
        return f"Shares({self.what} = {total:.4g} over {self.over}: {shown}{rest})"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "values":
            raise AttributeError(name)
        return getattr(self.values, name)

    @classmethod
    def __torch_function__(
        cls, fn: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return fn(*_plain(tuple(args)), **_plain(dict(kwargs or {})))


def _plain(x: Any) -> Any:
    if isinstance(x, Shares):
        return x.values
    if type(x) in (tuple, list):
        return type(x)(map(_plain, x))
    return {k: _plain(v) for k, v in x.items()} if type(x) is dict else x


def _of_values(name: str) -> Callable[..., Any]:
    def method(self: Shares, *others: Any, **options: Any) -> Any:
        return getattr(self.values, name)(*map(_plain, others), **options)

    method.__name__ = name
    return method


_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "pow", "matmul", "mod")
for _name in (
    *(f"__{side}{name}__" for name in _ARITHMETIC for side in ("", "r")),
    *(f"__{name}__" for name in ("neg", "pos", "abs", "lt", "le", "gt", "ge", "eq", "ne", "bool", "int")),
    *(f"__{name}__" for name in ("getitem", "len", "iter", "float", "array", "contains", "format")),
):
    setattr(Shares, _name, _of_values(_name))
ar.register_backend(Shares, "torch")
