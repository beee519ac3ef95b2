"""How a law is stood in for: draws that suit the models asked about, and the error of what is asked of them."""

from tnsim.sampling.estimate import Estimate, SamplingError

__all__ = ["Estimate", "SamplingError"]
