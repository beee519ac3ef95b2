"""What people use today, and phases of a run: from the weights of the torch modules, and by trying all ways."""

from itertools import combinations, pairwise, permutations, product

import numpy as np
import torch
from fuzz.check import _inputs, close

import tnsim
from tnsim.common.wires import WIRE

__all__ = ["WEIGHTS"]


def weight_cosine(run):
    u, v = ([p.detach().double().numpy() for p in m.parameters()] for m in run.modules)
    flat = [np.concatenate([x.ravel() for x in w]) if w else np.zeros(0) for w in (u, v)]
    fits = [x.shape for x in u] == [x.shape for x in v] and all(np.any(x) for x in flat)
    if not fits:
        return _refused(lambda: tnsim.weight_cosine(*run.modules))
    p, q = (x / np.linalg.norm(x) for x in flat)
    tolerance = 1e-5 if run.case.a.dtype == "float32" else 1e-12
    return close("cosine of weights", tnsim.weight_cosine(*run.modules), p @ q, 1.0, tolerance)


def _refused(call):
    try:
        call()
    except ValueError:
        return True
    raise AssertionError("an answer where there is none")


def _outputs(run):
    x = _inputs(run.case.a, 6)
    return (m(x).flatten(1) for m in run.truth.modules)


def output_cosine(run):
    f, g = _outputs(run)
    if f.shape != g.shape or not bool((f.norm(dim=1) > 0).all() & (g.norm(dim=1) > 0).all()):
        return _refused(lambda: tnsim.output_cosine(f, g))
    want = np.mean(
        [p @ q / np.linalg.norm(p) / np.linalg.norm(q) for p, q in zip(f.numpy(), g.numpy(), strict=True)]
    )
    return close("cosine of outputs", tnsim.output_cosine(f, g), want, 1.0)


def linear_cka(run):
    f, g = (x.numpy() for x in _outputs(run))
    x, y = (z - z.mean(0) for z in (f, g))
    if any(np.abs(c).max() <= 1e-9 * np.abs(z).max() for c, z in ((x, f), (y, g))):
        return False
    k, other = x @ x.T, y @ y.T
    want = (k * other).sum() / np.linalg.norm(k) / np.linalg.norm(other)
    spread = max(np.abs(z).max() / np.abs(c).max() for c, z in ((x, f), (y, g)))
    return close("linear CKA", tnsim.linear_cka(f, g), want, 10 * spread)


def aligned_weight_cosine(run):
    """Between the cosine as the arrays are and the best of all permutations; that itself, where one axis is permuted."""
    a, b = run.nets
    if a.signature() != b.signature():
        return None
    mine, other = _arrays(a), _arrays(b)
    if not mine or not all(any(x.abs().max() > 0 for x, _ in w) for w in (mine, other)):
        return None
    norms = [torch.cat([x.flatten() for x, _ in w]) for w in (mine, other)]
    norms = [float(x.abs().max() * (x / x.abs().max()).norm()) for x in norms]
    spaces, sizes = _spaces(a, mine)
    count = np.prod([float(np.prod(range(1, n + 1))) for n in sizes])
    if count > 600:
        return None
    values = []
    for orders in product(*(permutations(range(n)) for n in sizes)):
        total = 0.0
        for (x, names), (y, _) in zip(mine, other, strict=True):
            for axis, ix in enumerate(names):
                if spaces[ix] is not None:
                    y = y.index_select(axis, torch.tensor(orders[spaces[ix]]))
            total += float((x / norms[0] * (y / norms[1])).sum())
        values.append(total)
    got = float(tnsim.aligned_weight_cosine(a, b, restarts=2))
    assert values[0] - 1e-11 <= got <= max(values) + 1e-11, f"{got} is not in {values[0]} … {max(values)}"
    single = len(sizes) == 1 and all(sum(spaces[ix] == 0 for ix in names) <= 1 for _, names in mine)
    return close("aligned cosine", got, max(values), 1.0) if single else True


def _arrays(net):
    """Arrays and the names of their axes: (layer, term, index)."""
    return [
        (x.data.detach().double(), [(k, n, ix) for ix in x.inds])
        for k, f in enumerate(net.polys)
        for n, t in enumerate(f.terms)
        for x in t.tensors
        if WIRE not in x.tags
    ]


def _spaces(net, arrays):
    """A number for every index of an array that may be permuted, the same for those that carry one state; and sizes."""
    joined = {}
    depth = len(net.polys)
    for k, f in enumerate(net.polys):
        for n, t in enumerate(f.terms):
            for ends, named, at in (*((leg, f.domain, k) for leg in t.legs), (t.out, f.codomain, k + 1)):
                for ix, (name, _) in zip(ends, named, strict=True):
                    joined.setdefault((k, n, ix), set()).add((at, name))
    groups = []  # sets of names and states that hang together
    for k, f in enumerate(net.polys):
        for n, t in enumerate(f.terms):
            for ix in {i for x in t.tensors for i in x.inds} | {i for e in (*t.legs, t.out) for i in e}:
                new = {(k, n, ix), *joined.get((k, n, ix), ())}
                touching = [g for g in groups if g & new]
                groups = [g for g in groups if not g & new] + [new.union(*touching)]
    numbers, sizes, found = {}, [], {}
    for x, names in arrays:
        for axis, name in enumerate(names):
            at = next(k for k, g in enumerate(groups) if name in g)
            fixed = any(len(s) == 2 and s[0] in (0, depth) for s in groups[at])
            if not fixed and at not in found:
                found[at] = len(sizes)
                sizes.append(x.shape[axis])
            numbers[name] = None if fixed else found[at]
    return numbers, sizes


def segment(run):
    """Of five models on the way from one to the other and beyond; all ways to cut them are tried."""
    if run.truth.law.kind == "frobenius" or run.case.a.n_ctx:
        return None
    t = run.truth
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.5], [0.5, 1.0], [0.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    m, bound = (
        torch.stack([torch.stack([t.inner(i, j)[s] for j in (0, 1)]) for i in (0, 1)]) for s in (0, 1)
    )
    g, size = rows @ m @ rows.T, rows.abs() @ bound @ rows.abs().T
    if bool((g.diagonal() < 1e-3 * size.diagonal()).any()):
        return False
    cosine = g / g.diagonal().sqrt() / g.diagonal().sqrt()[:, None]
    a, b = (net.collapse() for net in run.nets)
    models = [
        tnsim.Network((("f", x * a + y * b),)) if x and y else tnsim.Network((("f", x * a if x else y * b),))
        for x, y in rows.tolist()
    ]
    k = 2 + run.case.law.seed % 2
    got = tnsim.segment(tnsim.gram(models, progress=False, slices=False, **run.options), k)

    def cost(cuts):
        return sum(float((1 - cosine[i:j, i:j]).sum()) / 2 for i, j in pairwise((0, *cuts, len(rows))))

    best = min(cost(cuts) for cuts in combinations(range(1, len(rows)), k - 1))
    close("cost of the phases", got.cost, best, 100.0, 1e-9)
    assert len(got) == k and got.spans == tuple(pairwise((0, *got.boundaries, len(rows))))
    return close("cost of these phases", cost(got.boundaries), best, 100.0, 1e-9)


WEIGHTS = {f.__name__: f for f in (weight_cosine, output_cosine, linear_cka, aligned_weight_cosine, segment)}
