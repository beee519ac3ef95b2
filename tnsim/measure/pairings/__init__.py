"""Rule one: list the ways of closing legs, up to exchanges that change nothing, and contract each."""

__all__ = ()
