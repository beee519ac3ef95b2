"""The check every model makes of its sizes."""

__all__ = ["check_sizes"]


def check_sizes(model: str, **sizes: int) -> None:
    """Raise unless every size is a positive integer.

    Args:
        model: name of the model, for the message.
        **sizes: the sizes by name.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is zero or negative.
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{model}: {name}={size!r} is not an integer; write for instance {name}=64.")
        if size < 1:
            raise ValueError(f"{model}: {name}={size} is not positive; write {name}=1 or more.")
