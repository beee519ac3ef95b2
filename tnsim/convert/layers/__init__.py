"""From a recorded pass to a checked network: cut, evaluated, assembled, compared."""

__all__ = ()
