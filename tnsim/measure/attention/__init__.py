"""Rule three: terms that are products of small links, summed over all closures at once."""

__all__ = ()
