"""Terms as products of links, and the moments of their ends."""

__all__ = ()
