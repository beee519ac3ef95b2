"""What the input is: laws, as rules for closing input legs."""

from tnsim.measure.laws.empirical import Empirical
from tnsim.measure.laws.gaussian import Gaussian
from tnsim.measure.laws.mixture import Mixture
from tnsim.measure.laws.tensorial import Frobenius, Symmetric
from tnsim.measure.laws.token_laws import MarkovChain, Tokens
from tnsim.measure.pairings.expectation import expect, plan
from tnsim.measure.pairings.measure import Closure, Measure, MeasureError

__all__ = [
    "Closure",
    "Empirical",
    "Frobenius",
    "Gaussian",
    "MarkovChain",
    "Measure",
    "MeasureError",
    "Mixture",
    "Symmetric",
    "Tokens",
    "expect",
    "plan",
]
