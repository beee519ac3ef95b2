"""Sampled answers: what a question takes to be answered by draws, with an error."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite, log2
from typing import Any

import torch

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.onehot_ids import is_ids
from tnsim.analysis.asking.problem import Method, law_for
from tnsim.analysis.asking.statistics import Of, Statistic
from tnsim.common.scaled import Scaled
from tnsim.engine.costs import CostError
from tnsim.measure.laws.empirical import Empirical
from tnsim.measure.laws.gaussian import Gaussian
from tnsim.measure.pairings.measure import Measure, MeasureError
from tnsim.sampling.estimate import Estimate
from tnsim.sampling.forward import Forward
from tnsim.sampling.run import Ask, Asked, SampledRun, Store, fixed, fresh
from tnsim.sampling.sized import sized_on
from tnsim.sampling.sources import Source, plain_source, source_of

__all__ = ["Models", "Options", "answered", "check_error", "exactly", "sized"]

Array = Any

_TRIED = 4  # draws on which outputs are brought to size: vocabularies make them large
_FAR = 16.0  # a power of two from which on laws are taken in units of their size
_LED = 8  # models whose norms lead the draws; others are watched


def check_error(error: Any, method: Method) -> None:
    """Refuse what is no error, or asked of an approximation.

    Raises:
        ValueError: for what is not a positive number, and layer by layer.
    """
    if not isinstance(error, int | float) or isinstance(error, bool) or not (error > 0 and isfinite(error)):
        raise ValueError(f"error is {error!r}; write the standard error that will do, such as error=0.01.")
    if method == "layerwise":
        raise ValueError(
            'error= asks for the exact value to within an error; that of method="layerwise" is not known. Leave one out.'
        )


def exactly(question: Callable[[], Any], under: Measure | None) -> Any:
    """The exact answer where its price is within the budget; ``None`` where draws have to do."""
    if isinstance(under, Empirical) and under.replicates is not None:
        return None
    try:
        with torch.no_grad():
            return question()
    except CostError:
        if isinstance(under, Empirical):
            raise
        return None


class Models:
    """Networks in units in which their outputs are in range, and the law that they are asked under.

    Args:
        nets: networks that read the same input.
        under: its law.
        output: which output is asked for.
        seed: of the draws.
        narrow: whether only inner products of outputs matter.
        apart: whether the difference of the first two matters: they are then in the same units.

    Attributes:
        forward: the networks.
        exponents: of the powers of two in front of them.
        unit: x = unit · z for the z that they read.
    """

    def __init__(
        self,
        nets: Sequence[Network],
        under: Measure | None,
        output: Any = None,
        seed: int = 0,
        narrow: bool = False,
        apart: bool = False,
    ):
        self.given = Gaussian() if under is None else under
        whole = law_for(nets, self.given)
        small, units = whole.normalised()
        size = float(units[0]) if units else 0.0
        self.law = small if abs(size) > _FAR else whole
        self.unit: float = 2.0**size if abs(size) > _FAR else 1.0
        self.seed, self.apart = seed, apart
        chosen = _chosen(nets, output)
        x = self._some(chosen[0])
        made = {id(net): sized_on(net, x, log2(self.unit)) for net in chosen}
        ready = tuple(made[id(net)][0] for net in chosen)
        self.exponents = [made[id(net)][1] for net in chosen]
        if apart:
            top = max(self.exponents)
            ready = _same(ready, [2.0 ** (e - top) for e in self.exponents])
            self.exponents = [top] * len(ready)
        self.forward = Forward(ready, narrow)

    def _some(self, net: Network) -> torch.Tensor:
        """A few inputs as networks read them."""
        if isinstance(self.given, Empirical):
            some = range(min(_TRIED, len(self.given.x)))
            x, _ = self._in_units(self.given).picked(list(some), net.domain, net.polys[0].like)
            return x
        source = plain_source(self.given, net.domain, net.polys[0].like, (self.seed, 0))
        x, _ = source.draw(0, 1, 0)
        return x[:_TRIED] if is_ids(x) else x[:_TRIED] / self.unit

    @property
    def nets(self) -> tuple[Network, ...]:
        """The networks."""
        return self.forward.nets

    def source(self, memory: float) -> Source:
        """Draws that suit the models."""
        if isinstance(self.given, Empirical):
            raise MeasureError("Empirical(x) is made of draws; pass it as it is, under=law.")
        distinct = list({id(net): net for net in self.nets}.values())
        some = distinct[:: -(-len(distinct) // _LED)]
        lead = Forward(tuple(some), self.forward.narrow)
        apart = self.apart and len(some) > 1

        def norms(x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                parts = x.split(lead.at_once(x[:1], memory))
                return torch.cat([lead.norms(lead(part), apart) for part in parts])

        return source_of(self.given, self.law, some, norms, (self.seed,))

    def run(self, asked: Asked, store: Store | None = None, source: Source | None = None) -> SampledRun:
        """Ask. Draws that are there are used as they are."""
        if isinstance(self.given, Empirical):
            return fixed(self._in_units(self.given), self.forward, asked, self.apart)
        source = self.source(asked.memory) if source is None else source
        return fresh(source, self.forward, asked, self.apart, store)

    def _in_units(self, law: Empirical) -> Empirical:
        """Draws as the networks read them."""
        return law if is_ids(law.x) else replace(law, x=law.x / self.unit)


def _chosen(nets: Sequence[Network], output: Any) -> tuple[Network, ...]:
    """The networks with one output, or a slice of them; equal ones stay the same object."""
    made = {}
    for net in nets:
        if id(net) not in made:
            *first, (name, last) = net.layers
            made[id(net)] = net if output is None else Network((*first, (name, last[output])), net.in_shape)
    return tuple(made[id(net)] for net in nets)


def _same(nets: Sequence[Network], gains: Sequence[float]) -> tuple[Network, ...]:
    made = {}
    for net, gain in zip(nets, gains, strict=True):
        if id(net) not in made:
            *first, (name, last) = net.layers
            made[id(net)] = net if gain == 1.0 else Network((*first, (name, last * gain)), net.in_shape)
    return tuple(made[id(net)] for net in nets)


@dataclass(frozen=True)
class Options:
    """How a question is to be answered.

    Attributes:
        under: the law of the input.
        output: which output.
        error: the standard error that will do.
        seed: of the draws.
        budget: flops that may be spent.
        memory: bytes that may be held.
        progress: whether to show a bar.
    """

    under: Measure | None
    output: Any
    error: float
    seed: int
    budget: float
    memory: float
    progress: bool = True

    @property
    def fresh(self) -> bool:
        """Whether draws have to be made."""
        return not isinstance(self.under, Empirical)

    @property
    def named(self) -> dict[str, Any]:
        """Those of the exact question."""
        output = {} if self.output is None else {"output": self.output}
        limits = {"budget": self.budget, "memory": self.memory, "progress": self.progress}
        return {"under": self.under, **output, **limits}

    def asked(self, what: str, sums: Ask, of: Of, unit: Of) -> Asked:
        """A question with these options."""
        return Asked(what, sums, of, unit, self.error, self.budget, self.memory, self.progress)


def answered(
    question: Callable[..., Any], nets: Sequence[Network], method: Method, options: Options, asked: Statistic
) -> Estimate:
    """A question about two models with ``error=``: exact where the price is within the budget, else from draws.

    Args:
        question: the public function.
        nets: its models.
        method: must be exact.
        options: how.
        asked: the same question to draws.
    """
    check_error(options.error, method)
    if any(net.models for net in nets):
        raise ValueError(
            "error= is for single models; pick them from the stack with net.pick(i), or ask tnsim.gram."
        )
    found = exactly(partial(question, *nets, **options.named), options.under)
    if found is not None:
        return Estimate.exact(found)
    models = Models(nets, options.under, options.output, options.seed, asked.narrow)
    run = models.run(options.asked(*asked.asked))
    return sized(run.estimate(asked.of), asked.size * sum(models.exponents), asked.name)


def sized(found: Estimate, exponent: float, what: str) -> Estimate:
    """An estimate times a power of two."""
    if not exponent:
        return found
    value, error = (Scaled(x, x.new_tensor(exponent)) for x in (found.value, found.error))
    return replace(found, value=value.value(what), error=error.value(f"the error of {what}"))
