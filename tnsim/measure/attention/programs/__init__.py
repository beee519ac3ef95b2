"""Arithmetic of batches of small matrices, written down once and run in one stretch of memory."""

__all__ = ()
