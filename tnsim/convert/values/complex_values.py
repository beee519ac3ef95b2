"""Pairs: what complex tensors of a forward pass are, as values of real numbers."""

from dataclasses import dataclass

from tnsim.convert.values.value import Value

__all__ = ["Pairs"]


@dataclass(frozen=True)
class Pairs:
    """A complex tensor: real and imaginary parts along the last axis of a value."""

    value: Value

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the complex tensor in the traced batch."""
        return self.value.shape[:-1]

    def detached(self) -> "Pairs":
        """The same, a constant to autograd."""
        return Pairs(self.value.detached())
