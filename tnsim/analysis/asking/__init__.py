"""What every question starts from: arguments, networks brought together, sizes, draws."""

__all__ = ()
