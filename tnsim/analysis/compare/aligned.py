"""Cosine of weights after the best permutation of hidden units: a fairer cosine of weights."""

from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment

from tnsim.algebra.networks.network import Network
from tnsim.analysis.asking.problem import Model, comparable
from tnsim.analysis.asking.questions import question
from tnsim.common.wires import WIRE

__all__ = ["aligned_weight_cosine"]

Array = Any
Axis = tuple[int, int]  # which array, which of its axes

_SWEEPS = 100


@question
def aligned_weight_cosine(a: Model, b: Model, *, restarts: int = 1, seed: int = 0) -> torch.Tensor:
    """Cosine of all weights after hidden units of ``b`` are permuted to fit those of ``a``.

    Exchanging hidden units, and the coordinates of hidden states between layers, changes the weights and not the
    function, so :func:`weight_cosine` of two equal models may be anything. Here every hidden axis of b is permuted so
    as to make the cosine largest: one linear assignment for every axis, with the others held, until nothing moves.

    For one bilinear layer there is one such axis and the result is the best there is. With more it is a local
    optimum, a lower bound of the best; ``restarts`` try more. What else leaves a function unchanged (scales and signs
    within a unit, an exchange of L and R, a rotation of a residual stream) still counts as a difference.

    Args:
        a: a torch module or a Network.
        b: another of the same architecture.
        restarts: starts for several axes: the first as the weights are, further ones from random permutations.
        seed: of these.

    Returns:
        A number in [−1, 1], at least the cosine of the networks' arrays as they are.

    Raises:
        ValueError: if the two are not made of arrays of the same shapes and wiring, or all weights of one are zero.

    References:
        Ainsworth et al., Git Re-Basin, arXiv 2209.04836 (weight matching).

    Example:
        >>> import torch, tnsim
        >>> a, b = tnsim.nn.BilinearLayer(4, 6, 3), tnsim.nn.BilinearLayer(4, 6, 3)
        >>> order = torch.randperm(6)
        >>> state = {k: v[:, order] if k[0] == "d" else v[order] for k, v in a.state_dict().items()}
        >>> _ = b.load_state_dict(state)
        >>> round(aligned_weight_cosine(a, b).item(), 6)
        1.0
    """
    first, second = comparable(a, b)
    if first.signature() != second.signature() or first.models:
        raise ValueError("weights are aligned for two single models of the same layers, shapes and wiring.")
    if restarts < 1:
        raise ValueError(f"restarts is {restarts}; at least one start is needed.")
    wiring = _Wiring.of(first)
    mine, other = (_unit(_arrays(net), name) for net, name in ((first, "a"), (second, "b")))
    generator = torch.Generator().manual_seed(seed)
    best = max(_aligned(mine, other, wiring, None if k == 0 else generator) for k in range(restarts))
    return mine[0].new_tensor(best)


@dataclass(frozen=True, eq=False)
class _Wiring:
    """Which axes of which arrays are permuted together.

    Attributes:
        groups: the axes of every hidden space.
        sizes: how large it is.
    """

    groups: tuple[tuple[Axis, ...], ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, net: Network) -> "_Wiring":
        """Inner indices of every term, and the state between every two layers; identities tie two states together."""
        parent: dict[Any, Any] = {}

        def find(x: Any) -> Any:
            parent.setdefault(x, x)
            while parent[x] != x:
                x = parent[x]
            return x

        axes: list[tuple[Axis, Any]] = []
        sizes: dict[Any, int] = {}
        array = 0
        for layer, (_, f) in enumerate(net.layers):
            for k, t in enumerate(f.terms):
                names: dict[str, Any] = {ix: (layer, k, ix) for ix in t.sizes}
                ends = [(layer, leg, f.domain) for leg in t.legs] + [(layer + 1, t.out, f.codomain)]
                for state, end, named in ends:
                    for ix, (name, _) in zip(end, named, strict=True):  # whatever the index is called
                        parent[find((layer, k, ix))] = find(("state", state, name))
                for x in t.tensors:
                    for axis, ix in enumerate(x.inds):
                        sizes[names[ix]] = int(x.shape[axis])
                        if WIRE not in x.tags:
                            axes.append(((array, axis), names[ix]))
                    array += WIRE not in x.tags
        fixed = {find(("state", s, name)) for s in (0, len(net)) for name, _ in (*net.domain, *net.codomain)}
        groups: dict[Any, list[Axis]] = {}
        for at, name in axes:
            if find(name) not in fixed:
                groups.setdefault(find(name), []).append(at)
        widths = {find(name): n for name, n in sizes.items()}
        return cls(tuple(map(tuple, groups.values())), tuple(widths[g] for g in groups))


def _arrays(net: Network) -> list[torch.Tensor]:
    return [
        x.data.detach().cpu().double()
        for f in net.polys
        for t in f.terms
        for x in t.tensors
        if WIRE not in x.tags
    ]


def _unit(arrays: list[torch.Tensor], name: str) -> list[torch.Tensor]:
    """All arrays over their common norm; by the largest entry first, whose square may be out of range."""
    largest = max(x.abs().max() for x in arrays)
    if not largest > 0:
        raise ValueError(f"all weights of model {name} are zero; the cosine is not defined.")
    scaled = [x / largest for x in arrays]
    norm = torch.cat([x.reshape(-1) for x in scaled]).norm()
    return [x / norm for x in scaled]


def _aligned(
    mine: list[torch.Tensor], other: list[torch.Tensor], wiring: _Wiring, generator: torch.Generator | None
) -> float:
    """The inner product of the weights after coordinate ascent over permutations."""
    orders = [
        torch.arange(n, device="cpu")
        if generator is None
        else torch.randperm(n, generator=generator, device="cpu")
        for n in wiring.sizes
    ]
    owner = {at: g for g, axes in enumerate(wiring.groups) for at in axes}

    def permuted(i: int, skip: Axis | None = None) -> torch.Tensor:
        x = other[i]
        for axis in range(x.ndim):
            g = owner.get((i, axis))
            if g is not None and (i, axis) != skip:
                x = x.index_select(axis, orders[g])
        return x

    def total() -> float:
        return sum(float((p * permuted(i)).sum()) for i, p in enumerate(mine))

    value = total()
    for _ in range(_SWEEPS):
        before = value
        for g, axes in enumerate(wiring.groups):
            gain = torch.zeros(wiring.sizes[g], wiring.sizes[g], dtype=torch.float64, device="cpu")
            for i, axis in axes:
                p, q = (
                    x.movedim(axis, 0).reshape(wiring.sizes[g], -1) for x in (mine[i], permuted(i, (i, axis)))
                )
                gain += p @ q.T
            _, chosen = linear_sum_assignment(gain.numpy(), maximize=True)
            kept, orders[g] = orders[g], torch.as_tensor(chosen, device="cpu")
            now = total()
            if now > value:
                value = now
            else:  # an array with both axes in one space is only linearised
                orders[g] = kept
        if value <= before:
            break
    return value
