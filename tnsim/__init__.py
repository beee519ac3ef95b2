"""tnsim: neural networks as tensor networks.

Convert a trained model whose layers are polynomial, draw it, compare it with others as a function on all
inputs, and say where two models differ; from the weights alone.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tnsim.common.extras import needing
from tnsim.common.methods import modules_by, ranks_by
from tnsim.common.notebook import shown_by

if TYPE_CHECKING:
    from tnsim import lab, nn, view

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
        Decomposition,
        Explanation,
        Gram,
        Group,
        Localisation,
        Modes,
        Nearest,
        Null,
        Paths,
        Phases,
        Ranks,
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
        decompose,
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
    from tnsim.view import curves, draw, heatmap, heatmaps, image, report, scree

__version__ = "0.1.0"

# Nothing is loaded before a name is first asked for: torch and quimb take seconds, and so do we. Then all that questions
# need is, so that none of them waits for it later.
_ROOMS = ("algebra", "analysis", "common", "disk", "engine", "lab", "measure", "nn", "sampling", "view")
_OFFERING = (
    "analysis",
    "convert",
    "disk",
    "sampling",
    "measure",
    "algebra",
)  # the outermost first: it checks more
_PICTURES = ("curves", "draw", "heatmap", "heatmaps", "image", "report", "scree")


def _loaded(module: str, extra: str) -> Any:
    with needing(extra):
        return import_module(module)


shown_by(lambda: _loaded("tnsim.view.results", "view"))
modules_by(lambda: import_module("tnsim.convert.layers.network_module").NetworkModule)
ranks_by(lambda: import_module("tnsim.analysis.bonds.bond_ranks").ranks)


def __getattr__(name: str) -> Any:
    if name not in __all__ and name not in _ROOMS:
        raise AttributeError(f"module 'tnsim' has no attribute {name!r}")
    rooms = [import_module(f"tnsim.{room}") for room in _OFFERING]
    if name in _ROOMS:
        return _loaded(f"tnsim.{name}", name)
    if name in _PICTURES:
        return getattr(_loaded("tnsim.view", "view"), name)
    value = globals()[name] = next(getattr(room, name) for room in rooms if name in room.__all__)
    return value


def __dir__() -> list[str]:
    return __all__


class _Names(ModuleType):
    """``tnsim.convert`` is the function: the room of that name does not take its place when it is loaded."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ROOMS or not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Names

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
    "Ranks",
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
    "report",
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
