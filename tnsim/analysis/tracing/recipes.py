"""Recipes: a question about models is thought through once for every structure, and then only computed.

What is done to the weights of a model depends on its wiring and shapes alone, never on their values. So a question is
first asked of empty tensors of these shapes, which gives its price and a list of operations. The list is kept, and
other models of the same structure (the next checkpoint, the same model after a step) cost only the operations.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from threading import Lock
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from tnsim.analysis.tracing.outlines import outlined
from tnsim.analysis.tracing.shapes import EMPTY_ASKED, priced_by_shapes
from tnsim.analysis.tracing.survey import Survey, filled, nbytes
from tnsim.common.caches import cleared_by
from tnsim.common.delay import waiting
from tnsim.engine.costs import Cost, CostError, Exceeded, current_cap, pricing
from tnsim.engine.machine import Machine
from tnsim.engine.replay import Recipe
from tnsim.engine.sparsity import supported
from tnsim.engine.tapes import Tape, UntapedError, current_tape, taping

__all__ = ["Answer", "Stages", "answer", "answered", "itemised"]

Array = Any

_MOST = 256  # answers kept, the least recently used go first
_IN_PLACE = {"__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ipow__", "__imatmul__"}


@dataclass(frozen=True)
class Answer:
    """How a question is answered for all models of one structure.

    Attributes:
        cost: the price.
        shape: the result, with empty tensors in place of arrays.
        run: the question.
        recipe: what to do with the arrays; ``None`` where the question has to be thought through every time.
        key: the structure that the recipe is for.
        graph: whether gradients are to come, so that nothing is let go on the way.
    """

    cost: Cost
    shape: Any
    run: Callable[..., Any]
    recipe: Recipe | None = None
    key: Any = None
    graph: bool = False

    def __call__(self, given: Sequence[Any], progress: bool = False) -> Any:
        """The result for models of that structure."""
        return self.of(given, None if self.recipe is None else _alike(tuple(given), self.key), progress)

    def of(self, given: Sequence[Any], arrays: list[torch.Tensor] | None, progress: bool = False) -> Any:
        """The result for models of that structure, whose tensors are at hand."""
        if self.recipe is None or arrays is None:
            return self.run(*given)
        return filled(self.shape, self._holes, self.recipe(arrays, progress))

    @cached_property
    def _holes(self) -> list[torch.Tensor]:
        """The empty tensors in the shape."""
        return Survey(self.shape).arrays

    def outline(self) -> Any:
        """The shape of another result, with empty tensors of its own."""
        if self.recipe is None:
            return self.shape
        return filled(self.shape, self._holes, [torch.empty_like(x) for x in self._holes])

    @property
    def made(self) -> float:
        """Bytes of the result."""
        return nbytes(self.shape) if self.recipe is None else self.recipe.made

    def split(self, given: Sequence[Any], *parts: Any) -> "Stages | None":
        """The same in stages: what parts of the question decide alone, and the rest. ``None`` without a recipe.

        Args:
            given: what the question was asked of.
            parts: what is made of the same arrays; they may have some in common.
        """
        if self.recipe is None:
            return None
        numbers = {id(x): k for k, x in enumerate(Survey(tuple(given)).arrays)}
        surveys = [Survey(part) for part in parts]
        pieces, joint = self.recipe.split(*([numbers[id(x)] for x in s.arrays] for s in surveys))
        costs = [_priced(x, self.graph) for x in (*pieces, joint)]
        return Stages(self, pieces, tuple(s.key for s in surveys), joint, tuple(costs[:-1]), costs[-1])


@dataclass(frozen=True)
class Stages:
    """An answer in stages.

    Attributes:
        whole: the answer.
        pieces: for every part of the question what it decides alone.
        keys: the structures of the parts.
        joint: what needs them all.
        costs: the prices of the pieces.
        cost: the price of the rest.
    """

    whole: Answer
    pieces: tuple[Recipe, ...]
    keys: tuple[Any, ...]
    joint: Recipe
    costs: tuple[Cost, ...]
    cost: Cost

    def piece(self, k: int, part: Any) -> list[Array]:
        """What part k decides."""
        return self.pieces[k](_alike(part, self.keys[k]))

    def __call__(self, given: Sequence[Any], *pieces: Sequence[Array]) -> Any:
        """The answer, with the pieces of all parts."""
        arrays = _alike(tuple(given), self.whole.key)
        results = self.joint([*arrays, *(x for piece in pieces for x in piece)])
        return filled(self.whole.shape, self.whole._holes, results)


def _alike(given: Any, key: Any) -> list[torch.Tensor]:
    """The tensors of what has a certain structure."""
    survey = Survey(given)
    if survey.key != key:
        raise ValueError("this is the answer for another structure.")
    return survey.arrays


def _priced(recipe: Recipe, graph: bool) -> Cost:
    """The price of a recipe; where gradients are to come, nothing is let go on the way."""
    return replace(recipe.cost, bytes=recipe.whole) if graph else recipe.cost


_ANSWERS: OrderedDict[Any, Answer] = OrderedDict()
_CHANGING = Lock()  # of what is kept
cleared_by(_ANSWERS.clear)


def answer(
    run: Callable[..., Any], given: Sequence[Any], budget: float = inf, progress: bool = False
) -> Answer:
    """The answer to ``run(*given)`` for all that has the structure of ``given``: by heart, or thought through now.

    Where arrays are no torch tensors, where values are asked for on the way, or where something may change unseen,
    there is no recipe, and the answer holds for what is given only.

    Args:
        run: a function of its arguments alone, defined once.
        given: networks, laws, tensors on one device, numbers and words, and collections of such.
        budget: flops beyond which there is no point in going on.
        progress: show a bar if it takes more than two seconds.

    Raises:
        Exceeded: if it takes more than the budget.
    """
    return answered(run, given, budget, progress)[0]


def answered(
    run: Callable[..., Any], given: Sequence[Any], budget: float = inf, progress: bool = False
) -> tuple[Answer, list[torch.Tensor] | None]:
    """As :func:`answer`, with the tensors of ``given`` if there is a recipe for these."""
    given = tuple(given)
    try:
        survey, device, graph = _surveyed(given)
        key = (run, device, survey.key, current_cap(), graph)
        found = _ANSWERS.get(key)
        if found is None:
            found = _thought_through(run, given, survey, device, budget, progress, graph)
        with _CHANGING:
            _ANSWERS[key] = found
            _ANSWERS.move_to_end(key)
            if len(_ANSWERS) > _MOST:
                _ANSWERS.popitem(last=False)
        return found, survey.arrays
    except UntapedError:
        cost, shape = priced_by_shapes(lambda: run(*given), budget)
        return Answer(cost, shape, run), None


def itemised(
    run: Callable[..., Any], given: Sequence[Any], budget: float = inf
) -> tuple[list[tuple[Any, Cost]], Cost]:
    """What ``run(*given)`` would do: every contraction or other operation with its price, and the price of all.

    Args:
        run: as for :func:`answer`; it is thought through, whether it was before or not.
        given: its arguments.
        budget: flops beyond which it is not thought further; the price is a lower bound then.
    """
    noted: list[tuple[Any, Cost]] = []
    given = tuple(given)
    try:
        try:
            survey, device, graph = _surveyed(given)
            whole = _thought_through(run, given, survey, device, budget, False, graph, noted)
            found = whole.cost
            if whole.recipe is not None:  # what was tried on the way and is not needed is not done
                done = {id(step.cost) for step in whole.recipe.steps}
                noted[:] = [item for item in noted if id(item[1]) in done]
        except UntapedError:
            noted.clear()
            found, _ = priced_by_shapes(lambda: run(*given), budget, noted)
    except (Exceeded, CostError) as error:
        found = error.cost
    return noted, found


def _surveyed(given: tuple[Any, ...]) -> tuple[Survey, torch.device, bool]:
    """What a question is asked of, where its tensors lie, and whether gradients are to come."""
    survey = Survey(given)
    graph = torch.is_grad_enabled() and any(x.requires_grad for x in survey.arrays)
    return survey, _device(survey.arrays), graph


def _thought_through(
    run: Callable[..., Any],
    given: tuple[Any, ...],
    survey: Survey,
    device: torch.device,
    budget: float,
    progress: bool,
    graph: bool,
    noted: list[tuple[Any, Cost]] | None = None,
) -> Answer:
    empty = [torch.empty(x.shape, dtype=x.dtype, device="meta") for x in survey.arrays]
    shadow = filled(given, survey.arrays, empty)
    with waiting("planning", unit=" steps", progress=progress) as bar:
        tape = Tape(empty, torch.is_tensor, bar.update, _memory)
        try:
            masks = {id(empty[k]): mask for k, mask in survey.masks.items()}
            with pricing(budget, noted) as bill, taping(tape), _Writing(tape, device), supported(masks):
                result = run(*shadow)
        except Exceeded as error:
            error.cost = replace(error.cost, machine=_machine(survey.arrays, device))
            raise
        except (CostError, UntapedError):
            raise
        except EMPTY_ASKED as error:
            raise UntapedError(str(error)) from error
    recipe = tape.recipe(Survey(result).arrays)
    cost = replace(_priced(recipe, graph), weighed=bill.weighed, machine=_machine(survey.arrays, device))
    return Answer(cost, result, run, recipe, survey.key, graph)


def _memory(x: torch.Tensor) -> tuple[int, float]:
    """Where a tensor lies (views of one tensor in the same place), and the bytes there."""
    storage = x.untyped_storage()
    return storage._cdata, float(storage.nbytes())


def _device(arrays: Sequence[torch.Tensor]) -> torch.device:
    """Where the arrays are, besides empty ones."""
    devices = {x.device for x in arrays} - {torch.device("meta")}
    if len(devices) > 1:
        raise UntapedError(f"tensors lie on several devices: {sorted(map(str, devices))}.")
    return devices.pop() if devices else torch.device("meta")


def _machine(arrays: Sequence[torch.Tensor], device: torch.device) -> Machine:
    """What computes."""
    kinds = [str(x.dtype).removeprefix("torch.") for x in arrays if x.dtype.is_floating_point]
    return ("torch", kinds[0] if kinds else "float64", "cpu" if device.type == "meta" else str(device))


class _Writing(TorchFunctionMode):
    """Notes what is done to tensors between contractions."""

    def __init__(self, tape: Tape, device: torch.device):
        super().__init__()
        self._tape, self._device = tape, device

    def __torch_function__(
        self, fn: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(fn, "__name__", "")
        if name == "__get__" and not isinstance(value := fn(*args), torch.Tensor):
            return value  # a shape, a dtype: nothing is done
        named = dict(kwargs or {})
        if name in _IN_PLACE or (name.endswith("_") and not name.endswith("__")):
            raise UntapedError(f"{name} changes a tensor in place.")
        value = outlined(fn, args, named)
        if current_tape() is not self._tape:  # a question inside the question, with a tape of its own
            return value
        if fn is torch.empty:  # a placeholder: what it stands for is noted by whoever makes it
            return value
        if torch.is_tensor(value) or (isinstance(value, tuple | list) and any(map(torch.is_tensor, value))):
            here = named | {"device": self._device} if "device" in named else named
            self._tape.note(fn, args, here, value)
        return value
