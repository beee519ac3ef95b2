"""Token ids, and the tables that read them."""

__all__ = ()
