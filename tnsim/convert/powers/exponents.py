"""Exponents: roots and reciprocals in a forward pass, and whether they become whole powers before anything else reads them.

``x.norm()`` is no polynomial, but ``x.norm() ** 2`` is one. So every tensor that is a power of a polynomial with another
exponent than 0, 1, 2, … is followed through what keeps it one: moves, products, powers and divisions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from numbers import Real
from typing import Any

from torch import Tensor

from tnsim.convert.operations.moves import MOVED
from tnsim.convert.record.functions import LIKE
from tnsim.convert.record.trace import Node, Recorded, words

__all__ = [
    "CARRIED",
    "DIVISIONS",
    "POWERS",
    "TIMES",
    "Roots",
    "exponent",
    "fraction",
    "is_norm",
    "is_whole",
    "roots",
    "summed_over",
]

_HALF = Fraction(1, 2)
_MOST = 64  # the largest denominator of an exponent

TIMES = words("mul multiply rmul")
DIVISIONS = words("div divide true_divide truediv")
_INVERSE_DIVISIONS = words("rdiv rtruediv")
CARRIED = (
    MOVED
    | words("clone contiguous detach data alias positive view_as reshape_as expand_as type_as")
    | words("neg negative")
)
POWERS: dict[str, Fraction] = {
    "square": Fraction(2),
    "sqrt": _HALF,
    "rsqrt": -_HALF,
    "reciprocal": Fraction(-1),
}
_MAKERS = words("sqrt rsqrt reciprocal abs absolute std hypot")
_CLAMPS = words("clamp clamp_min clamp_max clip maximum minimum max min")
_REDUCTIONS = words("""
    sum mean var nansum nanmean einsum matmul rmatmul mm bmm mv dot inner vecdot linalg_vecdot norm std cdist
    linalg_norm linalg_vector_norm linalg_matrix_norm pairwise_distance
""")
_SHIFTS = words("add radd sub subtract addcmul")


def is_whole(e: Fraction) -> bool:
    """Whether a power with this exponent is a polynomial."""
    return e.denominator == 1 and e >= 0


def fraction(n: Any) -> Fraction | None:
    """An exponent as a fraction; ``None`` where it is no number, or not near one of small denominator."""
    if isinstance(n, Tensor):
        n = n.item() if n.numel() == 1 and not n.requires_grad else None
    if not isinstance(n, Real) or isinstance(n, bool):
        return None
    found = Fraction(float(n)).limit_denominator(_MOST)
    return found if abs(float(found) - float(n)) < 1e-12 else None


# ---------------------------------------------------------------- norms


def summed_over(op: str, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[int, Any, bool] | None:
    """Of a norm: the even whole number p of (Σ xᵖ)^(1/p), the axes (``None`` for all) and whether they stay."""
    p, dim, keep = _SPELLED[op](*args, **kwargs)
    if p in (None, "fro"):
        p = 2
    if not isinstance(p, int | float) or p <= 0 or p % 2:
        return None
    return int(p), dim, keep


def _norm(
    input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, **_: Any
) -> tuple[Any, Any, bool]:
    return p, dim, keepdim


def _vector_norm(
    x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, **_: Any
) -> tuple[Any, Any, bool]:
    return ord, dim, keepdim


def _linalg_norm(
    A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, **_: Any
) -> tuple[Any, Any, bool]:
    several = isinstance(dim, tuple | list) and len(dim) == 2
    spectral = several and ord not in (None, "fro")
    return (None if ord == "fro" and not several else ord) if not spectral else "spectral", dim, keepdim


def _matrix_norm(
    A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, **_: Any
) -> tuple[Any, Any, bool]:
    return ord if ord == "fro" else "spectral", dim, keepdim


def _distance(
    x1: Any, x2: Any, p: Any = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> tuple[Any, Any, bool]:
    return p, -1, keepdim


def _cdist(x1: Any, x2: Any, p: Any = 2.0, compute_mode: Any = None) -> tuple[Any, Any, bool]:
    return p, -1, False


_SPELLED: dict[str, Callable[..., tuple[Any, Any, bool]]] = {
    "norm": _norm,
    "linalg_vector_norm": _vector_norm,
    "linalg_norm": _linalg_norm,
    "linalg_matrix_norm": _matrix_norm,
    "pairwise_distance": _distance,
    "cdist": _cdist,
}


def exponent(step: Recorded) -> Fraction | None:
    """The exponent of what an operation makes of polynomials, where that is a power of one but no polynomial."""
    if any(node.is_tokens for node in step.inputs) or step.rule is not None:
        return None
    if step.op in _SPELLED:
        how = summed_over(step.op, step.args, step.kwargs)
        return None if how is None else Fraction(1, how[0])
    if step.op in _MAKERS:
        complex_ones = any(node.is_complex for node in step.inputs)
        return None if complex_ones and step.op not in ("abs", "absolute") else POWERS.get(step.op, _HALF)
    if step.op == "pow" and isinstance(step.args[0], Node) and not step.args[0].is_complex:
        e = _exponent_of(step)
        return None if e is None or is_whole(e) else e
    return None


def _exponent_of(step: Recorded) -> Fraction | None:
    if step.op != "pow":
        return POWERS[step.op]
    given = step.args[1] if len(step.args) > 1 else step.kwargs.get("exponent")
    return None if isinstance(given, Node) else fraction(given)


# ---------------------------------------------------------------- what becomes of them


@dataclass(frozen=True)
class _Held:
    """A tensor that is a power of a polynomial: of which, which power, made where, and whether times data."""

    base: Any
    exponent: Fraction
    makers: frozenset[Recorded]
    has_factor: bool = False


@dataclass(frozen=True, eq=False)
class Roots:
    """The roots and reciprocals of a forward pass.

    Attributes:
        makers: the operations that make them.
        held: the tensors that are none of polynomials, but powers of them.
        open: the operations whose result is read by something that needs a polynomial.
        fixed: those among them that are to be constants.
        constants: their results, and all that is made of these alone.
    """

    makers: frozenset[Recorded] = frozenset()
    held: frozenset[Node] = frozenset()
    open: tuple[Recorded, ...] = ()
    fixed: frozenset[Recorded] = frozenset()
    constants: frozenset[Node] = frozenset()


def roots(
    steps: Sequence[Recorded], output: Node, fixes: Callable[[Recorded], bool] = lambda step: False
) -> Roots:
    """Follow the roots of a forward pass.

    Args:
        steps: its operations.
        output: its result.
        fixes: which of those that stay open are to be constants; what is made of these alone is constant as well.
    """
    fixed: frozenset[Recorded] = frozenset()
    while True:
        found = _followed(steps, output, fixed)
        more = frozenset(step for step in found.open if fixes(step))
        if not more:
            return found
        fixed |= more


def _followed(steps: Sequence[Recorded], output: Node, fixed: frozenset[Recorded]) -> Roots:
    held: dict[Node, _Held] = {}
    constants: set[Node] = set()
    makers: list[Recorded] = []
    failed: set[Recorded] = set()
    for step in steps:
        read = step.args[:1] if step.op in LIKE else step.inputs
        data = [node for node in read if isinstance(node, Node) and node not in constants]
        if step in fixed or not data:
            constants |= set(step.outputs)
            continue
        mine = [node for node in data if node in held]
        made = exponent(step) if not mine else None
        if made is not None:
            makers.append(step)
            held[step.outputs[0]] = _Held(step.outputs[0], made, frozenset((step,)))
        elif mine:
            after = _after(step, held, constants)
            if after is None:
                failed |= {maker for node in mine for maker in held[node].makers}
            elif not is_whole(after.exponent):
                for node in step.outputs:
                    base = node if step.op in CARRIED else after.base
                    held[node] = replace(after, base=base)
    if output in held:
        failed |= held[output].makers
    clamped = [step for step in steps if _clamps(step, steps, constants) and step not in fixed]
    stuck = tuple(step for step in steps if step in failed or step in clamped)
    return Roots(frozenset(makers), frozenset(held), stuck, fixed, frozenset(constants))


def _after(step: Recorded, held: dict[Node, _Held], constants: set[Node]) -> _Held | None:
    """What an operation makes of powers of polynomials, where that is one again."""
    mine = [node for node in step.inputs if node in held]
    if step.op in CARRIED:
        first = step.args[0] if step.args else None
        alone = len(mine) == 1 and mine[0] is first and len(step.inputs) <= 2
        return held[mine[0]] if alone else None
    if step.op in POWERS or step.op == "pow":
        e = _exponent_of(step) if mine[0] is step.args[0] else None
        one = held[mine[0]]
        if e is None or (one.has_factor and not (is_whole(e) and e)):
            return None
        return replace(one, exponent=one.exponent * e)
    if step.op in TIMES | DIVISIONS | _INVERSE_DIVISIONS and len(step.args) == 2:
        a, b = step.args if step.op not in _INVERSE_DIVISIONS else reversed(step.args)
        return _product(a, b, 1 if step.op in TIMES else -1, held, constants)
    return None


def _product(a: Any, b: Any, sign: int, held: dict[Node, _Held], constants: set[Node]) -> _Held | None:
    left, right = (held.get(v) if isinstance(v, Node) else None for v in (a, b))
    if right is None:
        if left is None or (sign < 0 and isinstance(b, Node) and b not in constants):
            return None  # a division by data
        return replace(left, has_factor=left.has_factor or (isinstance(b, Node) and b not in constants))
    if sign < 0 and right.has_factor:
        return None
    right = replace(right, exponent=sign * right.exponent)
    if left is None:
        return replace(right, has_factor=right.has_factor or (isinstance(a, Node) and a not in constants))
    both = replace(left, makers=left.makers | right.makers, has_factor=left.has_factor or right.has_factor)
    if left.base == right.base:
        return replace(both, exponent=left.exponent + right.exponent)
    return replace(both, base=(left.base, right.base)) if left.exponent == right.exponent else None


# ---------------------------------------------------------------- norms of data


def is_norm(step: Recorded, steps: Sequence[Recorded]) -> bool:
    """Whether a root is one of a sum over entries: a size that the data is divided by, and no activation."""
    if step.op in _SPELLED or step.op == "std":
        return True
    if step.op == "reciprocal" or (step.op == "pow" and _exponent_of(step) == -1):
        return False
    made = {node: other for other in steps for node in other.outputs}
    return any(_is_sum(node, made) for node in step.inputs)


def _is_sum(node: Node, made: dict[Node, Recorded]) -> bool:
    step = made.get(node)
    if step is None:
        return False
    if step.op in _REDUCTIONS:
        return True
    passes = step.op in CARRIED | _SHIFTS | TIMES | DIVISIONS | _CLAMPS
    return passes and bool(step.inputs) and all(_is_sum(n, made) for n in step.inputs)


def _clamps(step: Recorded, steps: Sequence[Recorded], constants: set[Node]) -> bool:
    """Whether a norm's square is kept away from zero before its root is taken."""
    if step.op not in _CLAMPS or not any(node not in constants for node in step.inputs):
        return False
    made = {node: other for other in steps for node in other.outputs}
    readers = [other for other in steps if set(step.outputs) & set(other.inputs)]
    return bool(readers) and all(exponent(r) is not None for r in readers) and _is_sum(step.outputs[0], made)
