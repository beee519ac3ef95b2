"""The module as its user wrote it: copied, never touched; its weights, its output, rules for it, errors about it."""

__all__ = ()
