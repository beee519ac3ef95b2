"""Sums: what is summed, averaged or multiplied over axes."""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import permutations
from typing import Any

from tnsim.convert.module.errors import Refusal
from tnsim.convert.operations.elementwise import plus, times
from tnsim.convert.operations.moves import join
from tnsim.convert.values.axiswise import affordable, multiply, reduced
from tnsim.convert.values.site import Site
from tnsim.convert.values.value import Value, move

__all__ = ["SUMS"]

_MOST_ROWS = 5  # of a determinant, which has so many factorial products


def _dims(input: Value, dim: Any) -> tuple[int, ...]:
    every = range(len(input.shape))
    return (
        tuple(every)
        if dim is None or dim == () or dim == []
        else (dim,)
        if isinstance(dim, int)
        else tuple(dim)
    )


def _sum(site: Site, input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    return reduced(input, _dims(input, dim), keepdim)


def _mean(site: Site, input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    total = reduced(input, _dims(input, dim), keepdim)
    return times(site, total, total.size / input.size)


def _var(
    site: Site,
    input: Value,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Value:
    """Σ (x - mean)² / (n - correction)."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    dims = _dims(input, dim)
    around = plus(site, input, times(site, _mean(site, input, dims, True), -1.0))
    total = reduced(multiply(around, around), dims, keepdim)
    n = input.size // total.size
    less = correction if correction is not None else float(unbiased)
    if n <= less:
        raise Refusal(
            f"{{name}} divides by the number of entries less {less}, of which there are {n}",
            "Pass correction=0.",
        )
    return times(site, total, 1.0 / (n - less))


def _var_mean(site: Site, input: Value, *args: Any, **kwargs: Any) -> tuple[Value, Value]:
    dim = kwargs.get("dim", args[0] if args and not isinstance(args[0], bool) else None)
    return _var(site, input, *args, **kwargs), _mean(site, input, dim, kwargs.get("keepdim", False))


def _along(input: Value, dim: int) -> list[Value]:
    """The slices of a tensor along one of its axes."""
    dim %= len(input.shape)
    if dim == input.batch:
        raise Refusal("{name} mixes the samples of a batch", "Treat every sample alike.")
    return [move(lambda t, k=k: t.select(dim, k), input) for k in range(input.shape[dim])]  # type: ignore[misc]


def _prod(site: Site, input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    if dim is None:
        raise Refusal("{name} mixes the samples of a batch", "Say over which axis: x.prod(dim).")
    product = reduce(multiply, _along(input, dim))
    return move(lambda t: t.unsqueeze(dim % len(input.shape)), product) if keepdim else product


def _cumprod(site: Site, input: Value, dim: int, *, dtype: Any = None) -> Value:
    parts = _along(input, dim)
    for k in range(1, len(parts)):
        parts[k] = multiply(parts[k - 1], parts[k])
    at = dim % len(input.shape)
    return join(site, [move(lambda t: t.unsqueeze(at), v) for v in parts], at)


def _det(site: Site, input: Value) -> Value:
    """Leibniz: a sum over permutations."""
    n = input.shape[-1]
    if n > _MOST_ROWS:
        raise Refusal(
            f"{{name}} of matrices of {n} rows has too many products",
            f"At most {_MOST_ROWS} rows are expanded.",
        )
    if input.batch >= len(input.shape) - 2:
        raise Refusal("{name} mixes the samples of a batch", "Treat every sample alike.")
    rows = [_along(row, -1) for row in _along(input, -2)]
    orders = list(permutations(range(n)))
    affordable(len(orders) * len(input.poly.terms) ** n)
    parts = [times(site, reduce(multiply, [rows[i][j] for i, j in enumerate(p)]), _sign(p)) for p in orders]
    return reduce(lambda a, b: plus(site, a, b), parts)


def _sign(order: Sequence[int]) -> float:
    return (-1.0) ** sum(a > b for k, b in enumerate(order) for a in order[:k])


SUMS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("sum", "nansum"), _sum),
    **dict.fromkeys(("mean", "nanmean"), _mean),
    "var": _var,
    "var_mean": _var_mean,
    "prod": _prod,
    "cumprod": _cumprod,
    **dict.fromkeys(("det", "linalg_det"), _det),
}
