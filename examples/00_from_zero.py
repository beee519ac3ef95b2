"""From zero: tensor networks for people who know torch.

From einsum to the similarity of two bilinear layers, in seven steps that run. Nothing is needed but torch.

Usage: python examples/00_from_zero.py [folder for the pictures]
"""

import sys
import tempfile
from pathlib import Path

import quimb.tensor as qtn
import torch

import tnsim

OUT = Path(sys.argv[1] if len(sys.argv) == 2 and sys.argv[1][0] != "-" else tempfile.mkdtemp())

# %% [markdown]
# ## 1. An einsum
#
# A matrix times a vector is a sum over the index that both share. `einsum` says so in letters.

# %%
torch.manual_seed(0)
W, x = torch.randn(3, 4), torch.randn(4)
y = torch.einsum("oi,i->o", W, x)
assert torch.allclose(y, W @ x)

# %% [markdown]
# ## 2. The same, drawn
#
# A **tensor network** is an einsum, drawn: every array is a node, every index a line. A line between two nodes is summed
# over, a line with one end stays open. Here `W` has two lines: `out`, and `in0`, where a vector can be put in. Such a
# place is a **leg**. To **contract** a network is to carry out its einsum.

# %%
linear = tnsim.poly("W[out,in0]", W=W)
assert torch.allclose(linear(x), y)
fig_linear, _ = tnsim.draw(linear)

# %% [markdown]
# ## 3. A layer that multiplies
#
# A bilinear layer D((Lx)∘(Rx)) multiplies two linear maps entry by entry, where others have an activation. As an einsum the
# product is nothing special: the hidden index `h` belongs to three arrays, and the input comes in twice.

# %%
D, L, R = torch.randn(3, 6), torch.randn(6, 4), torch.randn(6, 4)
y = torch.einsum("oh,hi,hj,i,j->o", D, L, R, x, x)
assert torch.allclose(y, D @ ((L @ x) * (R @ x)), atol=1e-5)

# %% [markdown]
# The drawing has two legs, so the layer is a polynomial of degree 2: no input has to be chosen to write it down. A layer
# with a residual or a bias is a sum of such networks.

# %%
f = tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D, L=L, R=R)
print(f)
assert torch.allclose(f(x), y, atol=1e-5)
fig_bilinear, _ = tnsim.draw(f)

# %% [markdown]
# ## 4. Two layers, on all inputs
#
# How alike are two layers f and g? Put a random input into both, multiply what comes out, and average: E[f(x)·g(x)] for
# x ~ N(0, I). With samples this is a number with noise:

# %%
D2, L2, R2 = D + torch.randn(3, 6), L + torch.randn(6, 4) / 2, R + torch.randn(6, 4) / 2
g = tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D2, L=L2, R=R2)
many = torch.randn(200_000, 4)
sampled = (f(many) * g(many)).sum(1)
print(f"E[f·g] = {sampled.mean():.1f} ± {sampled.std() / len(many) ** 0.5:.1f}")

# %% [markdown]
# ## 5. The same without samples
#
# f and g side by side have four legs i, j, k, l, and each takes the same x. So all that is needed of the inputs is
# E[x_i x_j x_k x_l]. For a standard normal x that is a sum over the three ways of pairing four legs (Isserlis 1918, Wick
# 1950), where a pair of legs becomes one line:
#
# E[x_i x_j x_k x_l] = δ_ij δ_kl + δ_ik δ_jl + δ_il δ_jk
#
# Three pairings are three einsums without any open line, that is, three numbers:

# %%
pairings = {
    "each with itself": "oh,hi,hi,oq,qk,qk->",
    "L with L, R with R": "oh,hi,hj,oq,qi,qj->",
    "L with R, R with L": "oh,hi,hj,oq,qj,qi->",
}
numbers = {name: torch.einsum(letters, D, L, R, D2, L2, R2) for name, letters in pairings.items()}
for name, number in numbers.items():
    print(f"{name:20} {number:8.1f}")
exact = sum(numbers.values())
print(f"{'E[f·g]':20} {exact:8.1f}")

# %% [markdown]
# The second of them, drawn. Nothing dangles: this is a number.

# %%
arrays = zip(
    ["D", "L", "R", "D2", "L2", "R2"],
    [D, L, R, D2, L2, R2],
    ["oh", "hi", "hj", "oq", "qi", "qj"],
    strict=True,
)
closed = qtn.TensorNetwork(
    [qtn.Tensor(array, tuple(letters), tags=[name]) for name, array, letters in arrays]
)
assert torch.isclose(torch.as_tensor(closed.contract(output_inds=())), numbers["L with L, R with R"])
fig_closed, _ = tnsim.draw(closed)

# %% [markdown]
# ## 6. The similarity
#
# An inner product makes a cosine: ⟨f, g⟩ / √(⟨f, f⟩⟨g, g⟩). It is 1 where two layers are the same function, however they
# are written, and 0 where they have nothing in common. tnsim does what step 5 does, for any number of legs.

# %%
assert torch.isclose(tnsim.inner(f, g), exact)
norms = (tnsim.inner(f) * tnsim.inner(g)).sqrt()
assert torch.isclose(tnsim.similarity(f, g), exact / norms)
print(f"similarity {tnsim.similarity(f, g):.4f}")

# %% [markdown]
# The same function with its hidden units in another order has other weights, and similarity 1:

# %%
order = torch.randperm(6)
twin = tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=D[:, order], L=L[order], R=R[order])
print(f"similarity {tnsim.similarity(f, twin):.4f}")

# %% [markdown]
# ## 7. Your module
#
# Equations are not needed: a torch module is traced, and what it multiplies and adds becomes such networks. Deeper models
# are polynomials of higher degree; how their many pairings are kept cheap is told in
# [The mathematics](../docs/maths.md).


# %%
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = (torch.nn.Linear(n, m) for n, m in ((4, 6), (4, 6), (6, 3)))

    def forward(self, x):
        return self.head(self.left(x) * self.right(x))


a, b = Model(), Model()
print(tnsim.convert(a))
print(f"similarity {tnsim.similarity(a, b):.4f}")
fig_model, _ = tnsim.draw(a)

# %% The pictures.
OUT.mkdir(parents=True, exist_ok=True)
for name, fig in (
    ("linear", fig_linear),
    ("bilinear", fig_bilinear),
    ("closed", fig_closed),
    ("model", fig_model),
):
    fig.savefig(OUT / f"{name}.png", dpi=160)
print(f"pictures in {OUT}")
