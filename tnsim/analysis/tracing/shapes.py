"""Prices of questions that are asked only once: from the shapes of what is contracted on the way."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from tnsim.analysis.tracing.outlines import outlined
from tnsim.engine.costs import Cost, CostError, Exceeded, check_budget, paying, pricing
from tnsim.engine.effort import Overplanned, allowance, planning

__all__ = ["EMPTY_ASKED", "about", "priced_by_shapes", "questioned"]

EMPTY_ASKED = (RuntimeError, TypeError)  # what torch says when an empty tensor is asked for values


def priced_by_shapes(
    run: Callable[[], Any], budget: float = inf, noted: list[tuple[Any, Cost]] | None = None
) -> tuple[Cost, Any]:
    """The price of ``run()`` and the shape of its result, with empty tensors in place of what would be contracted.

    Where values are asked for on the way, shapes do not do: then it is computed, and paid for as it goes, up to the
    budget. To a list in ``noted`` everything is appended with its price.

    Raises:
        Exceeded: if it takes more than the budget.
    """
    try:
        with pricing(budget, noted) as bill, _Spreading():
            return _with_total(bill, run())
    except (CostError, Exceeded):
        raise
    except EMPTY_ASKED:
        if noted is not None:
            noted.clear()
        with paying(budget, noted) as bill:
            return _with_total(bill, run())


def about(run: Callable[[], Any], budget: float = inf) -> Cost:
    """The price of ``run()``, or a lower bound of what takes more than the budget."""
    try:
        return priced_by_shapes(run, budget)[0]
    except Exceeded as error:
        return error.cost


@contextmanager
def questioned(budget: float, what: str, instead: str) -> Iterator[None]:
    """A question of several prices: all of them together may weigh no more than one.

    Raises:
        CostError: saying what to do instead, if they weigh more.
    """
    with planning(allowance(budget)) as planned:
        try:
            yield
        except Overplanned:
            cost = Cost(at_least=True, weighed=planned.weighed)
            check_budget(cost, budget, inf, what, instead)


def _with_total(bill: Any, result: Any) -> tuple[Cost, Any]:
    return bill.total(), result


class _Spreading(TorchFunctionMode):
    """What is done to an empty tensor and others is done to empty ones: no more than shapes can come of it."""

    def __torch_function__(
        self, fn: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if _any_empty((args, named)):
            args, named = _emptied(tuple(args)), _emptied(named)
        return outlined(fn, args, named)


def _any_empty(x: Any) -> bool:
    if isinstance(x, torch.Tensor):
        return x.is_meta
    if isinstance(x, tuple | list):
        return any(map(_any_empty, x))
    return isinstance(x, dict) and any(map(_any_empty, x.values()))


def _emptied(x: Any) -> Any:
    if isinstance(x, torch.Tensor):
        return x if x.is_meta else torch.empty_like(x, device="meta")
    if isinstance(x, tuple | list):
        return type(x)(map(_emptied, x))
    return {k: _emptied(v) for k, v in x.items()} if isinstance(x, dict) else x
