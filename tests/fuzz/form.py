"""Questions about form: the same function, written as another network."""

import quimb.tensor as qtn
import torch
from fuzz.build import example
from fuzz.check import _inputs, close

import tnsim

__all__ = ["FORM"]


def _points(run, i=0):
    """Inputs, values of the module there, and their majorants."""
    spec = run.case.a if i == 0 else run.case.b
    x = _inputs(spec)
    value, bound = run.truth.modules[i](x), run.truth.majorants[i](x if spec.vocab else x.abs())
    return x, value.flatten(1), bound.flatten(1)


def collapse(run):
    x, want, bound = _points(run)
    if run.case.a.vocab:
        x = torch.nn.functional.one_hot(x, run.case.a.vocab).double()
    whole = run.nets[0].collapse()
    return close("collapse", whole(x.reshape(len(x), *whole.in_shape)), want, bound)


def layers(run):
    """The network, layer by layer."""
    x, want, bound = _points(run)
    if run.case.a.vocab:
        x = torch.nn.functional.one_hot(x, run.case.a.vocab).double()
    x = x.reshape(len(x), *run.nets[0].polys[0].in_shape)
    for _, f in run.nets[0].layers:
        x = f(x)
    return close("layers in turn", x, want, bound)


def to_quimb(run):
    """Contracted by quimb alone, with one copy of the input on every leg."""
    if run.case.a.n_ctx:
        return None
    net = run.nets[0]
    x, want, bound = _points(run)
    tn = net.to_quimb()
    size = tn.ind_size("in0:d") if "in0:d" in tn.ind_map else 0
    fed = torch.cat([torch.ones(1, dtype=x.dtype), x[0]]) if size == run.case.a.n_in + 1 else x[0]
    for k in range(net.degree):
        tn = tn & qtn.Tensor(fed, (f"in{k}:d",))
    got = tn.contract(output_inds=("out:d",)).data
    return close("to_quimb", got, want[0], bound[0])


def lift(run):
    if run.case.a.n_ctx:
        return None
    x, want, bound = _points(run)
    ones = torch.ones(len(x), 1, dtype=x.dtype)
    f = run.nets[0].collapse()
    close("lift", tnsim.lift(f, constant_row=False)(torch.cat([ones, x], 1)), want, bound)
    h = torch.cat([ones, x], 1)
    for _, g in run.nets[0].layers:
        h = tnsim.lift(g)(h)
    return close("lift, layer by layer", h, torch.cat([ones, want], 1), torch.cat([ones, bound], 1))


def difference(run):
    if run.case.a.n_ctx or run.law == tnsim.Frobenius():
        return None
    x, f, size = _points(run)
    _, g, other = _points(run, 1)
    delta = tnsim.difference(*run.nets)
    close("difference", delta(x), f - g, size + other)
    (aa, maa), (ab, mab), (bb, mbb) = (run.truth.inner(*p) for p in ((0, 0), (0, 1), (1, 1)))
    got = tnsim.inner(delta, **run.options)
    return close("inner of the difference", got, aa - 2 * ab + bb, maa + 2 * mab + mbb)


def arithmetic(run):
    """Sums, products and outputs of collapsed models."""
    if run.case.a.n_ctx:
        return None
    x, f, size = _points(run)
    _, g, other = _points(run, 1)
    a, b = (net.collapse() for net in run.nets)
    close("sum", (a + b)(x), f + g, size + other)
    close("difference", (a - 2.0 * b)(x), f - 2 * g, size + 2 * other)
    if max(len(a.terms), len(b.terms)) < 20:
        close("product", (a * b)(x), f * g, size * other)
        close("square", (a**2)(x), f**2, size**2)
    return close("one output", a[f.shape[1] - 1](x), f[:, -1], size[:, -1])


def composed(run):
    """A model behind another of as many outputs as it has inputs."""
    if (
        run.case.a.n_ctx
        or run.case.a.n_in != run.case.b.widths[-1]
        or run.case.a.degree * run.case.b.degree > 9
    ):
        return None
    x = _inputs(run.case.b)
    inner, outer = run.truth.modules[1], run.truth.modules[0]
    want = outer(inner(x))
    bound = run.truth.majorants[0](run.truth.majorants[1](x.abs()))
    got = (run.nets[0].collapse() @ run.nets[1].collapse())(x)
    return close("composition", got, want, bound)


def written(run):
    """A layer written as its equation beside the identity, with the weights of a stranger."""
    a = run.case.a
    if a.n_ctx:
        return None
    x = _inputs(a)
    generator = torch.Generator().manual_seed(a.seed)
    d, l, r = (
        torch.randn(*shape, generator=generator, dtype=x.dtype)
        for shape in ((a.n_in, 3), (3, a.n_in), (3, a.n_in))
    )
    f = tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=d, L=l, R=r) + tnsim.identity((("d", a.n_in),), d)
    want = torch.einsum("oh,nh,nh->no", d, x @ l.T, x @ r.T)
    close("written", f(x), want + x, 10.0 * x.norm() ** 2 + x.norm())
    whole = tnsim.Network((("f", f), *run.nets[0].layers))
    y = want + x
    size = run.truth.majorants[0](
        x.abs() + torch.einsum("oh,nh,nh->no", d.abs(), x.abs() @ l.abs().T, x.abs() @ r.abs().T)
    )
    return close("before a model", whole(x), run.truth.modules[0](y), size)


def stack(run):
    if run.nets[0].signature() != run.nets[1].signature() or run.case.a.vocab:
        return None
    both = tnsim.stack(list(run.nets))
    x, f, size = _points(run)
    _, g, other = _points(run, 1)
    return close("stack", both(x).flatten(2), torch.stack([f, g]), torch.stack([size, other]))


def single_precision(run):
    """The network in float32 is the one in float64, rounded."""
    x, want, bound = _points(run)
    net = tnsim.convert(run.modules[0], example(run.case.a), dtype=torch.float32)
    if bound.max() > 1e30:
        return False
    close("float32", net(x if run.case.a.vocab else x.float()), want, bound, 1e-3)
    return True


FORM = {
    f.__name__: f
    for f in (
        collapse,
        layers,
        to_quimb,
        lift,
        difference,
        arithmetic,
        composed,
        written,
        stack,
        single_precision,
    )
}
