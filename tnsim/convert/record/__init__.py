"""A forward pass, written down operation by operation."""

__all__ = ()
