"""Roots and norms: when they become whole powers, and what stands for them when they do not."""

__all__ = ()
