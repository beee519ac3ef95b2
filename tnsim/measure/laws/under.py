"""Under: which law of the input is meant."""

from typing import Any

from tnsim.common.border import shown
from tnsim.measure.pairings.measure import Measure

__all__ = ["law"]

_FIELDS = {"Empirical": "x", "Mixture": "[...]", "Tokens": "p", "MarkovChain": "p0, P"}


def law(name: str, value: Any) -> Any:
    """The law of the input.

    Raises:
        TypeError: for anything else; it says what to write.
    """
    if value is None or isinstance(value, Measure):
        return value
    if isinstance(value, type) and issubclass(value, Measure):
        call = f"tnsim.{value.__name__}({_FIELDS.get(value.__name__, '')})"
        raise TypeError(f"{name} is the class {value.__name__}; write one of its laws, {name}={call}.")
    if isinstance(getattr(value, "shape", None), tuple):
        raise TypeError(
            f"{name} is {shown(value)}; for samples of the input write {name}=tnsim.Empirical(x)."
        )
    if isinstance(value, list | tuple) and value and all(isinstance(x, Measure) for x in value):
        raise TypeError(
            f"{name} is a list of laws; write {name}=tnsim.Mixture([...]) for one of them by chance."
        )
    raise TypeError(
        f"{name} is {shown(value)}; write a law of the input, such as {name}=tnsim.Gaussian(), or leave it out."
    )
