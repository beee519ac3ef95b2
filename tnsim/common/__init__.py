"""What every room may use: names of indices, errors, checks of arguments, caches, whole files. It knows no network."""

__all__ = ()
