"""Cut: where a forward pass falls into layers, and what they are called."""

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass

from torch import nn

from tnsim.convert.record.gradient import constant, entangled
from tnsim.convert.record.trace import Call, Node, Recorded, Trace, members, words

__all__ = ["MOST_NAMES", "Layer", "cut"]

MOST_NAMES = 4
_LINEAR = words("linear matmul rmatmul mm einsum mv addmm conv1d conv2d conv3d")
_SUMS = words("""
    add radd sub rsub subtract cat concat concatenate stack hstack vstack dstack column_stack row_stack where setitem
    written masked_fill expand_as view_as reshape_as type_as broadcast_tensors index_add index_copy scatter
    scatter_add lerp complex
""")  # of several tensors
_POWERS = words("""
    square pow prod cumprod var var_mean std std_mean det linalg_det matrix_power linalg_matrix_power norm linalg_norm
    linalg_vector_norm linalg_matrix_norm abs absolute sqrt rsqrt cdist hypot mse_loss
""")  # of a single one


@dataclass(frozen=True)
class Layer:
    """Consecutive operations between two tensors through which all data flows.

    Attributes:
        name: what it is called.
        source: the tensor it reads.
        output: the tensor it computes.
        steps: its operations.
        is_constant: whether autograd sees it as one.
    """

    name: str
    source: Node
    output: Node
    steps: tuple[Recorded, ...]
    is_constant: bool = False


@dataclass
class _Group:
    """Operations that will be one layer, seen from the calls made by one module (the base)."""

    source: Node
    output: Node
    steps: list[Recorded]
    base: int

    @property
    def calls(self) -> list[Call]:
        """The children that are called, those with weights if there are any."""
        found = [(step, call) for step in self.steps if (call := _child(step, self.base))]
        heavy = [call for step, call in found if step.has_weights]
        return list(dict.fromkeys(heavy or [call for _, call in found]))

    @property
    def has_weights(self) -> bool:
        return any(step.has_weights for step in self.steps)

    @property
    def is_linear(self) -> bool:
        """Whether it multiplies no data with data."""
        return not any(map(_is_product, self.steps))

    @property
    def awaits_projection(self) -> bool:
        """Whether it ends in a product written in the base module itself."""
        for step in reversed(self.steps):
            if _is_product(step):
                return _child(step, self.base) is None
            if step.has_weights or len(step.inputs) > 1:
                return False
        return False

    @property
    def is_projection(self) -> bool:
        """Whether it is one linear map, called or written in the base module itself."""
        heavy = [step for step in self.steps if step.has_weights]
        if len(heavy) != 1 or heavy[0].op not in _LINEAR or any(map(_is_product, self.steps)):
            return False
        call = _child(heavy[0], self.base)
        return call is None or call.is_layer

    def absorb(self, other: "_Group") -> None:
        self.steps += other.steps
        self.output = other.output


def cut(trace: Trace, held: Set[Node] = frozenset()) -> tuple[Layer, ...]:
    """The layers of a forward pass.

    A cut is a place where all that is computed later depends on one tensor only, and everywhere with its gradient or
    everywhere without. Pieces between cuts that lie in the same call of a child module are one layer, with that
    module's path as its name, and so are a piece without weights and the piece before it, as long as one of them has no
    products: two pieces with products of data stay apart, whatever modules they are in. A linear map right after a product
    is that product's down projection.

    Args:
        trace: the forward pass.
        held: tensors that are no polynomials, at which there is no cut.

    Example:
        >>> import torch
        >>> from tnsim.convert import convert
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 2))
        >>> convert(model.eval()).names
        ('0', '1', '2')
    """
    groups = _grouped(trace, _base(trace.steps), held)
    return _labelled(groups if len(groups) > 1 else _grouped(trace, 0, held), constant(trace))


def _base(steps: Sequence[Recorded]) -> int:
    """The depth of the module whose children are the layers: below wrappers that call a single child."""
    heavy = [step for step in steps if step.has_weights]
    depth = 0
    while True:
        children = {_child(step, depth) for step in heavy}
        call = next(iter(children), None)
        if len(children) != 1 or call is None:
            return depth
        below = heavy[0].stack.index(call)
        if all(_child(step, below) is None for step in heavy):
            return depth
        depth = below


def _child(step: Recorded, depth: int) -> Call | None:
    """The call, below the module at ``depth``, that an operation lies in; containers are looked through."""
    below = [call for call in step.stack[depth + 1 :] if not isinstance(call.module, nn.Sequential)]
    return below[0] if below else None


def _is_product(step: Recorded) -> bool:
    if step.rule is not None:
        return step.rule.degree > 1
    return step.op in _POWERS or (step.op not in _SUMS and len(members((step.args, step.kwargs), Node)) > 1)


def _pieces(trace: Trace, base: int, held: Set[Node]) -> list[_Group]:
    """The smallest pieces between cuts."""
    last: dict[Node, int] = {trace.output: len(trace.steps)}
    for i, step in enumerate(trace.steps):
        for node in step.inputs:
            last[node] = max(last.get(node, 0), i)
    pieces: list[_Group] = []
    live = {trace.source}
    whole = entangled(trace) | (held - {trace.output})
    source, steps = trace.source, []
    for i, step in enumerate(trace.steps):
        steps.append(step)
        live = {node for node in live | set(step.outputs) if last.get(node, -1) > i}
        if len(live) == 1 and not live & whole and not any(n.is_tokens or n.is_complex for n in live):
            (node,) = live
            pieces.append(_Group(source, node, steps, base))
            source, steps = node, []
    return pieces or [_Group(trace.source, trace.output, [], base)]


def _grouped(trace: Trace, base: int, held: Set[Node]) -> list[_Group]:
    groups: list[_Group] = []
    for piece in _pieces(trace, base, held):
        if not groups:
            groups.append(piece)
            continue
        before = groups[-1]
        shares = set(piece.calls) & set(before.calls)
        projects = before.awaits_projection and piece.is_projection
        light = not piece.has_weights or not before.has_weights
        if (piece.is_linear or before.is_linear) and (shares or projects or light):
            before.absorb(piece)
        else:
            groups.append(piece)
    return groups


def _labelled(groups: Sequence[_Group], constants: Set[Node]) -> tuple[Layer, ...]:
    counts: dict[str, int] = {}
    layers = []
    calls = Counter(call for group in groups for call in group.calls)
    for i, group in enumerate(groups):
        name = _name(group, i, {call for call, n in calls.items() if n > 1})
        counts[name] = counts.get(name, 0) + 1
        if counts[name] > 1:
            name = f"{name}#{counts[name]}"
        layers.append(Layer(name, group.source, group.output, tuple(group.steps), group.output in constants))
    return tuple(layers)


def _name(group: _Group, position: int, divided: Set[Call]) -> str:
    """Paths of the children called; else names of the parameters used; else a number.

    Of a child that was divided into several layers, the children that are called in this one.
    """
    roots = [step.stack[0].module for step in group.steps if step.stack[-1].path == ""]
    if roots and group.steps[0].stack[0].is_layer:
        return type(roots[0]).__name__.lower()
    names = [
        name for call in group.calls for name in (_within(group, call) if call in divided else [call.path])
    ]
    names = list(dict.fromkeys(names))
    names = names or list(dict.fromkeys(n for step in group.steps for n in step.weights))
    return "+".join(names) if 0 < len(names) <= MOST_NAMES else f"layer{position}"


def _within(group: _Group, call: Call) -> list[str]:
    """The part of a child that a layer holds, as ``child.a+b``: its own children, else its parameters."""
    steps = [step for step in group.steps if call in step.stack]
    inner = _Group(group.source, group.output, steps, steps[0].stack.index(call))
    paths = [c.path for c in inner.calls] or [n for step in steps for n in step.weights]
    own = list(dict.fromkeys(path.removeprefix(f"{call.path}.") for path in paths))
    return [f"{call.path}.{'+'.join(own)}"] if 0 < len(own) <= MOST_NAMES else [call.path]
