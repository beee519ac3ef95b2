"""What we ask: similarity, Gram matrices, attribution, and the baselines people use today."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tnsim.analysis.asking.common_draws import draws
from tnsim.analysis.asking.stacked import stack
from tnsim.analysis.bonds.bond_ranks import Ranks
from tnsim.analysis.change.attribution import attribute
from tnsim.analysis.change.localisation import Localisation, localise
from tnsim.analysis.change.phases import Phases, segment
from tnsim.analysis.change.trajectories import Nearest, Trajectory, nearest, trajectory
from tnsim.analysis.compare.aligned import aligned_weight_cosine
from tnsim.analysis.compare.baselines import linear_cka, output_cosine, weight_cosine
from tnsim.analysis.compare.chance import Null, null
from tnsim.analysis.compare.compositions import Paths, paths
from tnsim.analysis.compare.crossed import Crossed, layers
from tnsim.analysis.compare.degrees import orders
from tnsim.analysis.compare.differences import difference
from tnsim.analysis.compare.explanation import Explanation, explain
from tnsim.analysis.compare.indices import cca, cka, procrustes
from tnsim.analysis.compare.similarities import cost, inner, moments, similarity
from tnsim.analysis.explain.modes import Group, Modes
from tnsim.analysis.explain.named_shares import Shares
from tnsim.analysis.explain.spectra import spectrum
from tnsim.analysis.explain.tangent import Tangent, entk, kernel_alignment
from tnsim.analysis.explain.truncation import Truncation, truncate, truncations
from tnsim.analysis.explain.unfolding import unfold
from tnsim.analysis.grams.grams import Gram, gram
from tnsim.analysis.grams.workers import WorkerError
from tnsim.common.extras import needing

if TYPE_CHECKING:
    from tnsim.analysis.explain.decompositions import Decomposition, decompose

_DECOMPOSED = ("Decomposition", "decompose")  # loaded when first asked for: tensorly is an extra


def __getattr__(name: str) -> Any:
    if name in _DECOMPOSED:
        with needing("decompose"):
            return getattr(import_module("tnsim.analysis.explain.decompositions"), name)
    raise AttributeError(f"module 'tnsim.analysis' has no attribute {name!r}")


__all__ = [
    "Crossed",
    "Decomposition",
    "Explanation",
    "Gram",
    "Group",
    "Localisation",
    "Modes",
    "Nearest",
    "Null",
    "Paths",
    "Phases",
    "Ranks",
    "Shares",
    "Tangent",
    "Trajectory",
    "Truncation",
    "WorkerError",
    "aligned_weight_cosine",
    "attribute",
    "cca",
    "cka",
    "cost",
    "decompose",
    "difference",
    "draws",
    "entk",
    "explain",
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
