"""Assemble: the layers of a trace, evaluated one after the other, as a Network."""

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
from torch import Tensor

from tnsim.algebra import Network, Poly
from tnsim.algebra.polys.axes import fuse, rename, tidy
from tnsim.algebra.polys.poly import Axes
from tnsim.convert.layers.cuts import cut as layers_of
from tnsim.convert.layers.evaluation import evaluate
from tnsim.convert.layers.grouping import Cut, grouped
from tnsim.convert.module.errors import NEVER, ConvertError, unsupported
from tnsim.convert.module.weights import Weights
from tnsim.convert.operations.convolutions import CONVOLUTIONS
from tnsim.convert.operations.table import OPERATIONS
from tnsim.convert.powers.exponents import Roots, is_norm, roots
from tnsim.convert.powers.fixed import Fixing
from tnsim.convert.record.trace import BATCH_SIZE, Trace, words
from tnsim.convert.tokens.known_ids import vocabulary
from tnsim.convert.tokens.token_ids import Ids
from tnsim.convert.values.layout import Misfit, factors, is_position, keeps_positions, permuted, refined
from tnsim.convert.values.value import Value, start
from tnsim.measure import Measure
from tnsim.measure.laws.known_tokens import check_tokens

__all__ = ["network"]

Form = Literal["sequence", "image", "flat"]
_VIEWS = words("view reshape unflatten view_as reshape_as")
_MOST_ENTRIES = 10**7  # of a view of several axes as one
_LARGE = 10**7  # of a matrix between all entries of two images


def network(
    trace: Trace, weights: Weights, law: Measure | None = None, cut: Cut = None
) -> tuple[Network, Fixing | None]:
    """The network of a forward pass, and which norms were fixed for it if a law is given.

    An input of two axes is a sequence if the first layer treats it as one: nothing in it reads position and feature of
    one copy of the input together. Otherwise the input is one flat vector; but if an operation would be a matrix of more
    than 1e7 entries between all of one image and all of another, images keep their axes.

    Raises:
        ConvertError: if an operation has no polynomial form.
    """
    fixes = lambda step: law is not None and is_norm(step, trace.steps)  # noqa: E731
    found = roots(trace.steps, trace.output, fixes)
    _check(trace, found)
    if trace.source.is_tokens:
        return _network(trace, weights, "sequence", found, law, cut)
    kinds: dict[Form, bool] = {
        "sequence": len(trace.source.shape) == 3,
        "image": _is_large(trace),
        "flat": True,
    }
    failure: ConvertError | None = None
    for form in (form for form, fits in kinds.items() if fits):
        try:
            net, fixing = _network(trace, weights, form, found, law, cut)
        except ConvertError as error:
            failure = failure or error
        else:
            if form != "sequence" or keeps_positions(net.polys[0]):
                return net, fixing
    assert failure is not None
    raise failure


def _seen(trace: Trace) -> tuple[int, ...]:
    """The shape of one input, or that in which the model views it first of all, as one vector is viewed as an image."""
    shape = trace.source.shape
    views = {
        step.outputs[0].shape for step in trace.steps if trace.source in step.inputs and step.op in _VIEWS
    }
    others = [step for step in trace.steps if trace.source in step.inputs and step.op not in _VIEWS]
    if len(shape) > 2 or len(views) != 1 or others:
        return shape[1:]
    (view,) = views
    return view[1:] if view[0] == BATCH_SIZE else shape[1:]


def _is_large(trace: Trace) -> bool:
    """Whether an operation on a flat image would be too large a matrix."""
    size = lambda node: prod(node.shape) // BATCH_SIZE  # noqa: E731
    return len(_seen(trace)) > 1 and any(
        size(a) * size(b) > _LARGE
        for step in trace.steps
        if step.rule is None and (step.op in CONVOLUTIONS or step.op not in OPERATIONS)
        for a in step.inputs
        for b in step.outputs
    )


def _check(trace: Trace, found: Roots) -> None:
    """Refuse what is never polynomial, before the first matrix is built."""
    for step in trace.steps:
        if step.rule is not None or set(step.outputs) <= found.constants:
            continue
        if step in found.open and is_norm(step, trace.steps):
            raise unsupported("norm", step.name, step.where)
        if step.op in NEVER and not any(node.is_tokens for node in step.inputs):
            raise unsupported(step.op, step.name, step.where)


def _network(
    trace: Trace, weights: Weights, form: Form, found: Roots, law: Measure | None, cut: Cut
) -> tuple[Network, Fixing | None]:
    if trace.output.is_complex or trace.output.is_tokens:
        kind = "complex numbers" if trace.output.is_complex else "token ids"
        raise ConvertError(
            f"forward returns {kind}; return real numbers, such as torch.view_as_real(y).flatten(-2)."
        )
    like = torch.empty((), dtype=weights.dtype, device=weights.device)
    shape: tuple[int, ...] = trace.source.shape
    ids: tuple[range, ...] = ()
    if trace.source.is_tokens:
        legal = vocabulary(trace)
        shape, ids = (*shape, legal.shape[-1]), _ids(legal)
    domain = shape[1:]
    layers = []
    parts = grouped(layers_of(trace, found.held), cut)
    positions = 1 if form == "sequence" else None
    axes = _axes(_seen(trace)) if form == "image" else None
    value = start(like, shape, 0, (1, 1), positions, axes)
    source: Value | Ids = Ids.one_hot(value) if trace.source.is_tokens else value
    fixing = None if law is None else Fixing(law, value.domain, like)
    if law is not None:
        check_tokens(law, law.bound(value.domain, like), ids)
    for layer in parts:
        value = evaluate(layer, source, trace, weights, found, fixing)
        if form == "image":
            poly = _pictured(value, last=layer is parts[-1])
            axes = poly.codomain
        else:
            poly, positions = _boundary(value, last=layer is parts[-1])
        layers.append((layer.name, poly))
        if fixing is not None:
            fixing.layers.append(poly)
        source = start(like, value.shape, value.batch, value.fold, positions, axes)
    if value.batch != 0 or value.fold != (1, 1):
        raise ConvertError(
            f"the output has its batch on axis {value.batch}; return it with the batch axis first."
            if value.fold == (1, 1)
            else "the output has positions folded into its batch; return it with one row for every sample."
        )
    if len(value.shape) == 1:
        layers[-1] = (layers[-1][0], poly[0])  # one number for every sample is an output without axes
    return Network(tuple(layers), domain, ids=ids), fixing


def _ids(legal: Tensor) -> tuple[range, ...]:
    """Between which ids there are rows, for every position; nothing where there always are."""
    if bool(legal.all()):
        return ()
    found = (row.nonzero().flatten().tolist() for row in legal)
    return tuple(range(ids[0], ids[-1] + 1) if ids else range(0) for ids in found)


def _boundary(value: Value, last: bool) -> tuple[Poly, int | None]:
    """The polynomial over ``(s, d)`` or ``(d,)``, and which axis of the tensor counts the positions.

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
    in_order = len(value.shape) == 3 and value.batch == 0 and places[:1] and places[0][0] == 1
    if last and len(places) != 1 and len(value.shape) == 3 and value.batch == 0 and parts[1] and parts[2]:
        table = fuse(fuse(poly, ends[2], len(parts[2]), "y"), 0, ends[2], "x")
        return tidy(rename(table, ["s", "d"])), None
    if len(places) != 1 or len(poly.codomain) < 2 or (last and not in_order):
        return tidy(rename(value.flattened().poly, ["d"])), None
    ((axis, at),) = places
    rest = [k for k in range(len(poly.codomain)) if k != at]
    poly = permuted(poly, [at, *rest])
    poly = fuse(poly, 1, len(rest), "x")
    return tidy(rename(poly, ["s", "d"])), axis


def _pictured(value: Value, last: bool) -> Poly:
    """The polynomial over the axes that it has, the last layer's over one if that is not too large."""
    try:
        parts = factors(value.poly, value.item)
    except Misfit:
        return tidy(value.flattened().poly)
    if not any(parts) or (last and value.size**2 <= _MOST_ENTRIES):
        return tidy(value.flattened().poly)
    poly = refined(value.poly, [n for part in parts for n in part])
    for at in reversed(range(len(parts))):  # channels in groups are one axis again
        if prod(parts[at]) ** 2 <= _MOST_ENTRIES and len(parts[at]) > 1 and len([p for p in parts if p]) > 1:
            poly = fuse(poly, sum(map(len, parts[:at])), len(parts[at]), f"x{at}")
    return tidy(rename(poly, [name for name, _ in _axes(poly.out_shape)]))


def _axes(sizes: Sequence[int]) -> Axes:
    """Axes of an image: the channels, and those of space."""
    n = len(sizes)
    names = ["d"] if n == 1 else ["c", *"zyx"[4 - n :]] if n < 5 else [f"d{k}" for k in range(n)]
    return tuple(zip(names, sizes, strict=True))
