"""Assemble: the layers of a trace, evaluated one after the other, as a Network."""

import torch

from tnsim.algebra import Network, Poly
from tnsim.algebra.axes import fuse, rename, tidy
from tnsim.convert.cut import cut
from tnsim.convert.errors import ConvertError
from tnsim.convert.evaluate import evaluate
from tnsim.convert.layout import Misfit, factors, is_position, permuted, refined
from tnsim.convert.trace import Trace
from tnsim.convert.value import Value, start
from tnsim.convert.weights import Weights

__all__ = ["network"]


def network(trace: Trace, weights: Weights) -> Network:
    """The network of a forward pass.

    An input of two axes is a sequence if the first layer treats it as one: nothing in it reads position and feature of
    one copy of the input together. Otherwise the input is one flat vector.

    Raises:
        ConvertError: if an operation has no polynomial form.
    """
    sequence = trace.source.is_tokens or len(trace.source.shape) == 3
    if not sequence:
        return _network(trace, weights, None)
    failure: ConvertError | None = None
    try:
        net = _network(trace, weights, 0)
        if trace.source.is_tokens or _keeps_positions(net.polys[0]):
            return net
    except ConvertError as error:
        if trace.source.is_tokens:
            raise
        failure = error
    try:
        return _network(trace, weights, None)
    except ConvertError as error:
        raise failure or error from None


def _network(trace: Trace, weights: Weights, positions: int | None) -> Network:
    like = torch.empty((), dtype=weights.dtype, device=weights.device)
    shape, batch = trace.source.shape, 0
    if trace.source.is_tokens:
        if len(shape) != 2 or trace.n_tokens is None:
            raise ConvertError(
                f"token ids of shape {shape[1:]} are read, but by no embedding table; give one sequence of ids for every "
                "sample, and let nn.Embedding, F.embedding or F.one_hot read them."
            )
        shape = (*shape, trace.n_tokens)
    domain = shape[1:]
    layers = []
    parts = cut(trace)
    for layer in parts:
        value = start(shape, batch, like, positions)
        value = evaluate(layer, value, trace, weights)
        poly, positions = _boundary(value, last=layer is parts[-1])
        layers.append((layer.name, poly))
        shape, batch = value.shape, value.batch
    if batch != 0:
        raise ConvertError(f"the output has its batch on axis {batch}; return it with the batch axis first.")
    if not value.item:
        layers[-1] = (layers[-1][0], poly[0])  # one number for every sample is an output without axes
    return Network(tuple(layers), domain)


def _boundary(value: Value, last: bool) -> tuple[Poly, int | None]:
    """The polynomial over ``(s, d)`` or ``(d,)``, and which axis of a sample counts the positions.

    The last layer's output keeps the order of its entries; elsewhere the positions may come from any axis.
    """
    if not value.has_axes:
        return value.flattened().poly, None
    try:
        parts = factors(value.poly, value.item)
        poly = refined(value.poly, [n for part in parts for n in part])
    except Misfit:
        return tidy(value.flattened().poly), None
    ends = [sum(map(len, parts[:k])) for k in range(len(parts))]
    places = [
        (axis, at)
        for axis, (at, part) in enumerate(zip(ends, parts, strict=True))
        if len(part) == 1 and is_position(poly.codomain[at][0])
    ]
    if len(places) != 1 or len(poly.codomain) < 2 or (last and (places[0][0] != 0 or len(value.item) != 2)):
        flat = fuse(poly, 0, len(poly.codomain), "d") if poly.codomain else poly
        return tidy(flat), None
    ((axis, at),) = places
    rest = [k for k in range(len(poly.codomain)) if k != at]
    poly = permuted(poly, [at, *rest])
    poly = fuse(poly, 1, len(rest), "x")
    return tidy(rename(poly, ["s", "d"])), axis


def _keeps_positions(poly: Poly) -> bool:
    """Whether no tensor reads position and feature of one copy of the input together."""
    return not any(set(leg) <= set(x.inds) for t in poly.terms for leg in t.legs for x in t.tensors)
