"""Facts: what is said of a tensor, an index or a layer when one points at it."""

import math
from typing import Any

import networkx as nx
import numpy as np

from tnsim.algebra.polys.poly import Poly
from tnsim.common.values import numbers
from tnsim.view.stages import size_of

__all__ = ["Facts"]

Array = Any

_MOST = 2e10  # operations for all ranks of a figure: some seconds
_MOST_LINES = 12


class Facts:
    """Norms and ranks of weights, each computed once, as long as ranks are not too dear for a picture."""

    def __init__(self, budget: float = _MOST) -> None:
        self.left = budget
        self.known: dict[int, tuple[Array, float, str]] = {}  # arrays are kept, so that their ids stay theirs

    def of_scene(self, scene: nx.MultiGraph, key: str = "") -> dict[str, dict[str, Any]]:
        """For the name of every mark of a scene its lines of text: the first is a title."""
        found: dict[str, dict[str, Any]] = {}
        for n, d in scene.nodes(data=True):
            if d["kind"] == "tensor":
                found[f"tensor {key}{n}"] = {"lines": self.of_tensor(d["role"], d["data"], d["stands"])}
            elif d["kind"] == "hub":
                found[f"hub {key}{n}"] = {"lines": [f"index {n}", f"size {d['size']}"]}
        for *_, d in scene.edges(data=True):
            found[f"index {key}{d['index']}"] = {"lines": [f"index {d['index']}", f"size {d['size']}"]}
        return found

    def of_layer(self, name: str, f: Poly) -> list[str]:
        """Lines about a layer and its weights."""
        weights = {id(x.data): (x, t) for t in f.terms for x in t.tensors}
        count = sum(math.prod(x.shape) for x, _ in weights.values())
        norm = math.sqrt(sum(self._norm(x.data) ** 2 for x, _ in weights.values()))
        several = f"{len(f.terms)} terms" if len(f.terms) > 1 else "1 term"
        lines = [
            name,
            f"{size_of(f.domain)} → {size_of(f.codomain)}, degree {f.degree}, {several}",
            f"{count:,} numbers, norm {norm:.4g}",
        ]
        own = [
            f"{next(iter(x.tags), 'tensor')}: {self._about(x.data)}"
            for x, _ in weights.values()
            if len(x.shape) > 1
        ]
        more = len(own) - _MOST_LINES
        return [*lines, *own[:_MOST_LINES], *[f"and {more} more"] * (more > 0)]

    def of_tensor(self, name: str, data: Array, role: str) -> list[str]:
        """Lines about a tensor."""
        return [name or "tensor", *filter(None, [role]), *self._about(data).split(", ")]

    def _about(self, data: Array) -> str:
        shape = tuple(int(n) for n in data.shape)
        rank = self._computed(data)[2]
        text = f"{' × '.join(map(str, shape)) or 'a number'}, norm {self._norm(data):.4g}"
        return f"{text}, {rank}" if rank else text

    def _norm(self, data: Array) -> float:
        return self._computed(data)[1]

    def _computed(self, data: Array) -> tuple[Array, float, str]:
        if id(data) not in self.known:
            x = numbers(data)
            norm = float(np.linalg.norm(x.astype(complex if x.dtype.kind == "c" else float).ravel()))
            self.known[id(data)] = (data, norm, self._rank(x))
        return self.known[id(data)]

    def _rank(self, x: np.ndarray) -> str:
        """The rank of a matrix; of more axes, that of every axis against all others."""
        if x.ndim < 2 or not x.size:
            return ""
        axes = range(1 if x.ndim == 2 else x.ndim)
        price = sum(x.size * min(x.shape[k], x.size // x.shape[k]) for k in axes)
        if price > self.left or not np.isfinite(x).all():
            return "rank not computed"
        self.left -= price
        ranks = [_matrix_rank(np.moveaxis(x, k, 0).reshape(x.shape[k], -1)) for k in axes]
        return "rank " + " × ".join(map(str, ranks))


def _matrix_rank(x: np.ndarray) -> int:
    return int(np.linalg.matrix_rank(x))
