"""Trace: the operations of one forward pass, in order, each with the module it stands in."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from tnsim.algebra import Poly
from tnsim.convert.module.errors import located
from tnsim.convert.module.output import Output
from tnsim.convert.module.weights import Weights, is_builtin

__all__ = ["BATCH_SIZE", "Call", "Node", "Recorded", "Trace", "mapped", "members", "words"]

BATCH_SIZE = 3  # samples in the traced batch; odd, so that a view that mixes samples rarely fits


@dataclass(frozen=True, eq=False)
class Call:
    """One call of one module; a shared module is called several times."""

    path: str
    module: nn.Module

    @property
    def is_layer(self) -> bool:
        """Whether this is one of torch's own layers."""
        return is_builtin(self.module)


@dataclass(frozen=True, eq=False)
class Node:
    """A tensor that depends on the input.

    Attributes:
        shape: its shape in the traced batch, batch axis included.
        is_tokens: whether it holds token ids, which stand for one-hot vectors.
        is_complex: whether its numbers are complex, which stand for pairs of real ones.
        is_bool: whether it says what is true of token ids, in zeros and ones.
    """

    shape: tuple[int, ...]
    is_tokens: bool = False
    is_complex: bool = False
    is_bool: bool = False


@dataclass(frozen=True, eq=False)
class Recorded:
    """One operation on data.

    Attributes:
        op: normalised name, such as ``add`` for ``x + y``, ``x.add(y)``, ``x += y`` and ``torch.add(x, y)``.
        function: what to call.
        args: positional arguments, with a :class:`Node` in place of every tensor that depends on the input.
        kwargs: the others, likewise.
        outputs: one node, or several for operations that return a tuple.
        several: whether it returns a tuple.
        stack: the module calls around it, outermost first.
        label: how to call it in a message.
        source: file, line and text of the statement in the user's code.
        weights: names of the parameters and buffers it reads.
        rule: its polynomial, where the user registered one.
        is_detached: whether autograd sees its result as a constant.
    """

    op: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Node, ...]
    several: bool
    stack: tuple[Call, ...]
    label: str
    source: str
    weights: tuple[str, ...]
    rule: Poly | None = None
    is_detached: bool = False

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The nodes it reads, in order, with repetition."""
        return tuple(members((self.args, self.kwargs), Node))

    @property
    def where(self) -> str:
        """Module path, and the line of code if the operation is not a layer's own."""
        call = self.stack[-1]
        return located(call.path, "" if call.is_layer else self.source)

    @property
    def name(self) -> str:
        """``ReLU`` for a layer, ``torch.relu`` for a function."""
        call = self.stack[-1]
        return type(call.module).__name__ if call.is_layer else self.label

    @property
    def has_weights(self) -> bool:
        """Whether the operation has parameters or buffers of its own."""
        return bool(self.weights) or self.rule is not None


@dataclass(frozen=True, eq=False)
class Trace:
    """A forward pass.

    Attributes:
        source: the input.
        output: the result.
        steps: the operations the result depends on, in order.
        root: the call of the whole module, which is a copy of the user's.
        weights: the tensors it ran with.
        origins: for the id of every constant, the parameters and buffers it was computed from.
        precision: relative rounding of the coarsest dtype that ``forward`` casts its data to, or 0.
        alive: what keeps those ids valid.
        selected: which tensor of what ``forward`` returns the result is, as the user said it.
    """

    source: Node
    output: Node
    steps: tuple[Recorded, ...]
    root: Call
    weights: Weights
    origins: dict[int, tuple[str, ...]]
    precision: float
    alive: list[Tensor] = field(repr=False)
    selected: Output = None


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set of names."""
    return frozenset(text.split())


def mapped(value: Any, kind: type, fn: Callable[[Any], Any]) -> Any:
    """``value`` with ``fn`` applied to every member of type ``kind``, inside tuples, lists and dicts."""
    if isinstance(value, kind):
        return fn(value)
    if isinstance(value, tuple | list) and type(value) in (tuple, list):
        return type(value)(mapped(v, kind, fn) for v in value)
    if isinstance(value, dict):
        return {k: mapped(v, kind, fn) for k, v in value.items()}
    return value


def members(value: Any, kind: type) -> list[Any]:
    """All members of type ``kind`` inside tuples, lists and dicts, in order."""
    found: list[Any] = []
    mapped(value, kind, found.append)
    return found
