"""What we ask: similarity, Gram matrices, attribution, and the baselines people use today."""

from tnsim.analysis.aligned import aligned_weight_cosine
from tnsim.analysis.attribution import attribute
from tnsim.analysis.baselines import linear_cka, output_cosine, weight_cosine
from tnsim.analysis.chance import Null, null
from tnsim.analysis.crossed import Crossed, layers
from tnsim.analysis.decompose import Decomposition, decompose
from tnsim.analysis.difference import difference
from tnsim.analysis.draws import draws
from tnsim.analysis.gram import Gram, gram
from tnsim.analysis.indices import cca, cka, procrustes
from tnsim.analysis.localise import Localisation, localise
from tnsim.analysis.modes import Group, Modes
from tnsim.analysis.orders import orders
from tnsim.analysis.parts import Shares
from tnsim.analysis.paths import Paths, paths
from tnsim.analysis.segment import Phases, segment
from tnsim.analysis.similarity import cost, inner, moments, similarity
from tnsim.analysis.spectrum import spectrum
from tnsim.analysis.stacked import stack
from tnsim.analysis.tangent import Tangent, entk, kernel_alignment
from tnsim.analysis.trajectory import Nearest, Trajectory, nearest, trajectory
from tnsim.analysis.truncate import Truncation, truncate, truncations
from tnsim.analysis.unfold import unfold

__all__ = [
    "Crossed",
    "Decomposition",
    "Gram",
    "Group",
    "Localisation",
    "Modes",
    "Nearest",
    "Null",
    "Paths",
    "Phases",
    "Shares",
    "Tangent",
    "Trajectory",
    "Truncation",
    "aligned_weight_cosine",
    "attribute",
    "cca",
    "cka",
    "cost",
    "decompose",
    "difference",
    "draws",
    "entk",
    "gram",
    "inner",
    "kernel_alignment",
    "layers",
    "linear_cka",
    "localise",
    "moments",
    "nearest",
    "null",
    "orders",
    "output_cosine",
    "paths",
    "procrustes",
    "segment",
    "similarity",
    "spectrum",
    "stack",
    "trajectory",
    "truncate",
    "truncations",
    "unfold",
    "weight_cosine",
]
