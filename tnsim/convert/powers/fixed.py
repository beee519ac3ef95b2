"""Fixed: norms of data as constants, their root mean square under a law of the input. An approximation, with a name."""

from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from tnsim.algebra import CostError, Network, Poly
from tnsim.algebra.polys.poly import Axes
from tnsim.convert.module.errors import Refusal
from tnsim.convert.powers.exponents import exponent
from tnsim.convert.powers.law_inputs import specimens
from tnsim.convert.powers.roots import base_of
from tnsim.convert.record.trace import BATCH_SIZE, Node, mapped, members
from tnsim.convert.values.site import Site
from tnsim.convert.values.value import Value
from tnsim.engine.costs import price
from tnsim.measure import Empirical, Measure, expect

__all__ = ["Fixing"]

_DRAWS = 4096
_MOST_NUMBERS = 2**25  # of all draws together
_MOST_FLOPS = 1e9  # of an expectation that is taken exactly
_MOST_TERMS = 256
_CHUNK = 256
_MOST_SAID = 60  # characters of a law in a note


@dataclass(eq=False)
class Fixing:
    """What is known of the law of a hidden tensor while layers are evaluated one by one, and which norms were fixed.

    A norm becomes the root of the mean square that the law of the input gives at this point of the network, in which the
    norms before it are constants already. The mean is that of the law itself where it takes at most 1e9 flops, else that of
    draws from it, made by a generator with a seed of its own.

    Attributes:
        law: the law of the input.
        domain: the axes of the input.
        like: an array of the dtype and device to use.
        layers: the layers so far.
        constants: what stands in the place of norms, by node.
        exact: the places of norms whose mean square is that of the law.
        sampled: the places of the others, with the relative standard error of their mean squares.
    """

    law: Measure
    domain: Axes
    like: Tensor
    layers: list[Poly] = field(default_factory=list)
    constants: dict[Node, Tensor] = field(default_factory=dict)
    exact: list[str] = field(default_factory=list)
    sampled: dict[str, float] = field(default_factory=dict)
    _draws: tuple[Tensor, Tensor] | None = None
    _behind: int = 0

    def __post_init__(self) -> None:
        specimens(self.law, self.domain, 1, 0, self.like)  # raises where inputs cannot be drawn

    @torch.no_grad()
    def constant(self, site: Site, args: Any, kwargs: Any) -> Tensor:
        """What stands in the place of a norm, in the traced batch."""
        e = exponent(site.step)
        base = base_of(site, args, kwargs) if e is not None else members((args, kwargs), Value)[0]
        mean = self._mean(base, site.step.stack[-1].path or "the root module").clamp_min(0)
        square = base.spread(mean.expand(BATCH_SIZE, *base.item))
        if e is not None:
            found = square ** float(e)
        else:
            args, kwargs = mapped((args, kwargs), Value, lambda _: square)
            found = site.step.function(*args, **kwargs)
        if not bool((square > 0).all()) or not bool(torch.isfinite(found).all()):
            raise Refusal(
                f"{{name}} is zero for inputs that follow {self.law!r}",
                "It cannot be fixed: take another law.",
            )
        self.constants[site.step.outputs[0]] = found
        return found

    def note(self, deviation: float) -> str:
        """The name of the approximation."""
        n = len(self.exact) + len(self.sampled)
        ways = [f"{len(self.exact)} exactly"] if self.exact else []
        if self.sampled:
            worst = max(self.sampled.values())
            ways.append(f"{len(self.sampled)} from {len(self.draws[1])} draws (mean squares ± {worst:.1%})")
        places = ", ".join(list(dict.fromkeys([*self.exact, *self.sampled]))[:4])
        more = " …" if n > 4 else ""
        return (
            f'norm="fixed": {n} norm{"s" * (n > 1)} ({places}{more}) fixed at their root mean square '
            f"under {_told(self.law)}, {' and '.join(ways)}; outputs deviate by {deviation:.2g} of their root mean square"
        )

    # ------------------------------------------------------------------ the mean of a polynomial

    @property
    def draws(self) -> tuple[Tensor, Tensor]:
        """Inputs that follow the law, pushed through the layers so far, and their weights."""
        if self._draws is None:
            size = prod(n for _, n in self.domain)
            n = max(64, min(_DRAWS, _MOST_NUMBERS // size))
            self._draws = specimens(self.law, self.domain, n, 0, self.like)
        for f in self.layers[self._behind :]:
            x, weights = self._draws
            self._draws = _values(f, x), weights
        self._behind = len(self.layers)
        return self._draws

    def _mean(self, base: Value, place: str) -> Tensor:
        """E of a polynomial of the layer's input, in the shape of a sample."""
        f = base.poly.mapped(lambda a: a.detach())
        found = None if isinstance(self.law, Empirical) else self._exactly(f)
        if found is None:
            x, weights = self.draws
            values = _values(f, x).reshape(len(x), -1)
            found = weights @ values
            if isinstance(self.law, Empirical):
                self.exact.append(place)
            else:
                spread = (weights**2 @ (values - found) ** 2).sqrt() / found.abs().clamp_min(1e-300)
                self.sampled[place] = max(self.sampled.get(place, 0.0), float(spread.max()))
        else:
            self.exact.append(place)
        return found.reshape(base.item)

    def _exactly(self, f: Poly) -> Tensor | None:
        """From the law itself; ``None`` where that is too dear."""
        layers = (*(g.mapped(lambda a: a.detach()) for g in self.layers), f)
        try:
            terms = 1
            for g in layers:
                terms = sum(terms**t.degree for t in g.terms)
                if terms > _MOST_TERMS:
                    return None
            whole = Network(tuple((str(k), g) for k, g in enumerate(layers))).collapse()
            (whole,), law = self.law.bound(self.domain, self.like).centred((whole,))
            run = partial(expect, (whole,), law, "all", (0,))
            cost = price(run, _MOST_FLOPS)
            if cost.at_least or cost.flops > _MOST_FLOPS or cost.contractions > _MOST_TERMS:
                return None
            found: Tensor = run()
        except CostError:
            return None
        return found


def _told(law: Measure) -> str:
    said = repr(law)
    return said if len(said) < _MOST_SAID else type(law).__name__


def _values(f: Poly, x: Tensor) -> Tensor:
    return torch.cat([f.evaluate(part) for part in x.split(_CHUNK)])
