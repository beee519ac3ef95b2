"""Estimate: a value, and how far it may be off."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import autoray as ar

from tnsim.common.notebook import Shown

__all__ = ["Estimate", "How", "SamplingError"]

Array = Any
How = Literal["exact", "sampled"]


class SamplingError(RuntimeError):
    """Draws do not give an answer whose error is known; the message says what was seen and what to do.

    Example:
        >>> import tnsim
        >>> models = [tnsim.nn.BilinearMLP(4, 4, 4, 2, n_layer=2) for _ in range(2)]
        >>> law = tnsim.draws(tnsim.Gaussian(), models, n=1000)
        >>> try:
        ...     tnsim.similarity(*models, under=law, error=1e-9)
        ... except tnsim.SamplingError:
        ...     print("not with a thousand draws")
        not with a thousand draws
    """


@dataclass(frozen=True, eq=False)
class Estimate(Shown):
    """A value with its standard error.

    It can be used wherever its value can: as a number, as an array, in arithmetic and in functions of torch. What comes of
    that is a plain tensor, for errors of values from the same draws are not independent.

    Attributes:
        value: a number or any array, without gradients.
        error: its standard error, of the same shape; 0 where it is exact. The value is within two of them in 95 of 100
            cases.
        method: ``"exact"`` or ``"sampled"``.
        samples: how many draws; 0 where it is exact.
        effective: how many equal draws would tell the norms of the models as well; of the norm for which they are fewest.
        largest: the largest share of one draw in the norm of a model.

    Example:
        >>> import torch
        >>> x = Estimate(torch.tensor(0.4447), torch.tensor(0.0008), "sampled", 400_000, 9000.0, 0.002)
        >>> x
        0.4447 ± 0.0008 (sampled, 400,000 draws)
        >>> float(x) > 0.4, round(float(2 * x), 4)
        (True, 0.8894)
    """

    value: Array
    error: Array
    method: How = "exact"
    samples: int = 0
    effective: float = 0.0
    largest: float = 0.0

    @classmethod
    def exact(cls, value: Array) -> "Estimate":
        """A value that is known."""
        value = ar.stop_gradient(value)
        return cls(value, ar.do("zeros_like", value))

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the value."""
        return tuple(ar.shape(self.value))

    def item(self) -> float:
        """The value as a number."""
        return float(self.value)

    def __getitem__(self, key: Any) -> "Estimate":
        parts = self.value[key], self.error[key]
        return Estimate(*parts, self.method, self.samples, self.effective, self.largest)

    def __len__(self) -> int:
        return len(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return ar.to_numpy(self.value) if dtype is None else ar.to_numpy(self.value).astype(dtype)

    def __repr__(self) -> str:
        how = "exact" if self.method == "exact" else f"sampled, {self.samples:,} draws"
        if self.shape:
            most = float(ar.do("max", self.error)) if all(self.shape) else 0.0
            return f"Estimate({self.shape}, errors up to {most:.1g}, {how})"
        if self.method == "exact":
            return f"{float(self.value):.6g} (exact)"
        return f"{_told(float(self.value), float(self.error))} ({how})"

    @classmethod
    def __torch_function__(
        cls, fn: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return fn(*_plain(tuple(args)), **_plain(dict(kwargs or {})))


def _told(value: float, error: float) -> str:
    """Value and error with as many digits as the error has a meaning in.

    Example:
        >>> _told(0.44471, 0.00083), _told(1234.6, 20.0), _told(1.0, 0.0), _told(1.83e72, 2e70)
        ('0.4447 ± 0.0008', '1235 ± 20', '1 ± 0', '1.83e+72 ± 2e+70')
    """
    if not error > 0:
        return f"{value:.6g} ± 0"
    digits = max(0, -int(f"{error:e}".partition("e")[2]))
    short = digits < 13 and max(abs(value), error) < 1e15
    return f"{value:.{digits}f} ± {error:.{digits}f}" if short else f"{value:.6g} ± {error:.1g}"


def _plain(x: Any) -> Any:
    if isinstance(x, Estimate):
        return x.value
    if isinstance(x, tuple | list):
        return type(x)(map(_plain, x))
    return {k: _plain(v) for k, v in x.items()} if isinstance(x, dict) else x


def _of_values(name: str) -> Callable[..., Any]:
    def method(self: Estimate, *others: Any) -> Any:
        return getattr(self.value, name)(*map(_plain, others))

    method.__name__ = name
    return method


_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "pow", "matmul", "mod")
for _name in (
    *(f"__{side}{name}__" for name in _ARITHMETIC for side in ("", "r")),
    *(f"__{name}__" for name in ("neg", "pos", "abs", "lt", "le", "gt", "ge", "eq", "ne")),
):
    setattr(Estimate, _name, _of_values(_name))
