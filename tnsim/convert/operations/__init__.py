"""What every operation does to values."""

__all__ = ()
