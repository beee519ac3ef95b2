"""How alike models are."""

__all__ = ()
