"""Recipes: a question about models is thought through once for every structure, and then only computed.

What is done to the weights of a model depends on its wiring and shapes alone, never on their values. So a question is
first asked of empty tensors of these shapes, which gives its price and a list of operations. The list is kept, and
other models of the same structure (the next checkpoint, the same model after a step) cost only the operations.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from math import inf
from typing import Any

import numpy as np
import quimb.tensor as qtn
import torch
from torch.overrides import TorchFunctionMode
from tqdm import tqdm

from tnsim.algebra.price import Cost, CostError, current_cap, pricing
from tnsim.algebra.support import support, supported
from tnsim.algebra.tape import Recipe, Tape, UntapedError, current_tape, taping
from tnsim.algebra.wires import space
from tnsim.measure.measure import Measure

__all__ = ["Answer", "answer"]

_MOST = 256  # answers kept, the least recently used go first
_PLAIN = (str, int, float, type(None), type, torch.dtype)
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
    """

    cost: Cost
    shape: Any
    run: Callable[..., Any]
    recipe: Recipe | None = None
    key: Any = None

    def __call__(self, given: Sequence[Any], progress: bool = False) -> Any:
        """The result for models of that structure."""
        if self.recipe is None:
            return self.run(*given)
        survey = _Survey(tuple(given))
        if survey.key != self.key:
            raise ValueError("this is the answer for another structure.")
        return _filled(self.shape, _Survey(self.shape).arrays, self.recipe(survey.arrays, progress))

    def outline(self) -> Any:
        """The shape of another result, with empty tensors of its own."""
        if self.recipe is None:
            return self.shape
        arrays = _Survey(self.shape).arrays
        return _filled(self.shape, arrays, [torch.empty_like(x) for x in arrays])


_ANSWERS: OrderedDict[Any, Answer] = OrderedDict()


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
    given = tuple(given)
    try:
        survey = _Survey(given)
        graph = torch.is_grad_enabled() and any(x.requires_grad for x in survey.arrays)
        key = (run, _device(survey.arrays), survey.key, current_cap(), graph)
        if key not in _ANSWERS:
            _ANSWERS[key] = _thought_through(run, given, survey, key[1], budget, progress, graph)
        _ANSWERS.move_to_end(key)
        if len(_ANSWERS) > _MOST:
            _ANSWERS.popitem(last=False)
        return _ANSWERS[key]
    except UntapedError:
        with pricing(budget) as bill:
            shape = run(*given)
        return Answer(bill.total(), shape, run)


def _thought_through(
    run: Callable[..., Any],
    given: tuple[Any, ...],
    survey: "_Survey",
    device: torch.device,
    budget: float,
    progress: bool,
    graph: bool,
) -> Answer:
    empty = [torch.empty(x.shape, dtype=x.dtype, device="meta") for x in survey.arrays]
    shadow = _filled(given, survey.arrays, empty)
    with tqdm(desc="planning", unit=" steps", delay=2, leave=False, disable=not progress) as bar:
        tape = Tape(empty, lambda x: isinstance(x, torch.Tensor), bar.update, _memory)
        try:
            masks = {id(empty[k]): mask for k, mask in survey.masks.items()}
            with pricing(budget) as bill, taping(tape), _Writing(tape, device), supported(masks):
                result = run(*shadow)
        except (CostError, UntapedError):
            raise
        except RuntimeError as error:  # what torch says when an empty tensor is asked for values
            raise UntapedError(str(error)) from error
    recipe, cost = tape.recipe(_Survey(result).arrays), bill.total()
    held = recipe.whole if graph else recipe.peak  # where gradients are to come, nothing is let go on the way
    return Answer(replace(cost, bytes=held), result, run, recipe, survey.key)


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


class _Writing(TorchFunctionMode):
    """Notes what is done to tensors between contractions."""

    def __init__(self, tape: Tape, device: torch.device):
        super().__init__()
        self._tape, self._device = tape, device

    def __torch_function__(
        self, fn: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        name = getattr(fn, "__name__", "")
        if name in _IN_PLACE or (name.endswith("_") and not name.endswith("__")):
            raise UntapedError(f"{name} changes a tensor in place.")
        value = fn(*args, **named)
        if current_tape() is not self._tape:  # a question inside the question, with a tape of its own
            return value
        if fn is torch.empty:  # a placeholder: what it stands for is noted by whoever makes it
            return value
        several = isinstance(value, tuple | list) and any(isinstance(x, torch.Tensor) for x in value)
        if several or isinstance(value, torch.Tensor):
            here = {k: self._device if k == "device" else x for k, x in named.items()}
            self._tape.note(fn, args, here, value)
        return value


class _Survey:
    """What an object is made of: its tensors, each counted once, where masks are zero, and a key of everything else.

    Raises:
        UntapedError: if it holds anything else that may change.
    """

    def __init__(self, given: Any):
        self.arrays: list[torch.Tensor] = []
        self.masks: dict[int, np.ndarray] = {}
        self._numbers: dict[int, int] = {}
        self.key = self._of(given)

    def _of(self, x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            if id(x) not in self._numbers:
                self._numbers[id(x)] = len(self.arrays)
                self.arrays.append(x)
            return (self._numbers[id(x)], tuple(x.shape), x.dtype)
        if isinstance(x, qtn.Tensor):
            return (x.inds, tuple(x.tags), self._of(x.data), self._mask(x))
        if isinstance(x, tuple | list):
            return (type(x), *map(self._of, x))
        if isinstance(x, Mapping):
            return (type(x), *((k, self._of(v)) for k, v in x.items()))
        if isinstance(x, slice):
            return (slice, x.start, x.stop, x.step)
        if _is_open(x):
            return (type(x), *((k, self._of(v)) for k, v in vars(x).items()))
        if isinstance(x, _PLAIN) or (isinstance(x, frozenset) and all(isinstance(y, _PLAIN) for y in x)):
            return (type(x), x)
        raise UntapedError(f"a {type(x).__name__} may change unseen.")

    def _mask(self, x: qtn.Tensor) -> Any:
        """Where a tensor over positions alone is zero: that decides what is to be done, and belongs to the key."""
        if not isinstance(x.data, torch.Tensor) or "I" in x.tags or not x.inds:
            return None
        if any(space(ix) not in ("s", "m") for ix in x.inds):
            return None
        found = support(x.data)
        self.masks[self._numbers[id(x.data)]] = found
        return None if found.all() else found.tobytes()


def _filled(x: Any, old: Sequence[torch.Tensor], new: Sequence[torch.Tensor]) -> Any:
    """The same object with other tensors."""
    tensors = {id(a): b for a, b in zip(old, new, strict=True)}

    def of(x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            return tensors[id(x)]
        if isinstance(x, qtn.Tensor):
            return qtn.Tensor(of(x.data), x.inds, tags=x.tags)
        if isinstance(x, tuple | list):
            return type(x)(map(of, x))
        if isinstance(x, Mapping):
            return {k: of(v) for k, v in x.items()}
        if _is_open(x):
            copy = object.__new__(type(x))
            for k, v in vars(x).items():
                object.__setattr__(copy, k, of(v))
            return copy
        return x

    return of(x)


def _is_open(x: Any) -> bool:
    """Whether an object is its attributes."""
    return isinstance(x, Measure) or (is_dataclass(x) and not isinstance(x, type))
