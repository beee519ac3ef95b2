"""What changed between models: shares, places, phases of a run."""

__all__ = ()
