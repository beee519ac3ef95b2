"""Where a model can be cut, and what passes there."""

__all__ = ()
