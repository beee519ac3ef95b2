"""The difference of two networks as one network, and stars put side by side."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.notes import noted
from tnsim.algebra.polys.poly import ComposeError, Poly
from tnsim.algebra.polys.rewriting import star
from tnsim.algebra.polys.writing import identity, poly
from tnsim.algebra.terms.collecting import collect
from tnsim.algebra.terms.term import Term
from tnsim.common.wires import MODEL, WIRE, index, input_leg

__all__ = ["fuse", "subtract"]

Array = Any


def subtract(a: Network, b: Network) -> Network:
    """The network a − b: both side by side, with a head that subtracts. Exact.

    Hidden states of the two are put one after the other, and every layer is the direct sum of their layers, in
    one term for each degree: it has the hidden units of both. Where one network has fewer layers, its output is
    carried along.

    Args:
        a: a network, possibly stacked.
        b: another with the same inputs and outputs; depths and widths may differ. A single network is subtracted
            from every model of a stacked one.

    Returns:
        A network with ``net(x) == a(x) - b(x)``.

    Raises:
        ComposeError: if inputs or outputs differ, or hidden states have more than one axis (then subtract
            ``a.collapse() - b.collapse()``).
    """
    for what, mine, other in (
        ("input", a.domain, b.domain),
        ("output", a.codomain, b.codomain),
        ("dtype", a.dtype, b.dtype),
    ):
        if mine != other:
            raise ComposeError(f"a difference needs equal {what}s; a has {mine}, b has {other}.")
    if a.models and b.models and a.models != b.models:
        raise ComposeError(
            f"a is a run of {a.models} models and b one of {b.models}; a run is subtracted in pairs."
        )
    last = max(len(a), len(b)) - 1
    layers = []
    for k, ((name, f), (other, g)) in enumerate(zip(_padded(a, last), _padded(b, last), strict=True)):
        if k > 0:
            f, g = _reading(f, g)
        if k < last:
            if len(f.codomain) != 1 or len(g.codomain) != 1:
                raise ComposeError(
                    f"{name} has outputs {f.out_shape}: hidden states with several axes cannot be put side by side. "
                    "Subtract a.collapse() - b.collapse() instead."
                )
            f, g = _writing(f, g)
        layers.append((name if name == other else f"{name}|{other}", fuse(f + g if k < last else f - g)))
    return Network(tuple(layers), a.in_shape, noted((a, b)), a.ids)


def fuse(f: Poly) -> Poly:
    """The same polynomial with its stars of equal degree in one term, hidden units side by side.

    A star is a term of factors around one hidden index, as D((Lx)∘(Rx)). What stands before or behind a factor is
    multiplied into it, so a layer between two linear maps becomes a layer of the same form. Other terms stay.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra.polys.writing import poly
        >>> f = poly("D[out,hid] L[hid,in0] R[hid,in1]", D=np.ones((2, 3)), L=np.ones((3, 5)), R=np.ones((3, 5)))
        >>> g = fuse(f + f @ poly("S[out,in0]", S=np.eye(5)))
        >>> [t.shape for t in g.terms[0].tensors]
        [(2, 6), (6, 5), (6, 5)]
    """
    done: list[Term] = []
    groups: dict[int, list[tuple[Term, tuple[Array, ...]]]] = {}
    for t in f.terms:
        single = len(t.out) <= 1 and all(len(leg) == 1 for leg in t.legs)
        factors = star(t) if single and t.degree > 0 else None
        if factors is None or (t.degree == 1 and t.wired(0) if t.out else False):
            done.append(t)
        else:
            groups.setdefault(t.degree, []).append((t, factors))
    for degree, group in groups.items():
        done.append(_one_star(degree, group))
    return replace(f, terms=collect(done))


def _one_star(degree: int, group: Sequence[tuple[Term, tuple[Array, ...]]]) -> Term:
    first = group[0][0]
    models = next((t.sizes[MODEL] for t, _ in group if MODEL in t.sizes), 1)
    hid, legs = index("hid", "h"), tuple(input_leg(k, ["d"]) for k in range(degree))
    ends = [(*first.out, hid), *((hid, *leg) for leg in legs)]
    tags = _roles(first, degree)
    tensors = []
    for k, inds in enumerate(ends):
        parts = [factors[k] for _, factors in group]
        run = (MODEL,) if any(ar.ndim(x) > len(inds) for x in parts) else ()
        parts = [
            ar.do("stack", [x] * models, axis=0) if run and ar.ndim(x) == len(inds) else x for x in parts
        ]
        data = parts[0] if len(parts) == 1 else ar.do("concatenate", parts, axis=-1 if k == 0 else -len(inds))
        tensors.append(qtn.Tensor(data, (*run, *inds), tags=tags[k]))
    if degree == 1:
        return _matrix(tensors, first, legs[0])
    same = all(t.tree == first.tree for t, _ in group)
    return Term(tuple(tensors), legs, first.out, symmetry=first.symmetry if same else None)


def _matrix(tensors: Sequence[qtn.Tensor], like: Term, leg: tuple[str, ...]) -> Term:
    """A linear term is one matrix."""
    out, right = tensors
    data = ar.do("matmul", out.data if like.out else out.data[..., None, :], right.data)
    run = (MODEL,) if MODEL in (*out.inds, *right.inds) else ()
    data = data if like.out else data[..., 0, :]
    return Term((qtn.Tensor(data, (*run, *like.out, *leg), tags=out.tags),), (leg,), like.out)


def _roles(t: Term, degree: int) -> list[list[str]]:
    """Tags of the factors of the first star: its output's, then its legs'."""
    holders = [
        next((list(x.tags) for x in t.tensors if set(end) & set(x.inds) and WIRE not in x.tags), ["fused"])
        for end in (t.out, *t.legs)
    ]
    return holders[: degree + 1]


def _padded(net: Network, last: int) -> list[tuple[str, Poly]]:
    layers = list(net.layers)
    for k in range(last + 1 - len(net)):
        layers.append((f"carried{k}", identity(net.codomain, net.polys[0].like)))
    return layers


def _reading(f: Poly, g: Poly) -> tuple[Poly, Poly]:
    """f reads the first coordinates of the joint state, g the others."""
    n, m = f.in_shape[0], g.in_shape[0]
    eye = ar.do("eye", n + m, like=f.like)
    return f @ poly("S[out,in0]", S=eye[:n]), g @ poly("S[out,in0]", S=eye[n:])


def _writing(f: Poly, g: Poly) -> tuple[Poly, Poly]:
    """f writes the first coordinates of the joint state, g the others."""
    n, m = f.out_shape[0], g.out_shape[0]
    eye = ar.do("eye", n + m, like=f.like)
    return poly("S[out,in0]", S=eye[:, :n]) @ f, poly("S[out,in0]", S=eye[:, n:]) @ g
