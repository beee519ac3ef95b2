"""What a model is: terms, polynomials, networks."""

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.stacking import stack
from tnsim.algebra.polys.poly import ComposeError, Poly
from tnsim.algebra.polys.rewriting import lift
from tnsim.algebra.polys.writing import concat, constant, identity, poly
from tnsim.algebra.terms.term import Term
from tnsim.common.caches import clear_cache
from tnsim.common.scaled import ScaleError
from tnsim.common.wires import WireError
from tnsim.engine.contract import Contraction
from tnsim.engine.costs import Cost, CostError

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
