"""A question thought through once for every structure: its operations, shapes and price."""

__all__ = ()
