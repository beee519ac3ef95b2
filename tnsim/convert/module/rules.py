"""Rules: how a user says what polynomial a module of their own is."""

from collections.abc import Callable
from functools import singledispatch
from typing import Any, TypeVar

from torch import nn

from tnsim.algebra import Poly

__all__ = ["has_rule", "register", "rule"]

Rule = TypeVar("Rule", bound=Callable[..., Poly])


@singledispatch
def rule(module: Any) -> Poly:
    """The polynomial of a module whose class has a rule."""
    raise NotImplementedError(f"no rule for {type(module).__name__}.")


def register(kind: type[nn.Module]) -> Callable[[Rule], Rule]:
    """Declare the polynomial of a class of modules, so that :func:`convert` need not look inside.

    The rule takes the module and returns a :class:`~tnsim.algebra.Poly` over one feature axis. Its arrays may
    have any floating dtype; they are cast. Subclasses inherit the rule. Use it where ``forward`` calls code that
    is not torch, or where the factors should be other ones than those of the code.

    Args:
        kind: the class of modules.

    Returns:
        A decorator that leaves the function as it is.

    Example:
        >>> import torch, tnsim
        >>> from tnsim.algebra import poly
        >>> from tnsim.convert import convert, register
        >>> class Cube(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.w = torch.nn.Parameter(torch.ones(2, 3))
        ...     def forward(self, x):
        ...         return (x @ self.w.T).abs() ** 3 * torch.sign(x @ self.w.T)
        >>> @register(Cube)
        ... def cube(module):
        ...     return poly("A[out,in0] B[out,in1] C[out,in2]", A=module.w, B=module.w, C=module.w)
        >>> net = convert(torch.nn.Sequential(Cube(), torch.nn.Linear(2, 1)), torch.zeros(1, 3))
        >>> net.names, net.degree
        (('0', '1'), 3)
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise TypeError(f"a rule belongs to a class of modules; write @register(MyModule), not {kind!r}.")

    def decorate(function: Rule) -> Rule:
        rule.register(kind)(function)
        return function

    return decorate


def has_rule(module: nn.Module) -> bool:
    """Whether the module's class, or one it inherits from, has a rule."""
    return rule.dispatch(type(module)) is not rule.dispatch(object)
