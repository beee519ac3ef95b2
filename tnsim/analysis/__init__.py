"""What we ask: similarity, Gram matrices, attribution, and the baselines people use today."""

from tnsim.analysis.attribution import attribute
from tnsim.analysis.baselines import linear_cka, output_cosine, weight_cosine
from tnsim.analysis.gram import Gram, gram
from tnsim.analysis.similarity import cost, inner, moments, similarity

__all__ = [
    "Gram",
    "attribute",
    "cost",
    "gram",
    "inner",
    "linear_cka",
    "moments",
    "output_cosine",
    "similarity",
    "weight_cosine",
]
