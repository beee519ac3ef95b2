"""What the input is: laws, as rules for closing input legs."""

from tnsim.measure.empirical import Empirical
from tnsim.measure.expect import expect, plan
from tnsim.measure.gaussian import Gaussian
from tnsim.measure.measure import Measure, MeasureError
from tnsim.measure.mixture import Mixture
from tnsim.measure.tensorial import Frobenius, Symmetric
from tnsim.measure.tokens import MarkovChain, Tokens

__all__ = [
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
