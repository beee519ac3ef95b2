"""Site: what the conversion of one operation may ask about its place."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

from torch import Tensor

from tnsim.common.wires import constant_role
from tnsim.convert.module.weights import Weights
from tnsim.convert.record.trace import Recorded, Trace

__all__ = ["Site"]


@dataclass(frozen=True)
class Site:
    """One recorded operation, with the names and roles of the constants it reads.

    Attributes:
        step: the operation.
        trace: the forward pass it belongs to.
        weights: the weights of the module.
    """

    step: Recorded
    trace: Trace
    weights: Weights

    def role(self, *constants: Any) -> str:
        """The role of the first parameter among the constants; without one that of a buffer, or the operation's name.

        These two are of constants; see :func:`tnsim.algebra.wires.constant_role`.
        """
        names = [n for c in constants if isinstance(c, Tensor) for n in self.trace.origins.get(id(c), ())]
        trained = [n for n in names if n in self.weights.parameters]
        if trained:
            return self.weights.roles[trained[0]]
        return constant_role(self.weights.roles[names[0]] if names else self.step.op)

    def plain(self, c: Any) -> Any:
        """A constant of one entry that is no weight, as a number."""
        if not isinstance(c, Tensor) or c.dim() or c.requires_grad or self.trace.origins.get(id(c)):
            return c
        number = c.item()
        return number if isinstance(number, Real) else c

    def adopt(self, c: Tensor, *parents: Any) -> Tensor:
        """A new constant, remembered to come from the same weights as its parents."""
        names = (n for p in parents if isinstance(p, Tensor) for n in self.trace.origins.get(id(p), ()))
        self.trace.alive.append(c)
        self.trace.origins[id(c)] = tuple(dict.fromkeys(names))
        return c
