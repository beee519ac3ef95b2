"""Smaller networks: bonds projected on their leading modes, hidden units merged into those that are kept."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import autoray as ar
import quimb.tensor as qtn
import torch

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.subtraction import fuse
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term
from tnsim.analysis.asking.problem import Method
from tnsim.analysis.bonds.places import HIDDEN, is_hidden, linear_map, place_at, products
from tnsim.analysis.explain.halves import modes_of, second_moment, sensitivity
from tnsim.common.wires import PICK, WIRE, index, input_leg
from tnsim.measure.pairings.measure import Measure

__all__ = ["Shrinking", "parameters_of", "plan_at", "shrunk"]


@dataclass(frozen=True, eq=False)
class Shrinking:
    """How one place of a network is made smaller, for every rank.

    Attributes:
        place: its name.
        width: how many coordinates it has now.
        left: share of the energy at the place that is left out if r are kept, for r = 0 … size.
        readers: for a bond, the maps onto its modes, shape ``(size, n)``.
        patterns: for a bond, the maps back.
        order: for hidden units, which to keep first.
        gram: for hidden units, E[q qᵀ] of their values.
    """

    place: str
    width: int
    left: torch.Tensor
    readers: torch.Tensor | None = None
    patterns: torch.Tensor | None = None
    order: tuple[int, ...] = ()
    gram: torch.Tensor | None = None

    @property
    def size(self) -> int:
        """How many can be kept at most: modes, or hidden units."""
        return len(self.left) - 1

    def keep(self, share: float) -> int:
        """The least rank that leaves out at most this share of the energy (at least 1)."""
        enough = (self.left <= share).nonzero()
        return max(1, int(enough[0]) if len(enough) else self.size)


def plan_at(
    net: Network, at: str, under: Measure | None, method: Method, budget: float, memory: float
) -> Shrinking:
    """What can be left out at a bond, or of the hidden units of a layer."""
    place = place_at(net, net.names.index(at) + 1 if at in net.names else at)
    # all that is read off is free of units
    below = second_moment(place, under, method, budget, memory).mantissa
    above = sensitivity(place, under, method, budget, memory).mantissa
    n = place.size
    if is_hidden(net, at):
        order, left = _greedy(below, above)
        return Shrinking(at, n, left, order=order, gram=below)
    modes = modes_of(below, lambda v: above @ v, n, below, None, at, "singular values", root=True)
    energies = modes.energies
    if not len(
        energies
    ):  # the state is zero under the law: one coordinate is kept, and nothing comes back from it
        return Shrinking(
            at,
            n,
            below.new_zeros(2),
            torch.eye(1, n, dtype=below.dtype, device=below.device),
            below.new_zeros(1, n),
        )
    tail = torch.cat([energies.flip(0).cumsum(0).flip(0), energies.new_zeros(1)])
    left = (
        tail / tail[0] if bool(tail[0] > 0) else torch.zeros_like(tail)
    )  # or nothing of it reaches the output
    return Shrinking(at, n, left, modes.readers, modes.patterns)


def _greedy(gram: torch.Tensor, above: torch.Tensor) -> tuple[tuple[int, ...], torch.Tensor]:
    """Units in the order in which each takes away most of what is still left out, and what that is.

    With the units S kept and the others replaced by their best linear approximation in S, what is left out is
    tr(A R), where R = K − K_·S K_SS⁻¹ K_S· is the Schur complement. Adding unit j takes away (R A R)_jj / R_jj.
    """
    rest, total = gram.clone(), (gram * above).sum()
    pull = rest @ above @ rest
    order: list[int] = []
    left = [torch.ones_like(total)]
    tiny = 1e-13 * gram.diagonal().max()
    for _ in range(len(gram)):
        free = rest.diagonal().clone()
        free[order] = 0
        gains = torch.where(free > tiny, pull.diagonal() / free.clamp(min=tiny), -1.0)
        gains[order] = -torch.inf
        j = int(gains.argmax())
        order.append(j)
        if free[j] > tiny:
            k, pivot = rest[:, j].clone(), rest[j, j].clone()
            v = rest @ (above @ k)
            inner = k @ above @ k
            pull = (
                pull - (torch.outer(k, v) + torch.outer(v, k)) / pivot + inner * torch.outer(k, k) / pivot**2
            )
            rest = rest - torch.outer(k, k) / pivot
        left.append((rest * above).sum().clamp(min=0) / total)
    left[-1] = torch.zeros_like(total)
    return tuple(order), torch.stack(left)


def shrunk(net: Network, plans: Mapping[str, Shrinking], ranks: Mapping[str, int]) -> Network:
    """The network with the places in ``ranks`` cut down. Layers keep their names and their form.

    Where as much is kept as there is, nothing changes.
    """
    ranks = {p: r for p, r in ranks.items() if r < plans[p].width}
    if not ranks:
        return net
    layers = list(net.layers)
    for k, (name, f) in enumerate(layers):
        if name + HIDDEN in ranks and is_hidden(net, name + HIDDEN):
            layers[k] = (name, _merged(f, plans[name + HIDDEN], ranks[name + HIDDEN], name))
    for k, (name, _) in enumerate(layers[:-1]):
        if name in ranks:
            plan, r = plans[name], ranks[name]
            assert plan.readers is not None and plan.patterns is not None
            narrow = (("d", r),)
            below, above = layers[k][1], layers[k + 1][1]
            layers[k] = (name, linear_map(plan.readers[:r], below.codomain) @ below)
            layers[k + 1] = (layers[k + 1][0], above @ linear_map(plan.patterns[:r].T, narrow))
    touched = {n.removesuffix(HIDDEN) if is_hidden(net, n) else n for n in ranks} | {
        layers[k + 1][0] for k, (n, _) in enumerate(layers[:-1]) if n in ranks
    }
    with torch.no_grad():
        return Network(tuple((n, fuse(f) if n in touched else f) for n, f in layers), net.in_shape, net.notes)


def _merged(f: Poly, plan: Shrinking, r: int, name: str) -> Poly:
    """A layer with r of its hidden units, which take over what the others did as far as they can."""
    top, (down, *legs) = products(f, name)
    assert plan.gram is not None
    kept = sorted(plan.order[:r])
    taken = torch.linalg.lstsq(plan.gram[kept][:, kept], plan.gram[kept], driver="gelsd").solution
    hid, inputs = index("hid", "h"), tuple(input_leg(k, ["d"]) for k in range(top.degree))
    ends = [(*top.out, hid), *((hid, *leg) for leg in inputs)]
    arrays = [x.detach() for x in (down @ taken.T, *(x[kept] for x in legs))]
    tensors = tuple(qtn.Tensor(x, inds, tags="unit") for x, inds in zip(arrays, ends, strict=True))
    fewer = Term(tensors, inputs, top.out, symmetry=top.symmetry)
    return replace(f, terms=(fewer, *(t for t in f.terms if t is not top)))


def parameters_of(net: Network) -> int:
    """How many numbers the layers of a network hold; identities and wires hold none."""
    return sum(
        ar.size(x.data)
        for f in net.polys
        for t in f.terms
        for x in t.tensors
        if not {WIRE, PICK} & set(x.tags)
    )
