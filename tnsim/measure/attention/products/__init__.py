"""Which products meet, what is zero there, and the sums over both."""

__all__ = ()
