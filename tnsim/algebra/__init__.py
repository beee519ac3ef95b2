"""What a model is: terms, polynomials, networks."""

from tnsim.algebra.build import concat, constant, identity, poly
from tnsim.algebra.caches import clear_cache
from tnsim.algebra.contract import Contraction
from tnsim.algebra.network import Network
from tnsim.algebra.poly import ComposeError, Poly
from tnsim.algebra.price import Cost, CostError
from tnsim.algebra.rewrite import lift
from tnsim.algebra.scaled import ScaleError
from tnsim.algebra.stacking import stack
from tnsim.algebra.term import Term
from tnsim.algebra.wires import WireError

__all__ = [
    "ComposeError",
    "Contraction",
    "Cost",
    "CostError",
    "Network",
    "Poly",
    "ScaleError",
    "Term",
    "WireError",
    "clear_cache",
    "concat",
    "constant",
    "identity",
    "lift",
    "poly",
    "stack",
]
