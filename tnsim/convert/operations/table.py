"""Operations: the torch functions that have a polynomial form of their own, each with its translation.

All of them act on axes; a flat model has one. Where axes cannot be cut into common parts they raise ``Misfit``, and are
then carried out on flat values. What is not in this table goes two general ways:
:mod:`tnsim.convert.operations.general`.
"""

from collections.abc import Callable
from typing import Any

from tnsim.convert.operations.contractions import PRODUCTS
from tnsim.convert.operations.convolutions import CONVOLUTIONS
from tnsim.convert.operations.elementwise import ELEMENTWISE
from tnsim.convert.operations.moves import MOVES
from tnsim.convert.operations.sums import SUMS

__all__ = ["OPERATIONS"]

OPERATIONS: dict[str, Callable[..., Any]] = {**MOVES, **ELEMENTWISE, **SUMS, **PRODUCTS, **CONVOLUTIONS}
