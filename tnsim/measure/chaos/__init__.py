"""Rule two: carry the exact law of a hidden state through layers, order by order."""

__all__ = ()
