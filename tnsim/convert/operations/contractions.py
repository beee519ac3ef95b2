"""Products: contractions of weights and of any number of copies of the data."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from torch import Tensor

from tnsim.algebra.polys.axes import along, rename
from tnsim.convert.module.errors import Refusal
from tnsim.convert.values.axiswise import affordable, contracted, offset
from tnsim.convert.values.layout import Misfit, factors, refined
from tnsim.convert.values.site import Site
from tnsim.convert.values.value import Value, linear

__all__ = ["PRODUCTS", "einsum", "embedded"]

Lay = Callable[[Tensor], Tensor]
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _same(t: Tensor) -> Tensor:
    return t


def _is_vector(input: Any) -> bool:
    return isinstance(input, Value) and input.is_flat and not input.has_axes


def _linear(site: Site, input: Any, weight: Any, bias: Any = None) -> Value:
    if _is_vector(input) and not isinstance(weight, Value) and weight.dim() == 2:
        y = linear(input, weight, None, site.role(weight))
    else:
        y = contracted(site, (input, weight), (lambda t: t.unsqueeze(-2), _same), (-1,))
    return y if bias is None else _plus(y, bias)


def _plus(y: Value, bias: Any) -> Value:
    if isinstance(bias, Value):
        raise Refusal("{name} has a bias that depends on the data", "Add it after the product.")
    return offset(y, bias)


def _matmul(site: Site, input: Any, other: Any) -> Value:
    if _is_vector(input) and not isinstance(other, Value) and other.dim() == 2:
        return linear(input, other.T, None, site.role(other))
    if min(len(input.shape), len(other.shape)) < 2:
        if len(input.shape) == 1:
            return contracted(site, (input, other), (lambda t: t.unsqueeze(-1), _same), (-2,))
        return contracted(site, (input, other), (_same, _same), (-1,))
    return contracted(site, (input, other), (lambda t: t.unsqueeze(-1), lambda t: t.unsqueeze(-3)), (-2,))


def _rmatmul(site: Site, input: Any, other: Any) -> Value:
    return _matmul(site, other, input)


def einsum(site: Site, equation: Any, *operands: Any) -> Value:
    """Values and constants contracted as torch.einsum does."""
    if not isinstance(equation, str):
        equation, operands = _lettered((equation, *operands))
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    left, arrow, out = equation.replace(" ", "").partition("->")
    words, out = _spelled(left.split(","), out if arrow else _implied(left), operands)
    summed = "".join(dict.fromkeys(c for w in words for c in w if c not in out))
    letters = out + summed

    def lay(word: str) -> Lay:
        kept = "".join(dict.fromkeys(word))
        order = [kept.index(c) for c in letters if c in kept]
        keys = tuple(slice(None) if c in kept else None for c in letters)
        return lambda t: _diagonals(t, word).permute(order)[keys]

    return contracted(site, operands, [lay(w) for w in words], range(len(out) - len(letters), 0))


def _lettered(args: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """The other way to call einsum, with lists of numbers in place of words."""
    spell = lambda axes: "".join("..." if a is Ellipsis else _LETTERS[a] for a in axes)  # noqa: E731
    words = ",".join(spell(axes) for axes in args[1::2])
    return f"{words}->{spell(args[-1])}" if len(args) % 2 else words, tuple(args[: len(args) // 2 * 2 : 2])


def _implied(left: str) -> str:
    """The output of an equation without an arrow: what occurs once, in order."""
    letters = left.replace("...", "").replace(",", "")
    dots = "..." if "..." in left else ""
    return dots + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))


def _diagonals(t: Tensor, word: str) -> Tensor:
    """The diagonal of every letter that occurs twice, where it occurs first."""
    letters = list(word)
    for c in dict.fromkeys(word):
        while letters.count(c) > 1:
            first = letters.index(c)
            second = letters.index(c, first + 1)
            t = t.diagonal(dim1=first, dim2=second).movedim(-1, first)
            del letters[second]
    return t


def _spelled(words: Sequence[str], out: str, operands: Sequence[Any]) -> tuple[list[str], str]:
    """The words with letters in place of each ``...``."""
    free = [c for c in _LETTERS if c not in "".join(words)]
    extra = [len(v.shape) - len(w.replace("...", "")) for w, v in zip(words, operands, strict=True)]
    most = max([n for n, w in zip(extra, words, strict=True) if "..." in w], default=0)
    dots = "".join(free[:most])
    words = [w.replace("...", dots[most - n :]) for w, n in zip(words, extra, strict=True)]
    return words, out.replace("...", dots)


def _bilinear(site: Site, input1: Any, input2: Any, weight: Tensor, bias: Tensor | None = None) -> Value:
    lay = (lambda t: t[..., None, :, None], lambda t: t[..., None, None, :], _same)
    y = contracted(site, (input1, input2, weight), lay, (-2, -1))
    return y if bias is None else _plus(y, bias)


def embedded(site: Site, one_hot: Value, table: Tensor) -> Value:
    """The rows of a table that one-hot vectors name; the table may have axes for the places of a token in front."""
    return contracted(site, (one_hot, table), (lambda t: t.unsqueeze(-1), _same), (-2,))


def _rule(site: Site, input: Value) -> Value:
    """A rule for the last axis, at every place of the others; or for all entries of a sample."""
    f, shape = site.step.rule, site.step.outputs[0].shape
    assert f is not None
    result = _ruled_at_every_place(site, input) if input.has_axes or f.in_shape != (input.size,) else None
    if result is None:
        input = input.flattened()
        if f.in_shape != (input.size,):
            raise Refusal(
                f"the rule for {{name}} reads {f.in_shape[0]} features but is given {input.size},",
                f"The input has shape {('n', *input.shape[1:])}.".replace("'n'", "n"),
            )
        affordable(sum(len(input.poly.terms) ** t.degree for t in f.terms))
        result = Value(f @ input.poly, shape)
    if result.shape != shape or result.size != prod(result.poly.out_shape):
        raise Refusal(
            f"the rule for {{name}} returns {f.out_shape[0]} features but its forward returns {shape[-1]},",
            "Correct one of the two.",
        )
    return result


def _ruled_at_every_place(site: Site, input: Value) -> Value | None:
    f = site.step.rule
    assert f is not None
    if f.in_shape != input.shape[-1:] or input.batch == len(input.shape) - 1:
        return None
    try:
        parts = factors(input.poly, input.item)
    except Misfit:
        return None
    if len(parts[-1]) > 1:
        return None
    g = refined(input.poly, [n for part in parts for n in part])
    if not parts[-1]:
        return None
    affordable(sum(len(g.terms) ** t.degree for t in f.terms))
    g = rename(g, [*(name for name, _ in g.codomain[:-1]), "d"])
    result = along(f, g.codomain[:-1]) @ g
    return Value(result, (*input.shape[:-1], f.out_shape[0]), input.batch, input.fold)


PRODUCTS: dict[str, Callable[..., Any]] = {
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm"), _matmul),
    "rmatmul": _rmatmul,
    "einsum": einsum,
    "bilinear": _bilinear,
    "rule": _rule,
}
