"""The laws of the input, one file each, and what their parameters are made from."""

__all__ = ()
