"""Networks of every kind to draw, and what a finished drawing holds."""

import numpy as np
import quimb.tensor as qtn

from tnsim.algebra import Network, identity, poly, stack

RNG = np.random.default_rng(0)


def rand(*shape):
    return RNG.normal(size=shape)


def bilinear(o, h, n):
    return poly("D[out,hid] L[hid,in0] R[hid,in1]", D=rand(o, h), L=rand(h, n), R=rand(h, n))


def linear(name, o, n):
    return poly(f"{name}[out,in0]", **{name: rand(o, n)})


def attention(s=6, d=8, n=2, v=4, a=5):
    heads = {name: rand(n, a, d) for name in ("Q1", "K1", "Q2", "K2")}
    return poly(
        "O[out@q,n,v] V[n,v,in0@k] M[q,k] Q1[n,a,in3@q] K1[n,a,in1@k] Q2[n,b,in4@q] K2[n,b,in2@k]",
        O=rand(d, n, v), V=rand(n, v, d), M=rand(s, s), **heads,
    )  # fmt: skip


def residual(f):
    return f + identity(f.domain, f.like)


def deep(n, d=16):
    return Network(tuple((f"blocks.{i}", bilinear(d, 32, d)) for i in range(n)))


def with_residual(blocks):
    middle = tuple((f"blocks.{i}", residual(bilinear(32, 48, 32) + rand(32))) for i in range(blocks))
    return Network((("embed", linear("E", 32, 64)), *middle, ("head", linear("head", 10, 32) + rand(10))))


def sequence_model():
    f = attention()
    return Network((("attn", residual(f)), ("attn.1", residual(attention()))))


def closed(net, legs):
    """The inner product of a network with itself: both sides, and a covariance on every leg."""
    tensors = []
    for side in ("ket", "bra"):
        for t in net.to_quimb().tensors:
            inds = [ix if ix == "out:d" else f"{side}/{ix}" for ix in t.inds]
            tensors.append(qtn.Tensor(t.data, inds, tags=[*t.tags, side]))
    n = net.in_shape[0]
    for k in range(legs):
        tensors.append(qtn.Tensor(np.eye(n), (f"ket/in{k}:d", f"bra/in{k}:d"), tags="COV"))
    return qtn.TensorNetwork(tensors, check_collisions=False)


def by_hand():
    a = qtn.Tensor(rand(2, 3, 4), ("a", "b", "c"), tags="A")
    b = qtn.Tensor(rand(3, 5, 2), ("b", "e", "x"), tags="B")
    c = qtn.Tensor(rand(4, 5, 7), ("c", "e", "y"), tags="foo")
    return qtn.TensorNetwork([a, b, c])


STANDARD = {
    "one layer": lambda: deep(1),
    "residual and bias, two blocks": lambda: with_residual(2),
    "residual and bias, three blocks": lambda: with_residual(3),
    "three layers": lambda: deep(3),
    "attention": lambda: Network((("attn", attention()),)),
    "sum of terms": lambda: residual(bilinear(8, 6, 8) + rand(8)),
    "sequence model": sequence_model,
    "inner product": lambda: closed(deep(1), 2),
    "by hand": by_hand,
    "matrix product state": lambda: qtn.MPS_rand_state(6, 4),
    "one output": lambda: bilinear(5, 4, 3)[2],
    "term": lambda: attention().terms[0],
    "stacked": lambda: stack([deep(1), deep(1), deep(1)]),
}
