"""Where the difference of two models is: exact splits of the squared distance."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from math import prod
from typing import Any, Literal, cast

import autoray as ar
import torch

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.rewriting import star
from tnsim.analysis.asking.problem import (
    BUDGET,
    MEMORY,
    Method,
    Model,
    comparable,
    has_cheaper,
    law_for,
    priced,
)
from tnsim.analysis.asking.questions import question
from tnsim.analysis.asking.sampled import Options
from tnsim.analysis.asking.units import in_units
from tnsim.analysis.change.changes import sampled_shares
from tnsim.analysis.change.head_gains import head_gained, heads
from tnsim.analysis.explain.modes import Modes
from tnsim.analysis.explain.named_shares import Shares
from tnsim.analysis.explain.shares import blended, gained, integrated, mixed, rule, squared, unit_gained
from tnsim.common.scaled import Scaled
from tnsim.common.wires import MODEL
from tnsim.measure.laws.mixture import Mixture
from tnsim.measure.laws.token_pairs import JointTokens
from tnsim.measure.pairings.measure import Measure

__all__ = ["attribute"]

Array = Any
To = Literal["outputs", "inputs", "directions", "layers", "hidden", "heads"]


@question
def attribute(
    a: Model,
    b: Model,
    *,
    to: To = "outputs",
    output: Any = None,
    layer: str | None = None,
    under: Measure | None = None,
    method: Method = "exact",
    budget: float = BUDGET,
    memory: float = MEMORY,
    error: float | None = None,
    seed: int = 0,
) -> Any:
    """Split the squared distance ‖a − b‖² = ⟨a,a⟩ − 2⟨a,b⟩ + ⟨b,b⟩ over parts of the models. Exact.

    ============== ================================== =======================================
    ``to=``        shares of                          they add up to
    ============== ================================== =======================================
    "outputs"      every output                       ‖a − b‖²
    "inputs"       every input                        ‖a − b‖² − ‖a(0) − b(0)‖²
    "directions"   orthonormal input directions       the same
    "layers"       every layer                        ‖a − b‖²
    "hidden"       every hidden unit of one ``layer`` ‖a − b‖² − ‖a₀ − b₀‖², both without them
    "heads"        every head of one ``layer``        the same
    ============== ================================== =======================================

    All but the first are Aumann–Shapley splits. Put a gain g_i on every part; the squared distance is then a
    polynomial E(g), and part i gets ∫₀¹ ∂E/∂g_i (s, …, s) ds. By the fundamental theorem of calculus the shares
    add up to E(1) − E(0). The integral is evaluated exactly by Gauss–Legendre quadrature, with one node where E is
    homogeneous of degree n (Euler: g_i ∂E/∂g_i / n).

    * inputs: a and b both read g_i x_i. E(0) is the distance of two constants, zero without biases.
    * directions: both read Gx for a matrix G. The eigenvectors v of the symmetric part of the matrix
      S = ∫ ∂E/∂G (s·1) ds are orthonormal directions, and vᵀSv is the share of the input along v. Single inputs have
      the shares S_ii.
    * layers: layer k goes from a's to b's as a function, (1 − g_k) a_k + g_k b_k, and E(g) = ‖h_g − a‖² for the
      network h_g of these layers, from h_0 = a to h_1 = b. It does not depend on how a layer's hidden units are
      ordered or scaled. Starting from b gives other shares of the same sum.
    * hidden: unit i of both models' layer has gain g_i, so the two must be matched, as two checkpoints are. A unit is
      one output of the product that the layer is made from, the biases of its factors included. Of a layer that was
      written down term by term it is one of its one term of products.
    * heads: head i of both models' attention layer has gain g_i, matched likewise; a bias of its output is in a₀.

    A share is negative where a part makes the two models more alike.

    Args:
        a: a torch module or a Network.
        b: another with the same inputs and outputs; for layers and hidden units also with the same layers.
        to: what to split over.
        output: the output (or slice of outputs) whose distance is split; all by default.
        layer: with ``to="hidden"`` or ``"heads"``: whose, by name; by default the only layer that has some.
        under: the law of the input; the standard normal by default.
        method: ``"exact"`` or ``"layerwise"`` (approximate from two layers on).
        budget: flops that may be spent. Layers cost as many squared distances as the degree of the model in all its
            layers, those of models with twice the hidden units.
        memory: bytes that intermediate tensors may take.
        error: a standard error that will do, as a share of ‖a − b‖². Then the answer is an :class:`Estimate`, whose value
            is the split: exact where the price is within the budget, else from draws. Not for directions.
        seed: of the draws.

    Returns:
        :class:`Shares`, a tensor that knows the names of its parts, in the shape of one output, of one input,
        ``(layers,)`` in the order of ``tnsim.convert(a).names``, ``(units,)`` or ``(heads,)``; for directions
        :class:`Modes`, whose values are the shares.

    Raises:
        CostError: if it would take more than the budget.
        ScaleError: if shares do not fit into the dtype.
        ValueError: if the models do not fit together for this question.

    References:
        Aumann and Shapley, Values of Non-Atomic Games (1974), for the squared distance as a function of gains.

    Example:
        >>> import torch, tnsim
        >>> a, b = tnsim.nn.BilinearLayer(4, 8, 3), tnsim.nn.BilinearLayer(4, 8, 3)
        >>> shares = tnsim.attribute(a, b, to="outputs")
        >>> [part for part, _ in shares.top(1)] == [int(shares.argmax())]
        True
        >>> bool(torch.isclose(shares.sum(), tnsim.attribute(a, b, to="inputs").sum()))
        True
        >>> tnsim.attribute(a, b, to="hidden").shape
        torch.Size([8])
    """
    nets = comparable(a, b)
    if any(net.models for net in nets):
        raise ValueError(
            "a difference is split for two single models; pick them from the stack with net.pick(i)."
        )
    if layer is not None and to not in ("hidden", "heads"):
        raise ValueError('layer= goes with to="hidden" or to="heads".')
    if error is not None:
        if to == "directions":
            raise ValueError(
                'error= goes with the other splits; directions turn with the draws. Write to="inputs".'
            )
        split = partial(attribute, to=to, output=output, layer=layer, memory=memory)
        options = Options(under, output, error, seed, budget, memory)
        return sampled_shares(split, nets, method, options, to == "outputs")
    law = law_for(nets, under)
    what = f"the split over {to} ({method})"
    if to == "outputs":
        if output is not None:
            raise ValueError('output= goes with the other splits; to="outputs" gives all of them.')
        given = (*in_units(nets, law), method, None, "diagonal")
        found = priced(squared, what, budget, memory, has_cheaper(law, method), given)
        m = found.mantissa
        value = replace(found, mantissa=torch.where(m < 0, m * 0, m)).value("a squared distance")
        return Shares.of(value, to, _WHOLE)
    like = nets[0].polys[0].like
    shape = nets[0].polys[0].in_shape
    ask, limits = (law, method, output), (what, budget, memory)

    def gains(*sizes: int) -> torch.Tensor:
        return torch.ones(sizes, dtype=like.dtype, device=like.device)

    if to == "inputs":
        shares = integrated(
            lambda g: [gained(net, g) for net in nets],
            shape, _input_rule(nets), lambda s: s * gains(*shape), ask, *limits,
        )  # fmt: skip
        return Shares.of(shares.value("a share").reshape(nets[0].in_shape), to, f"{_WHOLE} − ‖a(0) − b(0)‖²")
    if to == "directions":
        n = prod(shape)
        eye = torch.eye(n, dtype=like.dtype, device=like.device)
        matrix = integrated(
            lambda g: [mixed(net, g) for net in nets],
            (*shape, *shape), _input_rule(nets), lambda s: s * eye, ask, *limits,
        )  # fmt: skip
        return _modes(matrix.mantissa.reshape(n, n), matrix.exponent)
    if to == "layers":
        first, second = nets
        _check_layers(first, second)
        if method == "layerwise":
            _check_states(first, second, law)
        shares = integrated(
            lambda g: [blended(first, second, g), first],
            (len(first),), rule(2 * _degree_in_layers(first, second)), lambda s: s * gains(len(first)), ask, *limits,
        )  # fmt: skip
        return Shares.of(shares.value("a share"), to, _WHOLE, first.names)
    if to in ("hidden", "heads"):
        count, gained_by = (_units, unit_gained) if to == "hidden" else (heads, head_gained)
        name, units = _gained_layer(nets, layer, to, count)
        shares = integrated(
            lambda g: [gained_by(net, name, g) for net in nets],
            (units,), _unit_rule(nets, name), lambda s: s * gains(units), ask, *limits,
        )  # fmt: skip
        what = f"{_WHOLE} − ‖a₀ − b₀‖²"
        return Shares.of(shares.value("a share"), f"{_PARTS[to][0]} of {name}", what)
    raise ValueError(f'to is {to!r}; write "outputs", "inputs", "directions", "layers", "hidden" or "heads".')


def _input_rule(nets: Sequence[Network]) -> Any:
    return rule(2 * max(net.degree for net in nets), len({net.degree for net in nets}) == 1 and _pure(nets))


def _pure(nets: Sequence[Network]) -> bool:
    """Whether every layer has terms of one degree only, so that the model is homogeneous."""
    return all(len({t.degree for t in f.terms}) == 1 for net in nets for f in net.polys)


def _unit_rule(nets: Sequence[Network], name: str) -> Any:
    """The model is of first degree in the units of a layer, then as the layers above it."""
    above = [prod(f.degree for f in net.polys[net.names.index(name) + 1 :]) for net in nets]
    tops = all(len(net[name].terms) == 1 for net in nets)
    return rule(2 * max(above), len(set(above)) == 1 and tops and _pure(nets))


def _modes(matrix: torch.Tensor, exponent: Any) -> Modes:
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    order = values.abs().argsort(descending=True, stable=True)
    rows = vectors.T[order]
    return Modes(
        Scaled(values[order], exponent).value("a share"), rows, rows, "in", "shares of the squared distance"
    )


def _check_layers(a: Network, b: Network) -> None:
    mine, other = ([(f.domain, f.codomain) for f in net.polys] for net in (a, b))
    if mine != other:
        raise ValueError(
            f"a split over layers needs two models with the same layers; a has {list(a.names)} with states "
            f"{[f.out_shape for f in a.polys]}, b has {list(b.names)} with states {[f.out_shape for f in b.polys]}. "
            'Write to="outputs" or to="inputs".'
        )


def _check_states(a: Network, b: Network, law: Measure) -> None:
    """Layer by layer the state of tokens is exact behind linear layers: on the way to the other there is a jump."""
    parts = law.laws if isinstance(law, Mixture) else (law,)
    linear = [len(list(takewhile(lambda f: f.degree <= 1, net.polys[:-1]))) for net in (a, b)]
    if linear[0] != linear[1] and any(isinstance(part, JointTokens) for part in parts):
        raise ValueError(
            f"layer by layer, a reads tokens through {linear[0]} linear layers exactly and b through {linear[1]}, so their "
            'layers cannot be exchanged one for another; write method="exact", or to="outputs".'
        )


def _degree_in_layers(a: Network, b: Network) -> int:
    """The degree in s of the network whose layers all are (1 − s) a_k + s b_k."""
    degree = 0
    for f, g in zip(a.polys, b.polys, strict=True):
        degree = 1 + max(f.degree, g.degree) * degree
    return degree


def _gained_layer(
    nets: Sequence[Network], layer: str | None, to: str, count: Callable[[Any], int | None]
) -> tuple[str, int]:
    """The layer whose units or heads are asked for, and how many it has in both models."""
    what, needs = _PARTS[to]
    if layer is None:
        able = [name for name, f in nets[0] if count(f)]
        if not able:
            raise ValueError(f"no layer has {what}: that takes {needs}.")
        if len(able) != 1:
            raise ValueError(f"layer= must say whose {what} are meant; layers with {what} are {able}.")
        (layer,) = able
    counts = [count(net[layer]) for net in nets]
    if not all(counts):
        raise ValueError(f"{layer} has no {what}: it needs {needs}.")
    if counts[0] != counts[1]:
        raise ValueError(
            f"{layer} has {counts[0]} {what} in a and {counts[1]} in b; a split over {what} needs them matched."
        )
    made = [net[layer].units is not None for net in nets]
    if to == "hidden" and any(
        not m and any(made) and len(net[layer].terms) > 1 for m, net in zip(made, nets, strict=True)
    ):
        which = "ab"[made.index(False)]
        raise ValueError(
            f"{layer} of {which} was rewritten term by term, so nobody knows which part of a bias belongs to a unit. Split "
            "two models as they were converted."
        )
    return layer, cast(int, counts[0])


_WHOLE = "‖a − b‖²"
_PARTS = {
    "hidden": ("hidden units", "one term of products, as D((Lx)∘(Rx))"),
    "heads": ("heads", "attention"),
}


def _units(f: Any) -> int | None:
    """How many hidden units a layer has, if it is made from one product, or is one star of products."""
    if f.units is not None:
        own = f.units.resolved()
        several = own.rest is not None and own.rest.degree > 1
        return None if several else int(own.products.out_shape[-1])
    tops = [t for t in f.terms if t.degree > 1]
    if len(tops) != 1 or tops[0].degree != f.degree or len(f.domain) > 1 or len(f.codomain) > 1:
        return None  # where there are positions, an index that all factors share may be theirs
    first, *others = (set(leg) for leg in tops[0].legs)
    inner = tops[0].sizes.keys() - {MODEL, *tops[0].out, *first}
    if inner and all(first & leg for leg in others):
        return None  # numbers of the input itself are multiplied, with weights that have units of their own
    factors = star(tops[0])
    return None if factors is None else int(ar.shape(factors[0])[-1])
