"""Absent: errors of what is asked for and not there. Also values that are wrong, for who asks a question with them."""

__all__ = ["OutputError", "PlaceError"]


class OutputError(IndexError, ValueError):
    """A model has no such output."""


class PlaceError(KeyError, ValueError):
    """A network has no such place."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
