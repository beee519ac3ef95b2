"""How numbers are made: contraction paths, what they cost, slicing, and operations replayed for other arrays."""

__all__ = ()
