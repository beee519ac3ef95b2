"""Attention layers written as equations, and the same functions in plain einsum."""

from itertools import product

import torch
from zoo import rand

from tnsim.algebra import identity, poly


class Attention:
    """One layer of bilinear attention: its weights, its polynomial, and its value computed by hand."""

    def __init__(
        self, d=2, s=2, n=1, c=2, mask="causal", rotary=False, tied=False, bias=(), residual=None, o=None
    ):
        self.s, self.d, self.residual, self.bias = s, d, residual, bias
        o = d if o is None else o
        self.w = {k: rand(n, c, d) / d**0.5 for k in ("V", "Q1", "K1", "Q2", "K2")}
        self.b = {k: rand(n, c) for k in bias if k != "O"}
        if tied:
            self.w["Q2"], self.w["K2"] = self.w["Q1"], self.w["K1"]
            if "Q1" in self.b:
                self.b["Q2"], self.b["K2"] = self.b["Q1"], self.b["K1"]
        self.O = rand(o, n, c) / c**0.5
        self.out_bias = rand(s, o) if "O" in bias else None
        ones = torch.ones(s, s, dtype=torch.float64)
        self.mask = {"causal": ones.tril(), "none": ones, "diagonal": torch.eye(s, dtype=torch.float64)}[mask]
        angle = torch.arange(s, dtype=torch.float64) * 0.7
        turn = torch.stack(
            [torch.stack([angle.cos(), -angle.sin()], -1), torch.stack([angle.sin(), angle.cos()], -1)], -2
        )
        self.rope = turn if rotary else None  # (s, 2, 2); for heads with two features

    def __call__(self, x):
        u = {k: torch.einsum("nca,zsa->zsnc", w, x) + self.b.get(k, 0) for k, w in self.w.items()}
        if self.rope is not None:
            u = {k: v if k == "V" else torch.einsum("sca,zsna->zsnc", self.rope, v) for k, v in u.items()}
        first = torch.einsum("zqnc,zknc->znqk", u["Q1"], u["K1"])
        second = torch.einsum("zqnc,zknc->znqk", u["Q2"], u["K2"])
        y = torch.einsum("onv,znqk,zknv->zqo", self.O, first * second * self.mask, u["V"])
        y = y if self.out_bias is None else y + self.out_bias
        return y if self.residual is None else x + self.residual * y

    def poly(self):
        f = None
        for choice in product(*((True, False) if k in self.b else (True,) for k in self.w)):
            factors, legs = ["O[out@q,n,v]", "M[q,k]"], 0
            arrays = {"O": self.O, "M": self.mask}
            for name, reads in zip(self.w, choice, strict=True):
                place, inner = "q" if name.startswith("Q") else "k", {"1": "a", "2": "b"}.get(name[-1], "v")
                if self.rope is not None and name != "V":
                    factors.append(f"R{name}[{place},{inner},{inner}{place}]")
                    arrays[f"R{name}"], inner = self.rope, inner + place
                if reads:
                    factors.append(f"{name}[n,{inner},in{legs}@{place}]")
                    arrays[name] = self.w[name]
                    legs += 1
                else:
                    factors.append(f"b{name}[n,{inner}]")
                    arrays[f"b{name}"] = self.b[name]
            domain = (("s", self.s), ("d", self.d))
            term = poly(" ".join(factors), domain, **arrays)
            f = term if f is None else f + term
        f = f if self.out_bias is None else f + self.out_bias
        return f if self.residual is None else identity(f.domain, rand(1)) + self.residual * f
