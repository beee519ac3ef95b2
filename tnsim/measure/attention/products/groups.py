"""Groups: products for which the same covariances are zero, and the chunks in which they are taken."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import autoray as ar
import numpy as np

from tnsim.engine.constants import Constant
from tnsim.measure.attention.products.addresses import Places
from tnsim.measure.attention.programs.program import Program

__all__ = ["Chunk", "SparsityClass", "rows"]

Array = Any


@dataclass(frozen=True, eq=False)
class SparsityClass:
    """Products for which the same covariances are zero.

    Attributes:
        program: what to do.
        inputs: for every input of the program where it is found.
        targets: to which result every product is added, in order.
        weights: where the weights of the factors are found.
        share: a factor of every product: ½ where one meets itself and the transpose is added; ``None`` for one.
    """

    program: Program
    inputs: Mapping[Any, Places]
    targets: np.ndarray
    weights: tuple[np.ndarray, ...]
    share: np.ndarray | None = None

    @property
    def numbers(self) -> int:
        """How many numbers tell where everything is found, for one model or pair of models."""
        shapes = {step.extra[0]: step.shape for step in self.program.steps if step.what == "given"}
        lines = sum(shapes[name][0] * places.which.shape[1] for name, places in self.inputs.items())
        return len(self.targets) * lines


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some products of a group, which are computed together.

    Attributes:
        group: the group.
        runs: for every array the part that is meant, for every product.
        some: numbers of the products in the group.
        targets: the results that they are added to, each once.
        ids: for every product which of these.
        kept: tables that were asked for.
    """

    group: SparsityClass
    runs: tuple[np.ndarray, ...]
    some: np.ndarray
    targets: np.ndarray
    ids: np.ndarray
    kept: dict[Any, Constant] = field(default_factory=dict)

    def read(self, name: Any, arrays: Sequence[Array]) -> tuple[Array, Array]:
        """An array, and which of its rows make up an input of all products."""
        places = self.group.inputs[name]
        x = arrays[places.array]
        n, height, width = ar.shape(x)[1:]
        shape = (height, width) if places.which.size == 1 else (width,)

        def lines() -> np.ndarray:
            blocks = (self.runs[places.array] * n)[:, None, None] + places.blocks(self.some) % n
            return blocks if len(shape) == 2 else blocks[:, :, None, :] * height + np.arange(height)[:, None]

        return ar.do("reshape", x, (-1, *shape)), self._table((name, n), lines).index(x)

    def weight(self, arrays: Sequence[Array]) -> Array:
        """A factor of every product."""
        share = self.group.share
        value = 1.0
        if share is not None:
            value = self._table("share", lambda: share[self.some]).like(arrays[-1])
        for k, at in enumerate(self.group.weights, start=len(arrays) - len(self.group.weights)):
            n = ar.shape(arrays[k])[1]

            def lines(k: int = k, at: np.ndarray = at, n: int = n) -> np.ndarray:
                return self.runs[k] * n + at[self.some]

            value = value * rows(
                ar.do("reshape", arrays[k], (-1,)), self._table((k, n), lines).index(arrays[k])
            )
        return value

    def numbers(self, like: Array) -> Array:
        """For every product which of the targets."""
        return self._table("ids", lambda: self.ids).index(like)

    def _table(self, key: Any, made: Callable[[], np.ndarray]) -> Constant:
        return self.kept.setdefault(key, Constant(made))


def rows(x: Array, numbers: Array) -> Array:
    """Some rows of an array."""
    return x.index_select(0, numbers) if hasattr(x, "index_select") else x[numbers]
