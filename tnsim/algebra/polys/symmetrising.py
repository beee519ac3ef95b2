"""Making the exchange of legs structural: polarised, or as one dense symmetric tensor."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import autoray as ar
import numpy as np
import quimb.tensor as qtn

from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.polys.rewriting import star
from tnsim.algebra.terms.symmetry import exchanges, fixed, free
from tnsim.algebra.terms.term import Term
from tnsim.common.wires import BATCH, MODEL, index, input_leg
from tnsim.engine.constants import as_like
from tnsim.engine.contract import Contraction

__all__ = ["Form", "SymmetryError", "check_symmetry", "exchanged", "symmetrise"]

Array = Any
Form = Literal["polarised", "dense"]

_DENSEST = 2**24  # entries of a dense layer; beyond, it stays polarised


class SymmetryError(ValueError):
    """A declared exchange of legs changes the value of a term."""


def symmetrise(f: Poly, form: Form = "polarised") -> Poly:
    """The same polynomial with the exchange of legs made structural.

    Pairings of legs that differ by an exchange then have the same value, and one of them stands for all.

    * ``"polarised"``: (l·x)(r·x) = ¼[((l+r)·x)² − ((l−r)·x)²], so D((Lx)∘(Rx)) = D′(Px)∘(Px) with
      P = [L+R; L−R] and D′ = [D, −D]/4: twice the hidden units, one factor matrix, and both legs alike. Rows of L and
      R are brought to one size first.
    * ``"dense"``: the symmetric tensor B[o,i,j] = Σ_h D_oh (L_hi R_hj + R_hi L_hj)/2. Cheaper to contract where
      the layer is narrower than it has hidden units.

    Terms that are not stars of degree 2 are left as they are, and so are layers too large to be dense.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra.polys.writing import poly
        >>> f = poly("D[out,hid] L[hid,in0] R[hid,in1]", D=np.ones((1, 1)), L=np.eye(2)[:1], R=np.eye(2)[1:])
        >>> for form in ("polarised", "dense"):
        ...     g = symmetrise(f, form)
        ...     print(g.terms[0].tree.free, g(np.array([3.0, 4.0])))
        True [12.]
        True [12.]
    """
    return replace(f, terms=tuple(_symmetric(t, form) for t in f.terms))


def _symmetric(t: Term, form: Form) -> Term:
    if t.degree != 2 or t.tree != fixed(2) or any(len(leg) > 1 for leg in t.legs):
        return t
    factors = star(t)
    if factors is None:
        return t
    out, left, right = factors
    hid, legs = index("hid", "h"), tuple(input_leg(k, ["d"]) for k in range(2))
    tags = list(t.tensors[0].tags)[1:]

    def tensor(data: Array, inds: tuple[str, ...], role: str) -> qtn.Tensor:
        run = (MODEL,) if ar.ndim(data) > len(inds) else ()
        return qtn.Tensor(data, (*run, *inds), tags=[role, *tags])

    down = tensor(out, (*t.out, hid), "D")
    sizes = t.sizes
    entries = sizes.get(MODEL, 1) * sizes[t.legs[0][0]] ** 2 * int(np.prod([sizes[ix] for ix in t.out]))
    if form == "dense" and entries <= _DENSEST:
        pair = [tensor(x, (hid, *leg), "") for x, leg in zip((left, right), legs, strict=True)]
        inds = (*((MODEL,) if MODEL in sizes else ()), *t.out, *legs[0], *legs[1])
        whole = Contraction((down, *pair), inds).value()
        axes = tuple(range(ar.ndim(whole)))
        turned = ar.do("transpose", whole, (*axes[:-2], axes[-1], axes[-2]))
        return Term((qtn.Tensor((whole + turned) / 2, inds, tags=["B", *tags]),), legs, t.out, 1.0, free(2))
    left, right = _balanced(left, right)
    both = ar.do("concatenate", (left + right, left - right), axis=-2)
    down = tensor(ar.do("concatenate", (out, -out), axis=-1) / 4, (*t.out, hid), "D")
    return Term((down, *(tensor(both, (hid, *leg), "P") for leg in legs)), legs, t.out, 1.0, free(2))


def _balanced(left: Array, right: Array) -> tuple[Array, Array]:
    """The same products of rows, with both of a size: l r = (g l)(r / g), for powers of two g.

    Of a sum of a large and a small row little of the small one is left, and squares of it cancel.
    """
    a, b = (ar.do("linalg.norm", ar.stop_gradient(x), axis=-1)[..., None] for x in (left, right))
    both = (a > 0) & (b > 0)
    ratio = ar.do("where", both, b, a * 0 + 1) / ar.do("where", both, a, a * 0 + 1)
    gain = 2.0 ** ar.do("round", ar.do("log2", ratio) / 2)
    return left * gain, right / gain


def check_symmetry(t: Term, tolerance: float = 1e-9) -> None:
    """Verify numerically that the declared exchanges of legs do not change a term.

    The multilinear map is evaluated on different random vectors on different legs, before and after every
    generator of the group: a debug check, of the cost of a few evaluations.

    Raises:
        SymmetryError: naming the permutation and by how much it changes the value.
    """
    orders = list(exchanges(t.tree))
    if not orders:
        return
    plain, *others = exchanged(t, orders)
    scale = float(ar.do("max", ar.do("abs", plain)))
    for order, value in zip(orders, others, strict=True):
        error = float(ar.do("max", ar.do("abs", value - plain)))
        if error > tolerance * scale:
            raise SymmetryError(
                f"the declared leg symmetry ({' '.join(map(str, order))}) changes the value by {error / scale:.0%}; "
                "it is not a symmetry of this Term."
            )


def exchanged(t: Term, orders: Sequence[Sequence[int]], seed: int = 0, positive: bool = False) -> Array:
    """The multilinear map on random vectors, different on every leg, as they are and in other orders.

    Args:
        t: a term.
        orders: permutations of its legs.
        seed: of the vectors.
        positive: with the absolute values of these.

    Returns:
        One row for the vectors as they are, and one for every order; shape ``(1 + len(orders), [m,] *outputs)``.
    """
    rng = np.random.default_rng(seed)
    vectors = [[rng.normal(size=t.sizes[ix]) for ix in leg] for leg in t.legs]
    if positive:
        vectors = [[abs(v) for v in leg] for leg in vectors]
    rows = [range(t.degree), *orders]
    like = t.tensors[0].data
    fed = [
        qtn.Tensor(as_like(np.stack([vectors[order[k]][j] for order in rows]), like), (BATCH, ix))
        for k, leg in enumerate(t.legs)
        for j, ix in enumerate(leg)
    ]
    run = (MODEL,) if MODEL in t.sizes else ()
    return Contraction((*t.tensors, *fed), (BATCH, *run, *t.out), {}, t.coefficient).value()
