"""Output: which tensor of what forward returns is the result."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from tnsim.convert.module.errors import ConvertError

__all__ = ["Output", "chosen"]

Output = str | int | Callable[[Any], Tensor] | None


def chosen(returned: Any, output: Output, kind: str) -> Tensor:
    """One tensor of what forward returned.

    Args:
        returned: a tensor; or a dictionary, a tuple, or an object with attributes, of tensors.
        output: the key or attribute, the number, or a function of ``returned``; ``None`` where it is a tensor.
        kind: the name of the module's class.

    Raises:
        ConvertError: if there is no such tensor.
    """
    found = returned
    if callable(output):
        found = output(returned)
    elif output is not None:
        try:
            by_name = isinstance(output, str) and not isinstance(returned, Mapping)
            found = getattr(returned, str(output)) if by_name else returned[output]
        except (AttributeError, KeyError, IndexError, TypeError):
            raise ConvertError(
                f"{kind}.forward returns a {type(returned).__name__} without output={output!r}{_offered(returned)}."
            ) from None
    if isinstance(found, Tensor):
        return found
    what = f"output={output!r} of {kind}.forward is" if output is not None else f"{kind}.forward returns"
    raise ConvertError(
        f"{what} a {type(found).__name__}; a network has one output. Say which tensor it is with output=, a name, a "
        f'number or a function, such as convert(model, example, output="logits"){_offered(found)}; or wrap the module in '
        "one that returns a single tensor."
    )


def _offered(returned: Any) -> str:
    """The names and numbers under which there are tensors."""
    if isinstance(returned, Mapping):
        items = list(returned.items())
    elif isinstance(returned, tuple) and hasattr(returned, "_fields"):
        items = list(zip(returned._fields, returned, strict=True))
    elif isinstance(returned, tuple | list):
        items = list(enumerate(returned))
    elif dataclasses.is_dataclass(returned):
        items = [(field.name, getattr(returned, field.name)) for field in dataclasses.fields(returned)]
    else:
        items = list(getattr(returned, "__dict__", {}).items())
    names = [repr(name) for name, value in items if isinstance(value, Tensor)]
    return f" (there are {', '.join(names)})" if names else ""
