"""Many models: their matrix of inner products, and the file it is kept in."""

__all__ = ()
