"""What we ask: similarity, Gram matrices, attribution, and the baselines people use today."""

from tnsim.analysis.attribution import attribute
from tnsim.analysis.baselines import linear_cka, output_cosine, weight_cosine
from tnsim.analysis.gram import Gram, gram
from tnsim.analysis.indices import cca, cka, procrustes
from tnsim.analysis.orders import orders
from tnsim.analysis.similarity import cost, inner, moments, similarity

__all__ = [
    "Gram",
    "attribute",
    "cca",
    "cka",
    "cost",
    "gram",
    "inner",
    "linear_cka",
    "moments",
    "orders",
    "output_cosine",
    "procrustes",
    "similarity",
    "weight_cosine",
]
