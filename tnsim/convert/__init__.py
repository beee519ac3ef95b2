"""Where models come from: polynomial torch modules become networks."""

from tnsim.convert.conversion import convert
from tnsim.convert.errors import ConvertError
from tnsim.convert.rules import register

__all__ = ["ConvertError", "convert", "register"]
