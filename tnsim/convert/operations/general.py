"""General: two ways for an operation that the table does not know.

Torch takes many operations apart into others (:func:`decomposed`): these are translated one by one. And an operation that
is affine in its data, as random batches say, is the matrix that it is on a basis.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode

from tnsim.convert.module.errors import unsupported
from tnsim.convert.operations.maps import affine_in_all, check_dense, is_affine
from tnsim.convert.operations.table import OPERATIONS
from tnsim.convert.record.trace import Node, mapped, members
from tnsim.convert.values.layout import Misfit
from tnsim.convert.values.site import Site
from tnsim.convert.values.value import Value

__all__ = ["operated"]

_OTHERWISE = (
    "batch_norm",
    "dropout",
    "rule",
    "einsum",
    "bilinear",
)  # core operations of these names are other ones
_CORE = {
    **{name: fn for name, fn in OPERATIONS.items() if name not in _OTHERWISE},
    **dict.fromkeys(("to", "_to_copy", "lift_fresh", "lift_fresh_copy"), lambda site, input, *_, **__: input),
}


def operated(site: Site, args: Any, kwargs: Any) -> Any:
    """What an operation gives: by the table on axes, else on flat values; else in one of the two general ways.

    Raises:
        Refusal: if it has no polynomial form, for a reason that the table knows.
        ConvertError: if it has none that is known.
    """
    if site.step.op in OPERATIONS:
        try:
            return _by_table(site, args, kwargs)
        except Misfit:
            pass
    values = members((args, kwargs), Value)
    fns = _functions(site, args, kwargs)
    if values and all(is_affine(values, fn) for fn in fns):
        try:
            return _affine(site, args, kwargs, values, fns)
        except Misfit:
            pass
        try:
            return _decomposed(site, args, kwargs)
        except _Unknown:
            check_dense(values, [node.shape for node in site.step.outputs])
            flat = [v.flattened() for v in values]
            return _affine(site, args, kwargs, flat, fns)
    try:
        return _decomposed(site, args, kwargs)
    except _Unknown:
        raise unsupported(site.step.op, site.step.name, site.step.where) from None


def _by_table(site: Site, args: Any, kwargs: Any) -> Any:
    translate = _CORE.get(site.step.op) or OPERATIONS[site.step.op]
    try:
        return translate(site, *args, **kwargs)
    except Misfit:
        args, kwargs = mapped((args, kwargs), Value, lambda v: v.flattened())
        return translate(site, *args, **kwargs)


# ---------------------------------------------------------------- affine in its data


def _functions(site: Site, args: Any, kwargs: Any) -> list[Callable[..., Tensor]]:
    """The operation as functions of its data alone, one for each of its results."""

    def call(index: int) -> Callable[..., Tensor]:
        def fn(*data: Tensor) -> Tensor:
            rest = iter(data)
            a, k = mapped((args, kwargs), Value, lambda _: next(rest))
            out = site.step.function(*a, **k)
            found: Tensor = out[index] if site.step.several else out
            return found

        return fn

    return [call(k) for k in range(len(site.step.outputs))]


def _affine(site: Site, args: Any, kwargs: Any, values: list[Value], fns: list[Callable[..., Tensor]]) -> Any:
    constants = members((args, kwargs), Tensor)
    role = site.role(*constants)
    shapes = [node.shape for node in site.step.outputs]
    keep = _adds_constants(site, args, kwargs)
    results = tuple(
        affine_in_all(values, fn, shape, role, keep) for fn, shape in zip(fns, shapes, strict=True)
    )
    return results if site.step.several else results[0]


@torch.no_grad()
def _adds_constants(site: Site, args: Any, kwargs: Any) -> bool:
    """Whether a constant is added, whatever it is: the wiring must not depend on a bias being zero today."""
    if not any(c.is_floating_point() for c in members((args, kwargs), Tensor)):
        return False
    args, kwargs = mapped(
        (args, kwargs), Tensor, lambda c: torch.ones_like(c) if c.is_floating_point() else c
    )
    like = members((args, kwargs), Value)[0].poly.like
    args, kwargs = mapped((args, kwargs), Value, lambda v: like.new_zeros(v.shape))
    try:
        out = site.step.function(*args, **kwargs)
    except (RuntimeError, ValueError):
        return False
    return any(bool(t.any()) for t in (out if site.step.several else (out,)))


# ---------------------------------------------------------------- taken apart


_Key = tuple[int, tuple[int, ...], tuple[int, ...]]


def _key(t: Tensor) -> _Key:
    """What two tensors have in common that are one: memory, shape and strides. Objects come and go on the way."""
    return t.data_ptr(), tuple(t.shape), t.stride()


class _Unknown(Exception):
    """An operation is made of others that the table does not know."""


@dataclass(frozen=True, eq=False)
class _Core:
    """One operation of torch's core set."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any

    @property
    def name(self) -> str:
        return str(self.function._schema.name).partition("::")[2]

    @property
    def results(self) -> tuple[Tensor, ...]:
        return tuple(self.result) if isinstance(self.result, tuple | list) else (self.result,)


@dataclass
class _Watch(TorchDispatchMode):
    """Runs torch code and writes down the operations it is made of, taken apart as far as the table needs."""

    program: list[_Core] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch in place of a core operation."""
        kwargs = kwargs or {}
        name = str(func._schema.name).partition("::")[2]
        if name not in _CORE and func in decomposition_table:
            with self:
                out = decomposition_table[func](*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        self.program.append(_Core(func, args, kwargs, out))
        return out


def _decomposed(site: Site, args: Any, kwargs: Any) -> Any:
    """The operation as others that the table knows.

    Raises:
        _Unknown: if there is one it does not.
    """
    known: dict[_Key, Any] = {}
    alive: list[Tensor] = []

    def stand_in(v: Value) -> Tensor:
        like = v.poly.like
        generator = torch.Generator().manual_seed(len(alive))
        t = torch.randn(v.shape, generator=generator, dtype=torch.float64, device="cpu").to(
            like.device, like.dtype
        )
        known[_key(t)] = v
        alive.append(t)
        return t

    inner_args, inner_kwargs = mapped((args, kwargs), Value, stand_in)
    watch = _Watch()
    try:
        with torch.no_grad(), watch:
            out = site.step.function(*inner_args, **inner_kwargs)
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        raise _Unknown from None
    _check_known(watch.program, set(known))
    for core in watch.program:
        try:
            made = _carried_out(site, core, known)
        except Misfit:
            raise _Unknown from None
        known |= dict(zip(map(_key, core.results), made, strict=True))
    found = mapped(out, Tensor, lambda t: known.get(_key(t), t))
    if members(found, Tensor):
        raise _Unknown
    return tuple(found) if isinstance(found, list) else found


def _check_known(program: list[_Core], data: set[_Key]) -> None:
    """Raise if an operation on data is not in the table; nothing has been computed then."""
    for core in program:
        if core.function._schema.is_mutable:
            raise _Unknown
        if any(_key(t) in data for t in members((core.args, core.kwargs), Tensor)):
            real = all(t.is_floating_point() for t in core.results)
            if core.name not in _CORE or not real:
                raise _Unknown
            data |= set(map(_key, core.results))


def _carried_out(site: Site, core: _Core, known: dict[_Key, Any]) -> tuple[Any, ...]:
    """The results of one core operation: values, or constants, which are computed once more so that autograd sees them."""
    args, kwargs = mapped((core.args, core.kwargs), Tensor, lambda t: known.get(_key(t), t))
    several = isinstance(core.result, tuple | list)
    if members((args, kwargs), Value):
        nodes = tuple(Node(tuple(t.shape)) for t in core.results)
        step = replace(
            site.step, op=core.name, function=core.function, outputs=nodes, several=several, rule=None
        )
        made = _by_table(replace(site, step=step), args, kwargs)
        return made if isinstance(made, tuple) else (made,)
    made = core.function(*args, **kwargs)
    constants = tuple(made) if several else (made,)
    for c in members(constants, Tensor):
        site.adopt(c, *members((args, kwargs), Tensor))
    return constants
