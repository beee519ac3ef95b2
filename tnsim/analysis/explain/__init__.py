"""What one model does: its modes, cuts and decompositions, and smaller models."""

__all__ = ()
