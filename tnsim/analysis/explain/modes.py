"""Modes: the singular vectors of a model across one place, in the metric of the input law."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from tnsim.algebra.networks.network import Network
from tnsim.common.notebook import Plotted
from tnsim.sampling.estimate import Estimate

__all__ = ["Group", "Modes", "applications", "factor_of", "leading", "of_each", "rounding"]

Array = Any

_DENSE = 1024  # rows; a larger operator of which only a few eigenvectors are wanted is left to Lanczos
_ARRAYS = ("values", "readers", "patterns", "linear", "constant")


@dataclass(frozen=True, eq=False)
class Group:
    """Modes whose values cannot be told apart: only the space they span has a meaning, not their basis.

    Attributes:
        value: their mean value.
        members: their positions in :class:`Modes`.

    Example:
        >>> import torch, tnsim
        >>> two = torch.eye(2)
        >>> f = tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=torch.ones(1, 2), L=two, R=two)  # x² + y²
        >>> tnsim.spectrum(f, output=0).groups()
        (Group(value=1.0, members=(0, 1)),)
    """

    value: float
    members: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.members)


@dataclass(frozen=True, eq=False)
class Modes(Plotted):
    """Singular (or eigen-) values and vectors at one place of a model, in the metric of a law.

    A place carries a vector h (the input, a hidden state, the output). Mode i is seen from two sides:

    * ``readers[i]``: w, so that w·h is the coordinate of mode i. Under the law, coordinates are uncorrelated with
      mean square 1 (of ``h`` itself or of its deviation from the mean, as the function that made them says);
    * ``patterns[i]``: v, what h gains when that coordinate grows by 1: h = Σ_i v_i (w_i·h) on what the modes span.

    ``w_i · v_j`` is 1 for i = j, else 0. In the standard metric both are one orthonormal set.

    Attributes:
        values: shape ``(r,)``, from large to small in absolute value; a run has its axis in front.
        readers: shape ``(r, n)``.
        patterns: shape ``(r, n)``.
        place: name of the place.
        what: what the values are.
        linear: for interaction matrices: the linear part at the mean of the law, shape ``(n,)``.
        constant: for interaction matrices: the value at the mean of the law.
        partial: whether there are more modes than were asked for; ranks are then those of the ones computed.
        estimate: where they were sampled, the values with their errors.

    Example:
        >>> import torch, tnsim
        >>> D, eye = torch.tensor([[1.0, -0.5]]), torch.eye(2)
        >>> f = tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D, L=eye, R=eye)  # x² − y²/2
        >>> modes = tnsim.spectrum(f, output=0)
        >>> modes.values, modes.readers.abs()
        (tensor([ 1.0000, -0.5000]), tensor([[1., 0.],
                [0., 1.]]))
    """

    values: Array
    readers: Array
    patterns: Array
    place: str
    what: str
    linear: Array | None = None
    constant: Array | None = None
    partial: bool = False
    estimate: Estimate | None = None

    def __len__(self) -> int:
        return int(self.values.shape[-1])

    def __repr__(self) -> str:
        run = f"{self.values.shape[0]} models × " if self.values.ndim > 1 else ""
        n = int(self.readers.shape[-1])
        ranks = (
            ""
            if run or self.partial
            else f", rank {self.rank()}, effective rank {float(self.effective_rank):.2f}"
        )
        return f"Modes(at {self.place!r}: {run}{len(self)} of {n}, {self.what}{ranks})"

    @property
    def energies(self) -> Array:
        """The squares of the values."""
        return self.values**2

    @property
    def effective_rank(self) -> Array:
        """exp of the entropy of the shares of energy: r equal modes count r, shape ``()`` or ``(m,)``."""
        p = self.energies / self.energies.sum(-1, keepdim=True)
        return torch.exp(-torch.special.xlogy(p, p).sum(-1))

    def rank(self, tolerance: float = 1e-9) -> Any:
        """How many values exceed ``tolerance`` times the largest; a list for a run."""
        sizes = self.values.abs()
        count = (sizes > tolerance * sizes.amax(-1, keepdim=True)).sum(-1)
        return count.tolist()

    def groups(self, tolerance: float = 1e-6) -> tuple[Group, ...]:
        """Modes in groups of equal values.

        Args:
            tolerance: values closer than this fraction of the largest one are equal.

        Raises:
            ValueError: for a run; pick a model first, ``modes.pick(i)``.
        """
        if self.values.ndim > 1:
            raise ValueError("groups are those of one model; write modes.pick(i).groups().")
        return tuple(_groups(self.values, tolerance))

    def pick(self, i: int) -> "Modes":
        """The modes of model ``i`` of a run."""
        if self.values.ndim < 2:
            raise ValueError("these are the modes of a single model; there is nothing to pick from.")
        parts: dict[str, Any] = {}
        for key in _ARRAYS:
            stacked = getattr(self, key)
            parts[key] = None if stacked is None else stacked[i]
        return replace(self, **parts)


def of_each(net: Network, single: Callable[[Network], Modes]) -> Modes:
    """The modes of a network; of a run, those of every model with a run axis in front.

    Where some models have fewer modes than others, zeros stand for the missing ones.

    Args:
        net: a network, or a run of stacked ones.
        single: the modes of one model.
    """
    if not net.models:
        return single(net)
    modes = [single(net.pick(i)) for i in range(net.models)]
    longest = max(map(len, modes))

    def stacked(key: str) -> Array:
        parts = [getattr(m, key) for m in modes]
        if parts[0] is None:
            return None
        if key in ("linear", "constant"):
            return torch.stack(parts)
        return torch.stack([torch.cat([x, x.new_zeros(longest - len(x), *x.shape[1:])]) for x in parts])

    return replace(modes[0], **{key: stacked(key) for key in _ARRAYS})


def _groups(values: torch.Tensor, tolerance: float) -> Iterator[Group]:
    numbers = values.tolist()
    gap = tolerance * max((abs(v) for v in numbers), default=0.0)
    found: list[list[int]] = []
    for i in sorted(range(len(numbers)), key=numbers.__getitem__):
        if found and numbers[i] - numbers[found[-1][-1]] <= gap:
            found[-1].append(i)
        else:
            found.append([i])
    for members in sorted(found, key=min):
        yield Group(sum(numbers[k] for k in members) / len(members), tuple(sorted(members)))


def factor_of(metric: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """F with F Fᵀ = metric, of as many columns as the metric has rank, and its dual G with Gᵀ F = 1.

    Eigenvalues that rounding cannot tell from zero count as zero.

    Args:
        metric: shape ``(n, n)``, or ``(n,)`` for a diagonal.
    """
    if metric.ndim == 1:
        values, vectors = metric, torch.eye(len(metric), dtype=metric.dtype, device=metric.device)
    else:
        values, vectors = torch.linalg.eigh((metric + metric.T) / 2)
    kept = values > rounding(values)
    roots, vectors = values[kept].sqrt(), vectors[:, kept]
    return vectors * roots, vectors / roots


def rounding(values: torch.Tensor) -> torch.Tensor:
    """Eigenvalues of a computed Gram matrix below this cannot be told from zero."""
    largest = values.abs().max() if len(values) else values.new_zeros(())
    return 16 * len(values) * torch.finfo(values.dtype).eps * largest


def applications(size: int, top: int | None) -> int:
    """To how many vectors :func:`leading` applies an operator; about so many where it iterates."""
    return min(size, 40 + 10 * top) if top is not None and _iterated(size, top) else size


def _iterated(size: int, top: int) -> bool:
    return size > _DENSE and 4 * top < size


def leading(
    operator: Any, size: int, like: torch.Tensor, top: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues and eigenvectors (as columns) of a symmetric operator, largest absolute values first.

    Args:
        operator: takes a matrix of shape ``(size, k)`` to one of the same shape.
        size: of the space.
        like: a tensor of its dtype and device.
        top: how many are wanted; all by default. Few of a large operator come from Lanczos iteration (ARPACK), to
            the accuracy of the dtype, and the operator is only ever applied to single vectors.
    """
    if top is not None and _iterated(size, top):

        def apply(v: Any) -> Any:
            x = torch.as_tensor(v, dtype=like.dtype, device=like.device).reshape(size, -1)
            return operator(x).cpu().numpy()

        dtype = torch.empty(0, dtype=like.dtype, device="cpu").numpy().dtype
        linear = LinearOperator((size, size), matvec=apply, matmat=apply, dtype=dtype)
        start = torch.ones(size, dtype=torch.float64, device="cpu").numpy()
        found = eigsh(linear, k=top, which="LM", v0=start)
        values, vectors = (torch.as_tensor(x, dtype=like.dtype, device=like.device) for x in found)
    else:
        matrix = operator(torch.eye(size, dtype=like.dtype, device=like.device))
        values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    order = values.abs().argsort(descending=True, stable=True)[:top]
    return values[order], vectors[:, order]
