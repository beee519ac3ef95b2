"""What every question about models starts from: networks that fit together, and the law of their last layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import autoray as ar

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.normal import folded, gathered
from tnsim.algebra.networks.rescaling import absorb, rescale
from tnsim.algebra.polys.axes import is_local
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.polys.writing import identity
from tnsim.analysis.asking.given import Model, as_network, comparable, is_models, together
from tnsim.analysis.tracing.forms import reduced
from tnsim.analysis.tracing.recipes import answered
from tnsim.analysis.tracing.shapes import priced_by_shapes
from tnsim.common.delay import waiting
from tnsim.common.scaled import Scaled
from tnsim.engine.costs import Exceeded, capped, check_budget
from tnsim.measure.attention.products.linked import has_links
from tnsim.measure.laws.gaussian import Gaussian
from tnsim.measure.laws.known_tokens import check_tokens
from tnsim.measure.pairings.expectation import Keep, expect
from tnsim.measure.pairings.measure import Measure
from tnsim.measure.pairings.outputs import each_axis

__all__ = [
    "BUDGET",
    "CHEAPER",
    "MEMORY",
    "SMALLER",
    "Method",
    "Model",
    "Problem",
    "as_network",
    "comparable",
    "has_cheaper",
    "hidden_laws",
    "is_models",
    "law_for",
    "priced",
    "together",
]

Method = Literal["exact", "layerwise"]

BUDGET = 1e12  # flops: some twenty seconds on two cores
MEMORY = 4.0 * 2**30  # bytes of intermediate tensors

CHEAPER = 'Raise budget=, or use method="layerwise" (approximate).'
SMALLER = "Raise budget= or memory=, or compare fewer or smaller layers."


@dataclass(frozen=True, eq=False)
class Problem:
    """One or two models, reduced to a polynomial each and the law of what these read.

    Attributes:
        factors: one polynomial for every model.
        law: the (joint) law of their inputs.
        units: for every model the exponent e of a factor 2ᵉ in front of its polynomial, shape ``()`` or ``(m,)``;
            none if there are none.
        keep: what may be asked of products; of what is not asked for, the law may know nothing.
    """

    factors: tuple[Poly, ...]
    law: Measure
    units: tuple[Any, ...] = ()
    keep: Keep = "all"

    @classmethod
    def of(
        cls,
        nets: Sequence[Network],
        under: Measure | None,
        method: Method,
        known: Sequence[Sequence[Measure]] = (),
        keep: Keep = "all",
        exponents: Sequence[Any] = (),
        output: Any = None,
    ) -> "Problem":
        """Reduce models under a law.

        ``"exact"`` pushes the law through leading layers only where that is exact, then composes the rest.
        ``"layerwise"`` pushes it through all layers but the last, replacing every hidden state by the Gaussian
        of the same mean and covariance: exact for one layer, an approximation from two on.

        Args:
            nets: one or two networks.
            under: the law of the input.
            method: how.
            known: for every network the laws of its hidden states alone (:func:`hidden_laws`), if at hand.
            keep: what will be asked of products. Where it is ``"diagonal"`` or ``"sum"``, layer by layer only equal
                positions are needed of the layers behind the last attention, and others are left out.
            exponents: for every network that of a factor 2ᵉ in front of it (:func:`in_units`).
            output: one output, or a slice of them; all by default.

        Raises:
            ValueError: for an unknown method, or models of different depth layer by layer.
            MeasureError: if the law does not fit the models, or has no layer-by-layer rule.
            CostError: if an exact composition has too many terms.
            Exceeded: if it takes more than may be spent in every form.
        """
        if method not in ("exact", "layerwise"):
            raise ValueError(f'method is {method!r}; write "exact" or "layerwise".')
        law = law_for(nets, under)
        nets = [gathered(net) for net in nets]
        if method == "layerwise":
            if len({len(net) for net in nets}) > 1:
                names = " and ".join(str(list(net.names)) for net in nets)
                raise ValueError(
                    f"layer by layer needs models with the same number of layers; these have {names}. "
                    'Use method="exact".'
                )
            *steps, last = zip(*(net.polys for net in nets), strict=True)
            units: tuple[Any, ...] = ()
            for k, (layers, apart) in enumerate(zip(steps, _apart(nets, keep), strict=True)):
                law, units = _pushed(law, layers, units, [laws[k] for laws in known], apart)[1:]
            last, units = _rescaled(last, units)
            if units and exponents:
                units = tuple(a + b for a, b in zip(units, exponents, strict=True))
            return cls(*law.eased([_selected(f, output) for f in last]), units or tuple(exponents), keep)
        chains = [folded(net.polys) if law.within is not None else net.polys for net in nets]
        law, rest = _carried(law, chains)
        rest = [[*layers, _selected(last, output)] for *layers, last in rest]
        factors, law = law.centred([layers[0] for layers in rest])
        chains = [(f, *layers[1:]) for f, layers in zip(factors, rest, strict=True)]
        return cls(*reduced(chains, law), tuple(exponents))

    def product(self, i: int, j: int, keep: Keep, progress: bool = False) -> Scaled:
        """E[fᵢ ⊗ fⱼ], its mantissa in the models' own units: cosines are those of mantissas."""
        return self.products([(i, j)], keep, progress)[0]

    def products(self, asked: Sequence[tuple[int, int]], keep: Keep, progress: bool = False) -> list[Scaled]:
        """As :meth:`product`, for several pairs (i, j), i ≤ j: what they share is done once."""
        if keep == "all" and self.keep != "all":
            raise ValueError(f"this problem was reduced to what keep={self.keep!r} needs.")
        values = self.law.several(self.factors, asked, keep)
        if values is None:
            values = [
                expect((self.factors[i], self.factors[j]), self.law, keep, sides=(i, j), progress=progress)
                for i, j in asked
            ]
        return [Scaled(x, self.exponent(i, j)) for x, (i, j) in zip(values, asked, strict=True)]

    def exponent(self, i: int, j: int) -> Any:
        """The units of a product of two models: a run axis for every model that has one."""
        if not self.units:
            return 0.0
        mine, other = self.units[i], self.units[j]
        apart = i != j and ar.ndim(mine) and ar.ndim(other)
        return mine[:, None] + other[None, :] if apart else mine + other


def hidden_laws(net: Network, under: Measure | None, keep: Keep = "all") -> list[Measure]:
    """The laws of a network's hidden states, layer by layer: what all pairs with this network have in common.

    Args:
        net: a network.
        under: the law of the input.
        keep: what will be asked of products, as in :meth:`Problem.of`.
    """
    law = law_for([net], under)
    net = gathered(net)
    laws = []
    units: tuple[Any, ...] = ()
    for f, apart in zip(net.polys[:-1], _apart([net], keep), strict=True):
        alone, law, units = _pushed(law, (f,), units, (), apart)
        laws.append(alone)
    return laws


def _pushed(
    law: Measure, layers: Sequence[Poly], units: Sequence[Any], known: Sequence[Measure], apart: Sequence[int]
) -> tuple[Measure, Measure, tuple[Any, ...]]:
    """The law behind a layer, as it is and in units of its size, and these units."""
    layers, units = _rescaled(layers, units)
    law = law.push(layers, known, apart)
    own, more = law.normalised()
    return law, own, tuple(a + b for a, b in zip(units, more, strict=True)) if units else more


def _apart(nets: Sequence[Network], keep: Keep) -> list[tuple[int, ...]]:
    """For every hidden state the axes along which only equal places are read from there on."""
    layers = list(zip(*(net.polys for net in nets), strict=True))
    kept = each_axis(keep, len(nets[0].polys[-1].codomain))
    axes = {k for k, way in enumerate(kept) if way != "all"}
    found = []
    for behind in layers[:0:-1]:
        axes = {k for k in axes if all(is_local(f, k) for f in behind)}
        found.append(tuple(sorted(axes)))
    return found[::-1]


def _rescaled(layers: Sequence[Poly], units: Sequence[Any]) -> tuple[tuple[Poly, ...], tuple[Any, ...]]:
    """Layers that read their input in the given units, and the units of their output."""
    if not units:
        return tuple(layers), ()
    pairs = [(absorb if has_links(f) else rescale)(f, e) for f, e in zip(layers, units, strict=True)]
    return tuple(f for f, _ in pairs), tuple(e for _, e in pairs)


def _carried(law: Measure, given: Sequence[Sequence[Poly]]) -> tuple[Measure, list[list[Poly]]]:
    """Push the law through leading layers as long as that is exact; what is left of every model."""
    rest = [list(layers) for layers in given]
    here = [identity(layers[0].domain, layers[0].like) for layers in given]
    while True:
        go = [bool(layers) and law.carries((layers[0],)) for layers in rest]
        if not any(go):
            return law, [layers or [stay] for layers, stay in zip(rest, here, strict=True)]
        steps = [layers.pop(0) if g else stay for g, layers, stay in zip(go, rest, here, strict=True)]
        law = law.push(steps)
        here = [identity(f.codomain, f.like) for f in steps]


def _selected(f: Poly, output: Any) -> Poly:
    """One output, or a slice of them."""
    return f if output is None else f[output]


def has_cheaper(under: Measure | None, method: Method) -> bool:
    """Whether there is a cheaper, approximate method for a law."""
    return method == "exact" and (under is None or isinstance(under, Gaussian))


def law_for(nets: Sequence[Network], under: Measure | None) -> Measure:
    """The law of the input, with arrays as the models'; the standard normal by default.

    Raises:
        MeasureError: if it is none of the models' inputs, or has token ids that one of them does not know.
    """
    law = (Gaussian() if under is None else under).bound(nets[0].domain, nets[0].polys[0].like)
    for net in nets:
        check_tokens(under, law, net.ids)
    return law


def priced(
    run: Callable[..., Any],
    what: str,
    budget: float,
    memory: float,
    cheaper: bool,
    given: Sequence[Any] | None = None,
    progress: bool = True,
) -> Any:
    """Price ``run(*given)`` first, refuse it if it is too dear, then compute it.

    Args:
        run: what to compute.
        what: its name, for the message.
        budget: flops that may be spent.
        memory: bytes that intermediate tensors may take. A contraction that takes more is sliced, if it can be.
        cheaper: whether there is a cheaper, approximate method.
        given: networks, laws and options, if ``run`` is a function of these alone, defined once. What is to be done
            is then kept for models of the same structure (:mod:`tnsim.analysis.tracing.recipes`).
        progress: show a bar where it takes more than two seconds.

    Raises:
        CostError: with the price and what to do instead.
    """
    instead = CHEAPER if cheaper else SMALLER
    with capped(memory):
        try:
            found, arrays = (None, None) if given is None else answered(run, given, budget, progress)
            cost = priced_by_shapes(run, budget)[0] if found is None else found.cost
        except Exceeded as error:
            check_budget(error.cost, budget, memory, what, instead)
            raise
        check_budget(cost, budget, memory, what, instead)
        if given is not None and found is not None:
            return found.of(given, arrays, progress)
        with waiting(what, progress=progress):
            return run()
