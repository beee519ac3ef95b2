"""Truncations: what is reported of a smaller network is what that network does."""

from fuzz.check import close

import tnsim
from tnsim.common.wires import PICK, WIRE

__all__ = ["TRUNCATED", "reported"]


def reported(run, other, similarity, error=None, i=0):
    """Similarity and error of a network that stands in for model ``i``, by evaluating it on the points."""
    f = run.truth.modules[i]
    ff, fg, gg = (run.truth.moment(*p).trace() for p in ((f, f), (f, _called(other)), (_called(other),) * 2))
    bound = run.truth.bounds[i][i].trace()
    if ff <= 1e-4 * bound or gg < 1e-6 * ff:
        return False
    close("similarity of what is returned", similarity, fg / (ff * gg).sqrt(), 1e3 * bound / gg)
    if error is None:
        return True
    return close("error of what is returned", error**2, (ff - 2 * fg + gg) / ff, 1e3 * bound / ff)


def _called(net):
    return lambda x: net(x)


def _numbers(net):
    """Numbers in a network, but for identities and selections."""
    return sum(
        x.data.numel()
        for f in net.polys
        for t in f.terms
        for x in t.tensors
        if not {WIRE, PICK} & set(x.tags)
    )


def _asked(run):
    return run.truth.law.kind != "frobenius" and not run.truth.tensors and not run.case.a.n_ctx


def truncate(run):
    if not _asked(run) or len(run.nets[0]) < 2:
        return None
    small = tnsim.truncate(run.nets[0], rank=1, bound=True, progress=False, **run.options)
    assert all(n[1] == 1 for n in small.network.polys[-1].domain), small
    decided = reported(run, small.network, small.similarity, small.error)
    if decided:
        assert small.error <= small.bound * (1 + 1e-6) + 1e-6, (small.error, small.bound)
    return decided


def truncate_units(run):
    """Hidden units of one layer; of the last layer's, what is left out is the squared error."""
    net = run.nets[0]
    if not _asked(run):
        return None
    names = [name for name, f in net if f.units is not None or f.degree > 1]
    if not names:
        return None
    at = names[run.case.law.seed % len(names)]
    rank = 1 + run.case.law.seed % 3
    small = tnsim.truncate(net, rank={f"{at}.hidden": rank}, progress=False, **run.options)
    decided = reported(run, small.network, small.similarity, small.error)
    if decided and at == net.names[-1] and all(t.degree > 1 for t in net[at].terms):
        bound = run.truth.bounds[0][0].trace() / run.truth.inner(0, 0)[0]
        close("share left out", small.left_out[f"{at}.hidden"], small.error**2, 1e4 * bound)
    return decided


def truncate_to_an_error(run):
    if not _asked(run):
        return None
    small = tnsim.truncate(run.nets[0], error=0.3, progress=False, **run.options)
    assert small.error <= 0.3
    return reported(run, small.network, small.similarity, small.error)


def truncate_layerwise(run):
    """Cut by approximate modes, the similarity exact."""
    if not _asked(run) or len(run.nets[0]) < 2:
        return None
    small = tnsim.truncate(run.nets[0], rank=2, modes="layerwise", progress=False, **run.options)
    return reported(run, small.network, small.similarity, small.error)


def truncations(run):
    if not _asked(run):
        return None
    size = _numbers(run.nets[0])
    most = [size, max(1, size - 2)]
    made = tnsim.truncations(run.nets[0], most, progress=False, **run.options)
    for n, small in zip(most, made, strict=True):
        assert small.parameters == (_numbers(small.network), size) and small.parameters[0] <= n
        decided = reported(run, small.network, small.similarity, small.error)
    return decided


def decompose(run):
    if run.case.law.kind != "gaussian" or run.case.a.n_ctx or run.nets[0].degree < 2:
        return None
    kind = ("cp", "tucker", "hosvd", "symmetric-cp")[run.case.law.seed % 4]
    made = tnsim.decompose(run.nets[0], kind, 1, under=run.law, restarts=1, progress=False)
    return reported(run, made.poly, made.similarity)


TRUNCATED = {
    f.__name__: f
    for f in (truncate, truncate_units, truncate_to_an_error, truncate_layerwise, truncations, decompose)
}
