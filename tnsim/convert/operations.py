"""Operations: the torch functions that have a polynomial form, each with its translation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tnsim.algebra import Poly
from tnsim.algebra.build import poly
from tnsim.algebra.collect import collect
from tnsim.algebra.term import Term, canonical, compose, retensor
from tnsim.algebra.wires import input_leg, output_leg
from tnsim.convert.axiswise import affordable, contracted
from tnsim.convert.elementwise import ELEMENTWISE, plus, times
from tnsim.convert.errors import Refusal
from tnsim.convert.site import Site
from tnsim.convert.trace import mapped, members, words
from tnsim.convert.value import Value, affine, fixed, joint, linear, move, picked

__all__ = ["OPERATIONS"]

Result = Value | tuple[Value, ...]

_MOST_PRODUCTS = 10**7

_MOVES = words("""
    getitem select narrow index_select chunk split split_with_sizes tensor_split hsplit vsplit dsplit unbind
    unsafe_chunk unsafe_split flatten ravel view reshape unflatten permute transpose swapaxes swapdims movedim moveaxis
    t T mT adjoint squeeze unsqueeze expand broadcast_to repeat tile repeat_interleave flip fliplr flipud roll rot90
    diagonal gather take_along_dim pixel_shuffle pixel_unshuffle channel_shuffle unfold_copy
""")
_JOINS = words("cat concat concatenate stack hstack vstack dstack column_stack row_stack")
_AFFINE = words("""
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d avg_pool1d avg_pool2d avg_pool3d
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d sum mean cumsum diff pad interpolate fold unfold
    tril triu masked_fill where mv addmm addmv addbmm baddbmm tensordot inner
""")
_DROPOUTS = words("""
    dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout
""")


def _moved(site: Site, *args: Any, **kwargs: Any) -> Result:
    """Indexing, reshaping, joining: done on the numbers of the entries."""
    values = members((args, kwargs), Value)
    if site.step.op in _JOINS:
        args, kwargs = mapped((args, kwargs), Tensor, lambda c: fixed(c, values[0]))
        values = members((args, kwargs), Value)
    whole, grids = joint(values)
    numbers = iter(grids)
    args, kwargs = mapped((args, kwargs), Value, lambda v: next(numbers))
    out = site.step.function(*args, **kwargs)
    return picked(whole, out) if isinstance(out, Tensor) else tuple(picked(whole, grid) for grid in out)


def _shaped(site: Site, input: Value, other: Value) -> Value:
    return move(lambda t: site.step.function(t, torch.empty(other.shape)), input)


def _affine(site: Site, *args: Any, **kwargs: Any) -> Value:
    """An affine operation in its one argument that depends on the input."""
    values = members((args, kwargs), Value)
    if len(values) != 1:
        raise Refusal(
            "{name} combines several tensors that depend on the input, which is not supported",
            "Write it with products and sums, such as (x * y).sum(-1).",
        )

    def call(x: Tensor) -> Tensor:
        new_args, new_kwargs = mapped((args, kwargs), Value, lambda v: x)
        return site.step.function(*new_args, **new_kwargs)

    role = site.role(*members((args, kwargs), Tensor))
    return affine(values[0], call, site.step.outputs[0].shape, role, _has_offset(site.step.op, args, kwargs))


def _has_offset(op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the operation adds a weight: its wiring must not depend on that weight being zero today."""
    if op.startswith("conv") or op == "linear":
        return isinstance(args[2] if len(args) > 2 else kwargs.get("bias"), Tensor)
    return op in ("addmm", "addmv", "addbmm", "baddbmm")


def _linear(site: Site, input: Any, weight: Any, bias: Any = None) -> Value:
    if (
        isinstance(input, Value)
        and input.is_flat
        and isinstance(weight, Tensor)
        and not isinstance(bias, Value)
    ):
        return linear(input, weight, bias, site.role(weight))
    return _affine(site, input, weight, bias)


def _matmul(site: Site, input: Any, other: Any) -> Value:
    if isinstance(input, Value) and isinstance(other, Value):
        if min(len(input.shape), len(other.shape)) < 2:
            raise Refusal("{name} mixes the samples of a batch", "Treat every sample alike.")
        return _product_sum(site, input, other, lambda t: t.unsqueeze(-1), lambda t: t.unsqueeze(-3), (-2,))
    if isinstance(input, Value) and input.is_flat and other.dim() == 2:
        return linear(input, other.T, None, site.role(other))
    return _affine(site, input, other)


def _rmatmul(site: Site, input: Any, other: Any) -> Value:
    return _matmul(site, other, input)


def _einsum(site: Site, equation: Any, *operands: Any) -> Value:
    operands = (
        tuple(operands[0]) if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    )
    data = [v for v in operands if isinstance(v, Value)]
    if len(data) == 1:
        return _affine(site, equation, *operands)
    left, arrow, out = str(equation).replace(" ", "").partition("->")
    terms = left.split(",")
    plain = arrow and left.replace(",", "").isalpha() and all(len(set(w)) == len(w) for w in terms)
    if len(operands) != 2 or not plain:
        raise Refusal(
            "{name} of several tensors that depend on the input is not supported in this form",
            "Write it with two operands, all letters and an arrow, such as 'bi,bi->b'.",
        )
    summed = "".join(dict.fromkeys(c for c in left if c.isalpha() and c not in out))
    letters = out + summed

    def lay(word: str) -> Callable[[Tensor], Tensor]:
        order = [word.index(c) for c in letters if c in word]
        keys = tuple(slice(None) if c in word else None for c in letters)
        return lambda t: t.permute(order)[keys]

    return _product_sum(
        site, data[0], data[1], lay(terms[0]), lay(terms[1]), tuple(range(len(out), len(letters)))
    )


def _product_sum(
    site: Site,
    a: Value,
    b: Value,
    lay_a: Callable[[Tensor], Tensor],
    lay_b: Callable[[Tensor], Tensor],
    axes: tuple[int, ...],
) -> Value:
    """A contraction of two values: laid out beside each other, multiplied, summed."""
    a, b = move(lay_a, a), move(lay_b, b)
    shape = torch.broadcast_shapes(a.shape, b.shape)
    size = shape.numel() // shape[a.batch]
    if size * max(a.size, b.size) > _MOST_PRODUCTS:
        raise Refusal(
            f"{{name}} of two tensors that depend on the input takes {size} products for every sample, which is too "
            "many here,",
            "Attention of this size is not supported.",
        )
    both = times(site, a, b)
    if not axes:
        return both
    return affine(both, lambda t: t.sum(axes), site.step.outputs[0].shape, "sum")


def _bilinear(site: Site, input1: Any, input2: Any, weight: Tensor, bias: Tensor | None = None) -> Value:
    pair = (input1, input2)
    if not all(isinstance(v, Value) and v.is_flat for v in pair):
        raise Refusal(
            "{name} is supported for two flat inputs that both depend on the data",
            "Use torch.einsum or nn.Linear where one of them is constant or has several axes.",
        )
    legs, out = (input_leg(0, "d"), input_leg(1, "d")), output_leg("d")
    (blank,) = poly("W[out,in0]", W=weight[:, :, 0]).terms[0].tensors
    tensor = retensor(blank, data=weight, inds=(*out, *legs[0], *legs[1]), tags=site.role(weight))
    affordable(len(input1.poly.terms) * len(input2.poly.terms))
    outer = Term((tensor,), legs, out)
    terms = [canonical(compose(outer, (s, t)), "d") for s in input1.poly.terms for t in input2.poly.terms]
    f = Poly(collect(terms), input1.domain, (("d", int(weight.shape[0])),))
    shape = (*input1.shape[:-1], int(weight.shape[0]))
    return Value(f if bias is None else f + bias, shape, input1.batch)


def _batch_norm(
    site: Site,
    input: Value,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    **_: Any,
) -> Value:
    if training or running_mean is None or running_var is None:
        why = "in training mode" if running_mean is not None else "without running statistics"
        raise Refusal(
            f"no polynomial form for {{name}} {why}",
            "It divides by the variance of the batch. Call model.eval() first, with track_running_stats=True.",
        )
    scale = torch.rsqrt(running_var + eps)
    if weight is not None:
        scale = scale * weight
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    spread = lambda c: c.reshape(-1, *[1] * (len(input.shape) - 2))  # noqa: E731
    scale, shift = site.adopt(spread(scale), weight, running_var), spread(shift)
    return plus(site, times(site, input, scale), shift)


def _dropout(site: Site, input: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    if training and p > 0:
        raise Refusal(
            "no polynomial form for {name} in training mode", "It is random. Call model.eval() first."
        )
    return input


def _rule(site: Site, input: Value) -> Value:
    f, out = site.step.rule, site.step.outputs[0].shape
    assert f is not None
    if f.in_shape != (input.size,):
        raise Refusal(
            f"the rule for {{name}} reads {f.in_shape[0]} features but is given {input.size},",
            f"The input has shape {('n', *input.item)}.".replace("'n'", "n"),
        )
    affordable(sum(len(input.poly.terms) ** t.degree for t in f.terms))
    value = Value(f @ input.poly, out)
    if value.size != f.out_shape[0]:
        raise Refusal(
            f"the rule for {{name}} returns {f.out_shape[0]} features but its forward returns {value.size},",
            "Correct one of the two.",
        )
    return replace(value, batch=0)


def _embedding(
    site: Site,
    input: Any,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Value:
    """A table read by tokens: the matrix of its rows, times one-hot vectors."""
    if not isinstance(input, Value) or isinstance(weight, Value):
        raise Refusal("{name} looks up data", "An embedding table must be a weight, read by token ids.")
    if max_norm is not None:
        raise Refusal("{name} with max_norm changes its table", "Leave max_norm out.")
    rows = lambda t: t.unsqueeze(-1)  # noqa: E731
    return contracted(site, (input, weight), (rows, lambda t: t), (-2,))


def _one_hot(site: Site, tensor: Value, num_classes: int = -1) -> Value:
    return tensor


OPERATIONS: dict[str, Callable[..., Result]] = {
    **ELEMENTWISE,
    **dict.fromkeys(_MOVES | _JOINS, _moved),
    **dict.fromkeys(_AFFINE, _affine),
    **dict.fromkeys(_DROPOUTS, _dropout),
    **dict.fromkeys(("view_as", "reshape_as", "expand_as"), _shaped),
    **dict.fromkeys(("matmul", "mm", "bmm"), _matmul),
    "rmatmul": _rmatmul,
    "linear": _linear,
    "einsum": _einsum,
    "bilinear": _bilinear,
    "batch_norm": _batch_norm,
    "rule": _rule,
    "embedding": _embedding,
    "one_hot": _one_hot,
}
