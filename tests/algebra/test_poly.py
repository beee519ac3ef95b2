from itertools import islice, permutations

import numpy as np
import pytest
import quimb.tensor as qtn
import torch
from zoo import KINDS, bilinear, linear, network, rand, space

from tnsim.algebra import ComposeError, Poly, Term, concat, constant, identity, poly
from tnsim.algebra.terms.collecting import collect

PAIRS = [(False, 0.0), (True, 0.0), (True, 0.5)]
close = torch.testing.assert_close


@pytest.fixture(params=PAIRS, ids=["pure", "bias", "bias and residual"])
def three(request):
    bias, residual = request.param
    return tuple(bilinear(3, 4, 3, bias, residual) for _ in range(3))


def test_sums_products_and_compositions_are_those_of_functions(three):
    f, g, h = three
    x = rand(7, 3)
    close((f + g)(x), f(x) + g(x))
    close((f - g)(x), f(x) - g(x))
    close((f * g)(x), f(x) * g(x))
    close((f @ g)(x), f(g(x)))
    close(((f + g) @ (h * f))(x), f((h * f)(x)) + g(h(x) * f(x)))
    close((f**3)(x), f(x) ** 3)
    close((2.5 * f - 1.0)(x), 2.5 * f(x) - 1)
    close((f**0)(x), torch.ones(7, 3, dtype=torch.float64))
    v = rand(3)
    close((f * v + v)(x), f(x) * v + v)
    close((f * torch.tensor(0.3, dtype=torch.float64))(x), f(x) * 0.3)


@pytest.mark.parametrize("key", [1, -1, slice(1, 3), [2, 0], slice(None, None, 2), Ellipsis])
def test_outputs_are_selected_as_in_arrays(three, key):
    x = rand(5, 3)
    for f in (*three, three[0] @ three[1], identity(space(3), rand(1))):
        close(f[key](x), f(x)[:, key] if key is not Ellipsis else f(x))


def test_composing_twice_keeps_inner_names_apart():
    f = bilinear(3, 4, 3, bias=True)
    g = f @ f
    x = rand(4, 3)
    close((g @ f)(x), f(f(f(x))))
    close((f @ g)(x), f(f(f(x))))


def test_attention_reads_as_one_equation():
    n, a, v, d, s = 2, 2, 3, 4, 5
    w = {k: rand(n, a, d) for k in ("Q1", "K1", "Q2", "K2")}
    w |= {"O": rand(d, n, v), "V": rand(n, v, d), "M": torch.tril(rand(s, s))}
    f = poly(
        "O[out@q,n,v] V[n,v,in0@k] M[q,k] Q1[n,a,in3@q] K1[n,a,in1@k] Q2[n,b,in4@q] K2[n,b,in2@k]", **w
    ) + identity((("s", s), ("d", d)), rand(1))
    x = rand(6, s, d)
    q1, k1, q2, k2 = (torch.einsum("nad,zsd->znsa", w[k], x) for k in ("Q1", "K1", "Q2", "K2"))
    pattern = (q1 @ k1.mT) * (q2 @ k2.mT) * w["M"]
    z = pattern @ torch.einsum("nvd,zsd->znsv", w["V"], x)
    close(f(x), torch.einsum("onv,znsv->zso", w["O"], z) + x)
    close(f[2](x), f(x)[:, 2])
    close(f[:, 1](x), f(x)[:, :, 1])
    close(f[..., 1](x), f(x)[..., 1])


def test_terms_whose_outputs_have_other_names_can_be_added_and_multiplied():
    f = poly("O[out@q,v] V[v,in0@k] S[q,k]", O=rand(3, 2), V=rand(2, 3), S=rand(4, 4))
    wire = identity(f.domain, rand(1))
    c = constant(rand(4, 3, seed=3), f.domain)
    x = rand(2, 4, 3)
    close((f + wire)(x), f(x) + x)
    close((wire * f)(x), f(x) * x)
    close((f * c)(x), f(x) * rand(4, 3, seed=3))
    close((c * f + wire)(x), f(x) * rand(4, 3, seed=3) + x)


def test_a_factor_of_zero_leaves_the_zero_function():
    f = bilinear(3, 4, 2)
    close((0.0 * f)(rand(4, 3)), torch.zeros(4, 2, dtype=torch.float64))
    close((f + 0.0 * f)(torch.ones(1, 3).double()), f(torch.ones(1, 3).double()))


def test_linear_and_constant_terms_are_merged():
    f = bilinear(4, 5, 4, bias=True, residual=0.3)
    assert [t.degree for t in f.terms] == [2, 1, 0]
    assert all(len(t.tensors) == 1 for t in f.terms[1:])


def test_a_residual_is_a_wire_not_a_matrix():
    f = bilinear(4, 5, 4, residual=0.3)
    assert max(t.tensors[0].ndim for t in f.terms if t.degree == 1) == 1


def test_equal_terms_are_counted_once():
    f = bilinear(3, 4, 2)
    assert len((f + f).terms) == 1
    close((f + f)(rand(2, 3).clone().fill_(1.0)), 2 * f(torch.ones(2, 3, dtype=torch.float64)))


def test_concat_and_constant():
    f, g = linear(3, 2), bilinear(3, 4, 3, bias=True)
    x = rand(5, 3)
    close(concat([f, g])(x), torch.cat([f(x), g(x)], 1))
    close(constant(rand(2, seed=1), space(3))(x), rand(2, seed=1).expand(5, 2))


def test_batches_of_any_shape():
    f = bilinear(3, 4, 2)
    x = rand(2, 5, 3)
    assert f(x).shape == (2, 5, 2)
    assert f(x[0, 0]).shape == (2,)


def test_numpy_is_a_backend_too():
    rng = np.random.default_rng(0)
    D, L, R = rng.normal(size=(2, 3)), rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    f = poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D, L=L, R=R) + np.ones(2)
    x = rng.normal(size=(5, 4))
    np.testing.assert_allclose(f(x), (x @ L.T * (x @ R.T)) @ D.T + 1)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda f, g: f @ g, r"cannot feed a layer with input \(d: 3\) from one with output \(d: 2\)"),
        (lambda f, g: f + g[0], "`\\+` needs equal spaces"),
        (lambda f, g: f * rand(5), r"cannot multiply outputs of shape \(2,\) by an array of shape \(5,\)"),
        (lambda f, g: f + rand(5), r"cannot add an array of shape \(5,\)"),
        (lambda f, g: f**0.5, "only whole powers"),
        (lambda f, g: f**-1, "only whole powers"),
    ],
)
def test_misfits_are_named(act, message):
    with pytest.raises(ComposeError, match=message):
        act(bilinear(3, 4, 2), bilinear(3, 4, 2))


def test_outputs_that_do_not_exist():
    with pytest.raises(IndexError, match="output 2 of 2"):
        bilinear(3, 4, 2)[2]
    with pytest.raises(ValueError, match=r"x has shape \(5, 4\); this polynomial reads \(d: 3\)"):
        bilinear(3, 4, 2)(rand(5, 4))


@pytest.mark.parametrize("kind", KINDS)
def test_collapsing_a_network_does_not_change_it(kind):
    net = network(**KINDS[kind])
    x = rand(6, 3)
    whole = net.collapse()
    assert isinstance(whole, Poly)
    close(whole(x), net(x))
    assert whole.degree == net.degree


def test_terms_that_share_tensors_are_added_over_the_axes_that_they_have():
    """A factor in front of terms of which one has nothing else, one an inner axis, and one the output axis."""
    A, b, v, M = rand(3, 3), rand(3), rand(3), rand(3, 3)

    def term(*factors):
        tensors = tuple(qtn.Tensor(x, inds) for x, inds in ((A, ("out:d", "hid:h")), *factors))
        return Term(tensors, (), ("out:d",))

    terms = [
        term(),
        term((b, ("hid:h",))),
        term((v, ("out:d",))),
        term((M, ("hid:h", "out:d"))),
        term((A, ("out:d", "hid:h"))),
        term((v, ("out:d",)), (v, ("out:d",))),
    ]
    want = A.sum(1) + A @ b + A.sum(1) * v + (A * M.T).sum(1) + (A * A).sum(1) + A.sum(1) * v * v
    for order in islice(permutations(terms), 0, None, 7):
        f = Poly(collect(order), space(2), space(3))
        close(f(rand(2)), want)
    close(Poly(collect(terms[:1]), space(2), space(3))(rand(2)), A.sum(1))
