"""Shares of a squared distance, with the names of the parts that they belong to."""

from itertools import product
from typing import Any

import autoray as ar
import torch
from torch import Tensor

from tnsim.common.notebook import Plotted

__all__ = ["Shares"]


class Shares(Plotted, Tensor):
    """A tensor of shares that knows its parts: what :func:`attribute` returns. It computes as any other tensor.

    What is computed from it (``shares[2]``, ``shares / shares.sum()``) is a plain tensor.

    Attributes:
        over: what is split over: ``"outputs"``, ``"inputs"``, ``"layers"``, ``"hidden units of blocks.0"`` …
        parts: the name of every part, in the order of ``shares.flatten()``: names of layers, positions otherwise (a
            tuple, where inputs or outputs have several axes).
        what: what the shares add up to.

    Example:
        >>> import tnsim
        >>> a, b = tnsim.nn.BilinearLayer(4, 8, 3), tnsim.nn.BilinearLayer(4, 8, 3)
        >>> shares = tnsim.attribute(a, b, to="inputs")
        >>> [part for part, _ in shares.top(2)] == shares.argsort(descending=True)[:2].tolist()
        True
    """

    over: str
    parts: tuple[Any, ...]
    what: str

    # as that of torch.nn.Parameter: what is computed is a plain tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def of(values: Tensor, over: str, what: str, names: tuple[str, ...] = ()) -> Any:
        """Shares with the names of their parts.

        Args:
            values: of any shape, with or without a gradient. A tensor of a class of one's own cannot be of another class
                as well, and stays as it is.
            over: what is split over.
            what: what they add up to.
            names: of the parts; their positions by default.
        """
        if type(values) is not Tensor:
            return values
        found = values.as_subclass(Shares)
        shape = tuple(values.shape)
        found.over, found.what = over, what
        places = product(*map(range, shape))
        found.parts = names or tuple(i if len(i) > 1 else (i or (0,))[0] for i in places)
        return found

    @property
    def total(self) -> Tensor:
        """What the shares add up to."""
        return self.sum()

    def top(self, n: int = 5) -> list[tuple[Any, float]]:
        """The n largest shares by absolute value, each with the name of its part."""
        flat = self.detach().flatten()
        order = flat.abs().argsort(descending=True, stable=True)[:n]
        return [(self.parts[i], float(flat[i])) for i in order.tolist()]

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        if not hasattr(self, "parts"):
            return repr(self.as_subclass(Tensor))
        total = float(self.total.detach())
        rest = f", … ({self.numel()} in all)" if self.numel() > 5 else ""
        shown = ", ".join(
            f"{part} {value / total:.0%}" if total else f"{part} 0" for part, value in self.top()
        )
        return f"Shares({self.what} = {total:.4g} over {self.over}: {shown}{rest})"

    def __deepcopy__(self, memo: Any) -> "Shares":
        found = self.as_subclass(Tensor).clone().as_subclass(Shares)
        found.__dict__.update(self.__dict__)
        return found


ar.register_backend(Shares, "torch")
