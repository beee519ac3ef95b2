"""Ranks: how many directions of every bond a model uses under a law."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import autoray as ar
import torch

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.polys.writing import concat, identity
from tnsim.analysis.asking.problem import (
    BUDGET,
    MEMORY,
    Method,
    Problem,
    has_cheaper,
    hidden_laws,
    law_for,
    priced,
)
from tnsim.analysis.asking.questions import question
from tnsim.analysis.asking.tensors import tensor
from tnsim.analysis.asking.units import in_units
from tnsim.analysis.bonds.places import HIDDEN, linear_map, place_at, split
from tnsim.analysis.compare.covariances import own_moment
from tnsim.common.notebook import Plotted
from tnsim.common.scaled import ScaleError
from tnsim.measure.laws.gaussian import Gaussian
from tnsim.measure.laws.tensorial import Frobenius, Symmetric
from tnsim.measure.pairings.measure import Measure, MeasureError

__all__ = ["Ranks", "ranks"]

_ROWS = 40  # that a text shows


@dataclass(frozen=True, eq=False)
class Ranks(Plotted):
    """Hard and effective rank of bonds: what :meth:`tnsim.Network.ranks` returns.

    Attributes:
        places: names of the bonds: a layer's is the one behind it, ``"layer.hidden"`` that of its hidden units.
        spectra: for every bond the eigenvalues of its covariance (or second moment) as shares of their sum, shape
            ``(n,)``, from large to small; zeros where nothing passes.
        exact: for every bond whether they are exact, or an approximation layer by layer.
        under: the law of the input.
        method: ``"layerwise"`` or ``"exact"``.
        centred: whether they are those of the covariance.

    Example:
        >>> import tnsim
        >>> net = tnsim.convert(tnsim.nn.BilinearMLP(6, 4, 8, 3, n_layer=1))
        >>> net.ranks().places
        ('embed', 'blocks.0.hidden', 'blocks.0', 'head')
    """

    places: tuple[str, ...]
    spectra: tuple[torch.Tensor, ...]
    exact: tuple[bool, ...]
    under: Measure
    method: Method
    centred: bool = True

    @property
    def widths(self) -> dict[str, int]:
        """How wide bonds are, by name."""
        return {place: len(p) for place, p in zip(self.places, self.spectra, strict=True)}

    @property
    def effective(self) -> dict[str, float]:
        """The exponential of the entropy of the shares, by name; 0 where nothing passes."""
        return {
            place: float(torch.exp(-torch.special.xlogy(p, p).sum())) if bool(p.any()) else 0.0
            for place, p in zip(self.places, self.spectra, strict=True)
        }

    def hard(self, tolerance: float = 1e-9) -> dict[str, int]:
        """How many eigenvalues exceed ``tolerance`` times the largest, by name; rounding is never counted."""
        return {
            place: int((p > tolerance * p.max()).sum())
            for place, p in zip(self.places, self.spectra, strict=True)
        }

    @property
    def headline(self) -> str:
        """Of what, under which law, and how."""
        what = "covariance" if self.centred else "second moment"
        sure, law = sum(self.exact), " ".join(repr(self.under).split())
        how = (
            f"layer by layer: exact for {sure} of {len(self.exact)} bonds"
            if sure < len(self.exact)
            else "exact"
        )
        return f"Ranks(of the {what}, {law}, {how})"

    def __repr__(self) -> str:
        hard, effective = self.hard(), self.effective
        wide = max(map(len, self.places))
        rows = [
            f"  {place:<{wide}}  {hard[place]:>4} of {width}, effective {effective[place]:.2f}"
            + "  (approximate)" * (not sure)
            for (place, width), sure in zip(self.widths.items(), self.exact, strict=True)
        ]
        left = len(rows) - _ROWS
        rows = rows[:_ROWS] + ([f"  … {left} more"] if left > 0 else [])
        return "\n".join([self.headline, *rows])


@question
def ranks(
    model: Network,
    *,
    at: str | Sequence[str] | None = None,
    under: Measure | None = None,
    method: Method = "layerwise",
    centred: bool = True,
    budget: float = BUDGET,
    memory: float = MEMORY,
) -> Ranks:
    """See :meth:`tnsim.Network.ranks`."""
    if model.models:
        raise ValueError("ranks are those of single models; pick one from the stack with net.pick(i).")
    if centred and isinstance(under, Symmetric | Frobenius):
        raise MeasureError(
            f"{under!r} compares tensors, which have no mean to subtract. Write centred=False, or use Gaussian()."
        )
    wanted = None if at is None else (at,) if isinstance(at, str) else tuple(at)
    net, places = _cut(model, wanted)
    (ready,), law, _ = in_units((net,), under, None, method)
    run = partial(_moments, ready, law, method, centred, tuple(depth for depth, _ in places.values()))
    found, sure = priced(
        run, f"ranks ({method})", budget, memory, method == "exact" and has_cheaper(under, method)
    )
    spectra = tuple(
        _shares(tensor(moment).detach(), tensor(mean).detach(), name, size)
        for (name, (_, size)), (moment, mean) in zip(places.items(), found, strict=True)
    )
    return Ranks(tuple(places), spectra, tuple(sure), Gaussian() if under is None else under, method, centred)


def _cut(net: Network, wanted: Sequence[str] | None) -> tuple[Network, dict[str, tuple[int, int]]]:
    """The network with layers split at hidden units that are asked for; and every place: layers below it, and its size."""
    for name in wanted or ():
        place_at(net, name)  # says what there is, if that is not
    layers: list[tuple[str, Poly]] = []
    places: dict[str, tuple[int, int]] = {}
    for name, f in net:
        units = name + HIDDEN
        if units not in net.names and (wanted is None or units in wanted):
            halves = _halves(f)
            if halves:
                layers.append((units, halves[0]))
                places[units] = len(layers), halves[2]
                f = halves[1]
        layers.append((name, f))
        places[name] = len(layers), prod(f.out_shape)
    if wanted is not None:
        ends = {"in": (0, prod(net.polys[0].in_shape)), "out": places[net.names[-1]]}
        places = {name: (ends | places)[name] for name in wanted}
    return replace(net, layers=tuple(layers[: max(1, *(k for k, _ in places.values()))])), places


def _halves(f: Poly) -> tuple[Poly, Poly, int] | None:
    """Hidden units (biases of their factors included), the rest and the number of units, of a layer that has such units."""
    if len(f.domain) > 1 or len(f.codomain) > 1:
        return None
    if f.units is None:
        try:
            return split(f)
        except ValueError:
            return None
    own = f.units.resolved()
    size, n = prod(own.products.out_shape), prod(f.in_shape)
    if own.rest is None:
        return own.products, own.read, size
    carried = concat([own.products, identity(f.domain, f.like)])
    eye = ar.do("eye", size + n, like=f.like)
    units, past = (linear_map(rows, carried.codomain) for rows in (eye[:size], eye[size:]))
    return carried, own.read @ units + own.rest @ past, size


def _moments(
    net: Network, law: Measure, method: Method, centred: bool, depths: Sequence[int]
) -> tuple[list[tuple[Any, Any]], list[bool]]:
    """For every depth the covariance (or second moment) of the state there with its mean, and whether it is exact."""
    like = net.polys[0].like
    start = Network((("in", identity(net.domain, like)),), net.in_shape)
    if method == "exact":
        problems = [Problem.of((net[:k] if k else start,), law, method) for k in depths]
        return [own_moment(p.factors[0], p.law, centred) for p in problems], [True] * len(depths)
    end = Network((*net.layers, ("end", identity(net.codomain, like))), net.in_shape, net.notes, net.ids)
    laws = [law_for((net,), law), *hidden_laws(end, law)]
    bent = _bent(net.polys, laws)
    states = [net.domain, *(f.codomain for f in net.polys)]
    found = [own_moment(identity(states[k], like), laws[k], centred) for k in depths]
    return found, [bent[k] <= 1 for k in depths]


def _bent(layers: Sequence[Poly], laws: Sequence[Measure]) -> list[int]:
    """How many of the layers below each place a law is not exactly known behind, once it is a stand-in before them.

    Means and covariances are exact behind the first such layer, whose input has the law itself, and affine ones after it.
    """
    counts = [0]
    for f, law in zip(layers, laws, strict=False):
        counts.append(counts[-1] + (f.degree > 1 and not law.carries((f,))))
    return counts


def _shares(moment: torch.Tensor, mean: torch.Tensor, name: str, size: int) -> torch.Tensor:
    """Eigenvalues from large to small, as shares of their sum; what rounding cannot tell from zero is zero."""
    n = round(moment.numel() ** 0.5)
    m = moment.reshape(n, n)[:size, :size]
    if not bool(m.isfinite().all()):
        raise ScaleError(f'the state at {name!r} overflows {m.dtype}. Convert with .to(dtype="float64").')
    values = torch.linalg.eigvalsh((m + m.T) / 2).flip(0)
    eps = torch.finfo(m.dtype).eps
    least = torch.maximum(16 * size * eps * values.abs().max(), (16 * eps * mean.norm()) ** 2)
    kept = torch.where(values > least, values, 0)
    return kept / kept.sum() if bool(kept.any()) else kept
