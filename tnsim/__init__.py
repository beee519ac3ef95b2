"""tnsim: neural networks as tensor networks.

Convert a trained model whose layers are polynomial, draw it, compare it with others as a function on all
inputs, and say where two models differ; from the weights alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tnsim import analysis, nn

# what a model is
from tnsim.algebra import (
    ComposeError,
    Cost,
    CostError,
    Network,
    Poly,
    ScaleError,
    Term,
    WireError,
    clear_cache,
    identity,
    lift,
    poly,
)

# what we ask
from tnsim.analysis import (
    Crossed,
    Explanation,
    Gram,
    Group,
    Localisation,
    Modes,
    Nearest,
    Null,
    Paths,
    Phases,
    Shares,
    Tangent,
    Trajectory,
    Truncation,
    WorkerError,
    aligned_weight_cosine,
    attribute,
    cca,
    cka,
    cost,
    difference,
    draws,
    entk,
    explain,
    gram,
    inner,
    kernel_alignment,
    layers,
    linear_cka,
    localise,
    moments,
    nearest,
    null,
    orders,
    output_cosine,
    paths,
    procrustes,
    segment,
    similarity,
    spectrum,
    stack,
    trajectory,
    truncate,
    truncations,
    unfold,
    weight_cosine,
)
from tnsim.common.extras import needing
from tnsim.common.notebook import shown_by

# where models come from
from tnsim.convert import ConvertError, convert
from tnsim.disk import Checkpoints, NetworkFileError, checkpoints, load, load_network, save

# what the input is
from tnsim.measure import (
    Empirical,
    Frobenius,
    Gaussian,
    MarkovChain,
    Measure,
    MeasureError,
    Mixture,
    Symmetric,
    Tokens,
)

# how a law is stood in for
from tnsim.sampling import Estimate, SamplingError

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tnsim import lab, view
    from tnsim.analysis import Decomposition, decompose
    from tnsim.view import curves, draw, heatmap, heatmaps, image, scree

# what we see, and what we train: loaded when first asked for, since matplotlib and scikit-learn are large
_PICTURES = ("curves", "draw", "heatmap", "heatmaps", "image", "scree")
_ROOMS = ("lab", "view")


_DECOMPOSED = ("Decomposition", "decompose")


def _loaded(module: str, extra: str) -> Any:
    with needing(extra):
        return import_module(module)


shown_by(lambda: _loaded("tnsim.view.results", "view"))


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return _loaded(f"tnsim.{name}", name)
    if name in _PICTURES:
        return getattr(_loaded("tnsim.view", "view"), name)
    if name in _DECOMPOSED:
        return getattr(analysis, name)
    raise AttributeError(f"module 'tnsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "Checkpoints",
    "ComposeError",
    "ConvertError",
    "Cost",
    "CostError",
    "Crossed",
    "Decomposition",
    "Empirical",
    "Estimate",
    "Explanation",
    "Frobenius",
    "Gaussian",
    "Gram",
    "Group",
    "Localisation",
    "MarkovChain",
    "Measure",
    "MeasureError",
    "Mixture",
    "Modes",
    "Nearest",
    "Network",
    "NetworkFileError",
    "Null",
    "Paths",
    "Phases",
    "Poly",
    "SamplingError",
    "ScaleError",
    "Shares",
    "Symmetric",
    "Tangent",
    "Term",
    "Tokens",
    "Trajectory",
    "Truncation",
    "WireError",
    "WorkerError",
    "aligned_weight_cosine",
    "attribute",
    "cca",
    "checkpoints",
    "cka",
    "clear_cache",
    "convert",
    "cost",
    "curves",
    "decompose",
    "difference",
    "draw",
    "draws",
    "entk",
    "explain",
    "gram",
    "heatmap",
    "heatmaps",
    "identity",
    "image",
    "inner",
    "kernel_alignment",
    "lab",
    "layers",
    "lift",
    "linear_cka",
    "load",
    "load_network",
    "localise",
    "moments",
    "nearest",
    "nn",
    "null",
    "orders",
    "output_cosine",
    "paths",
    "poly",
    "procrustes",
    "save",
    "scree",
    "segment",
    "similarity",
    "spectrum",
    "stack",
    "trajectory",
    "truncate",
    "truncations",
    "unfold",
    "view",
    "weight_cosine",
]
