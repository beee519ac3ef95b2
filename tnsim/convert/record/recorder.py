"""Recorder: watches a forward pass and writes down every operation on data."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.overrides import resolve_name

from tnsim.algebra import Poly
from tnsim.convert.module.ambient import Mode
from tnsim.convert.module.errors import FITS, NEVER, ConvertError, IdsError, InputError, located, unsupported
from tnsim.convert.module.weights import Weights
from tnsim.convert.record.frames import actor, source
from tnsim.convert.record.functions import (
    CASTS,
    DETACHED,
    EMPTY,
    FACTS,
    FRESH,
    LIKE,
    READ_IDS,
    functional,
    operation,
    spelled,
)
from tnsim.convert.record.norms import WRITTEN_OUT
from tnsim.convert.record.trace import Call, Node, Recorded, mapped, members
from tnsim.convert.record.views import Views

__all__ = ["Recorder"]


class Recorder(Mode):
    """Runs a module on a small batch and records the operations that touch it.

    Every torch call of the forward pass comes by here. If none of its arguments depends on the input it is left
    alone, and only the names of the weights it read are remembered. Otherwise it becomes a :class:`Recorded`. Shapes,
    loops and assertions over shapes are therefore ordinary Python; only a decision on *values* is an error.

    Args:
        weights: the tensors the module runs with.
    """

    def __init__(self, weights: Weights):
        super().__init__()
        self.weights = weights
        self.steps: list[Recorded] = []
        self.nodes: dict[int, Node] = {}
        self.origins: dict[int, tuple[str, ...]] = {id(t): (name,) for name, t in weights.tensors.items()}
        self.alive: list[Tensor] = list(weights.tensors.values())
        self.root = Call("", nn.Identity())
        self.stack: list[Call] = []
        self.stale: set[int] = set()
        self.views = Views()
        self.silent = False
        self.label = ""  # of an operation that is being written out
        self.with_grad = torch.is_grad_enabled()
        self.precision = 0.0

    # ------------------------------------------------------------------ what the module is given

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls in which it is now; hooks of the whole module run outside of its own call."""
        return tuple(self.stack) or (self.root,)

    def feed(self, x: Tensor, module: nn.Module) -> Node:
        """Declare ``x`` to be the input of a module; whole numbers are token ids."""
        self.root = Call("", module)
        return self._know(x, is_tokens=not x.is_floating_point())

    @contextmanager
    def inside(self, path: str, module: nn.Module) -> Iterator[None]:
        """Everything recorded in this context stands in a call of ``module``."""
        call = Call(path, module) if path else self.root
        self.stack.append(call)
        try:
            yield
        finally:
            self.stack.pop()

    def leaf(self, forward: Callable[..., Any], polynomial: Poly, args: Any, kwargs: Any) -> Any:
        """Record the call of a module that has a rule, without looking inside."""
        call = self.calls[-1]
        kind = type(call.module).__name__
        tensors = members((args, kwargs), Tensor)
        if not any(id(t) in self.nodes for t in tensors):
            return forward(*args, **kwargs)
        if len(tensors) != 1:
            raise ConvertError(
                f"the rule for {kind} {located(call.path)} cannot be used: the module is called with "
                f"{len(tensors)} tensors. A rule is a map of one tensor; drop it, and let the module be traced."
            )
        self.silent = True
        try:
            with torch.no_grad():
                out = forward(*args, **kwargs)
                out = out.clone() if isinstance(out, Tensor) else out  # known, even if numpy made it
        finally:
            self.silent = False
        if not isinstance(out, Tensor):
            raise ConvertError(f"{kind} {located(call.path)} has a rule but returns a {type(out).__name__}.")
        prefix = f"{call.path}." if call.path else ""
        names = tuple(name for name in self.weights.tensors if name.startswith(prefix))
        self._write("rule", forward, args, kwargs, (out,), False, kind, names, polynomial)
        return out

    # ------------------------------------------------------------------ what the module does

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch instead of ``func``."""
        kwargs = spelled(func, kwargs or {})
        if self.silent:
            return func(*args, **kwargs)
        op, same_place = operation(func)
        tensors = members((args, kwargs), Tensor)
        if any(id(t) in self.stale for t in tensors):
            raise ConvertError(
                f"a tensor read {self._where()} shares memory with one that was changed in place. Write "
                "`x = x + y` instead of the in-place operation."
            )
        if any(is_functorch_wrapped_tensor(t) for t in tensors):
            raise ConvertError(
                f"torch.func is used {self._where()}, by torch.vmap or a transform like it, which hides its operations. "
                "Write the same with operations on batches, such as @ and einsum."
            )
        data = [t for t in tensors if id(t) in self.nodes]
        if not data:
            return self._constant(func, args, kwargs, tensors, same_place)
        if op in FACTS:
            return func(*args, **kwargs)
        if op in LIKE and id(args[0]) not in self.nodes:
            return self._constant(func, args, kwargs, tensors, same_place)
        if op in WRITTEN_OUT and not same_place:
            return self._written_out(op, func, args, kwargs)
        if op in FRESH:
            out = func(*args, **kwargs)
            return self._fresh(out.zero_() if op in EMPTY else out)
        if op in CASTS and id(args[0]) in self.nodes:
            out = func(*args, **kwargs)
            if not isinstance(out, Tensor):
                return out
            node = self.nodes[id(args[0])]
            if node.is_tokens and not out.is_floating_point():
                return args[0]
            if node.is_bool:
                return self._data(func, "alias", False, args, kwargs, data)
            if out.is_floating_point() and not (args[0].is_floating_point() or node.is_tokens):
                out = out.to(self.weights.dtype)  # one-hot vectors
                self.nodes[id(out)] = node
                return self._fresh(out)
            if out.is_floating_point():  # rounding is no part of the polynomial
                self.precision = max(self.precision, torch.finfo(out.dtype).eps)
                same = out.dtype == self.weights.own_dtype  # the module's own tensor is returned as it is
                if same or torch.is_grad_enabled() or not self.with_grad:
                    return args[0]
                return self._data(torch.Tensor.detach, "detach", False, (args[0],), {}, data)
        return self._data(func, op, same_place, args, kwargs, data)

    def _written_out(self, op: str, func: Any, args: Any, kwargs: Any) -> Any:
        """Record the operations that one is made of, under its name."""
        before, self.label = self.label, self.label or resolve_name(func) or op
        try:
            with self:
                return WRITTEN_OUT[op](self.weights.own_dtype, *args, **kwargs)
        finally:
            self.label = before

    def _constant(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor], same_place: bool) -> Any:
        kinds = {t.dtype for t in tensors if t.is_floating_point()}
        if len(kinds) > 1 and not same_place:
            args, kwargs = mapped((args, kwargs), Tensor, self._cast)
        out = func(*args, **kwargs)
        if operation(func)[0] in EMPTY and isinstance(out, Tensor):
            out.zero_()  # whatever stands in it is no part of the function
        if not same_place:
            self.views.note(members(out, Tensor), func, args, kwargs)
        names = tuple(dict.fromkeys(name for t in tensors for name in self.origins.get(id(t), ())))
        for t in [*members(out, Tensor), *(tensors[:1] if same_place else ())]:
            self.origins[id(t)] = names
            self.alive.append(t)
        return out

    def _data(self, func: Any, op: str, same_place: bool, args: Any, kwargs: Any, data: list[Tensor]) -> Any:
        label = (resolve_name(func) or op).removesuffix(".__get__")
        plain = functional(op) if same_place else None
        if same_place and plain is None:
            raise ConvertError(
                f"{label} {self._where()} writes into a tensor; a network has no memory. Build the result with "
                "torch.cat, torch.stack or torch.where instead."
            )
        if kwargs.get("out") is not None:
            raise ConvertError(f"{label} {self._where()} writes to out=; use its return value instead.")
        names = [n for t in members((args, kwargs), Tensor) for n in self.origins.get(id(t), ())]
        args, kwargs = mapped((args, kwargs), Tensor, lambda t: t if id(t) in self.nodes else self._cast(t))
        target: Any = args[0] if same_place else None
        original = args
        if plain is not None:  # the values of a traced batch do not matter, so nothing is really overwritten
            reshape, func = func, plain
            args = (target.clone(), *args[1:])
        try:
            with torch.no_grad():
                out = func(*args, **kwargs)
        except (RuntimeError, ValueError, IndexError) as error:
            shapes = ", ".join(str(("n", *t.shape[1:])).replace("'n'", "n") for t in data)
            reads_ids = op in READ_IDS and any(t.is_floating_point() for t in data)
            hint = (
                " If it reads token ids, pass some as example, such as torch.zeros(1, 4, dtype=torch.long)."
            )
            raise (IdsError if reads_ids else InputError)(
                f"{self._name(label)} {self._where()} does not take an input of shape {shapes}: "
                f"{str(error).splitlines()[0]}.{hint if reads_ids else FITS}"
            ) from None
        several = isinstance(out, tuple | list)
        outs = tuple(out) if several else (out,)
        if not outs or not all(isinstance(t, Tensor) for t in outs):
            if op in NEVER:
                raise unsupported(op, self._name(label), self._where())
            raise ConvertError(
                f"{actor()} decides on the values of its data: {label} {self._where()} turns a tensor into a Python "
                "value. A polynomial is the same formula for every input; use constants, or arithmetic on the data."
            )
        if target is not None:
            if outs[0].shape != target.shape:
                reshape(target, *args[1:], **kwargs)
            else:
                self._retire_aliases(target)
            self.origins.pop(id(target), None)
            outs = (target,)
            out = target
        weights = tuple(dict.fromkeys(names))
        self._write(op, func, original, kwargs, outs, several, label, weights, None)
        if target is not None:
            self._write_through(target, label, weights)
        else:
            self.views.note(outs, func, args, kwargs)
        return out

    # ------------------------------------------------------------------ book-keeping

    def _write(
        self,
        op: str,
        function: Any,
        args: Any,
        kwargs: Any,
        outs: tuple[Tensor, ...],
        several: bool,
        label: str,
        weights: tuple[str, ...],
        rule: Poly | None,
    ) -> None:
        args, kwargs = mapped((tuple(args), kwargs), Tensor, lambda t: self.nodes.get(id(t), t))
        tokens = op != "one_hot" and any(node.is_tokens for node in members((args, kwargs), Node))
        outputs = tuple(self._know(t, tokens and _is_whole(t)) for t in outs)
        self.steps.append(
            Recorded(
                op,
                function,
                args,
                kwargs,
                outputs,
                several,
                self.calls,
                self.label or label,
                source(),
                weights,
                rule,
                self.with_grad and (op in DETACHED or not torch.is_grad_enabled()),
            )
        )

    def _know(self, t: Tensor, is_tokens: bool = False) -> Node:
        self.alive.append(t)
        self.nodes[id(t)] = Node(tuple(t.shape), is_tokens, t.is_complex(), t.dtype == torch.bool)
        return self.nodes[id(t)]

    def _fresh(self, t: Any) -> Any:
        self.alive.append(t)
        return t

    def _cast(self, t: Tensor) -> Tensor:
        if not t.is_floating_point() or t.dtype == self.weights.dtype:
            return t
        cast = t.to(self.weights.dtype)
        self.alive.append(cast)
        self.origins[id(cast)] = self.origins.get(id(t), ())
        return cast

    def _retire_aliases(self, target: Tensor) -> None:
        """Tensors that share memory with one changed in place may not be read any more."""
        memory = target.untyped_storage().data_ptr()
        for t in self.alive:
            if t is not target and t.untyped_storage().data_ptr() == memory:
                self.stale.add(id(t))

    def _write_through(self, target: Tensor, label: str, weights: tuple[str, ...]) -> None:
        """What a view changed in place looks at has changed as well."""
        for base, part, function in self.views.written(target):
            self._write("written", function, (base, part), {}, (base,), False, label, weights, None)
            self.origins.pop(id(base), None)
            self.stale.discard(id(base))

    def _name(self, label: str) -> str:
        call = self.calls[-1]
        return type(call.module).__name__ if call.is_layer else label

    def _where(self) -> str:
        call = self.calls[-1]
        return located(call.path, "" if call.is_layer and actor() == "forward" else source())


def _is_whole(t: Tensor) -> bool:
    return not (t.is_floating_point() or t.is_complex() or t.dtype == torch.bool)
