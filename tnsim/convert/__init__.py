"""Where models come from: polynomial torch modules become networks."""

from tnsim.convert.layers.conversion import convert
from tnsim.convert.module.errors import ConvertError
from tnsim.convert.module.rules import register

__all__ = ["ConvertError", "convert", "register"]
