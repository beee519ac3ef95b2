"""A Gram matrix from draws: all models are evaluated on the same ones, and finished rounds are kept."""

import os
from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from tnsim.algebra.networks.network import Network
from tnsim.analysis.asking.sampled import Models, Options
from tnsim.analysis.asking.statistics import gram_of
from tnsim.analysis.grams.fingerprints import fingerprint
from tnsim.analysis.grams.matrix import Gram
from tnsim.analysis.grams.resume import Layout, Saved
from tnsim.measure.laws.gaussian import Gaussian
from tnsim.sampling.jackknife import Replicates
from tnsim.sampling.run import Seen, Store

__all__ = ["sampled_gram"]

_ROUNDS = 24  # of which each has as many draws as all before


def sampled_gram(
    nets: Sequence[Network],
    labels: tuple[Any, ...],
    slices: bool,
    options: Options,
    checkpoint: str | os.PathLike[str] | None,
) -> Gram:
    """Inner products of models from draws; arguments as of :func:`tnsim.gram`.

    Raises:
        SamplingError: if the error asked for cannot be had, or not be trusted.
    """
    if any(net.models for net in nets):
        raise ValueError("error= is for a list of single models.")
    models = Models(nets, options.under, options.output, options.seed, narrow=not slices)
    asked, law = gram_of(slices), Gaussian() if options.under is None else options.under
    source = models.source(options.memory) if options.fresh else None
    count = 32 if source is None else source.replicates
    key = "" if checkpoint is None else fingerprint(nets, law, "sampled", slices, options.seed)
    outputs = prod(nets[0].polys[-1].out_shape) if slices else 1
    shapes = {
        "products": ((count, outputs, len(nets), len(nets)), nets[0].dtype),
        "weights": ((count,), "float64"),
        "seen": ((4, len(nets)), "float64"),
    }
    layout: Layout = {f"{k}": shapes for k in range(_ROUNDS)}
    with Saved(checkpoint, key, layout) as saved:
        run = models.run(options.asked(*asked.asked), _Kept(saved, nets[0].polys[0].like), source)
    like = run.parts.sums[0]
    units = torch.tensor(models.exponents, dtype=like.dtype, device=like.device)
    return Gram(run.parts.means()[0], labels, law, "sampled", slices, units, drawn=run)


class _Kept(Store):
    """Rounds in a file."""

    def __init__(self, saved: Saved, like: torch.Tensor):
        self._saved, self._like = saved, like

    def get(self, number: int) -> tuple[Replicates, Seen] | None:
        """A round that was kept."""
        kept = self._saved.get(f"{number}")
        if kept is None:
            return None
        sums, squares, largest, count = kept["seen"].double()
        parts = Replicates((kept["products"].to(self._like),), kept["weights"].double())
        return parts, Seen(sums, squares, largest, int(count[0]))

    def put(self, number: int, parts: Replicates, seen: Seen) -> None:
        """Keep a round."""
        if number < _ROUNDS:
            count = torch.full_like(seen.sums, seen.count)
            table = torch.stack([seen.sums, seen.squares, seen.largest, count])
            self._saved.put(f"{number}", {"products": parts.sums[0], "weights": parts.weights, "seen": table})
