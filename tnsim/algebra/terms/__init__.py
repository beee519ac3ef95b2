"""One multilinear map, and sums of them."""

__all__ = ()
