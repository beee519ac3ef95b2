"""Run: draws until the error is as small as asked for, or a refusal that says why not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm

from tnsim.measure.laws.empirical import Empirical
from tnsim.sampling.estimate import Estimate, SamplingError
from tnsim.sampling.forward import Forward
from tnsim.sampling.jackknife import Replicates, jackknifed
from tnsim.sampling.sources import GivenSource, Source

__all__ = ["Ask", "Asked", "Means", "SampledRun", "Seen", "Store", "fixed", "fresh"]

Ask = Callable[[torch.Tensor, torch.Tensor, Sequence[torch.Tensor]], Sequence[torch.Tensor]]
Means = Sequence[torch.Tensor]

_FIRST = 4  # units of every replicate in the first round
_SHARE = 0.02  # of a norm that one draw may hold
_OUTLIER = 8.0  # times the usual distance of a replicate from the middle
_STUCK = 0.6  # of what the largest share was two rounds ago: it should be a quarter
_SOME = 2**16  # draws after which others are fitted to what these have found, if that does not shrink
_LONG = 2**19  # draws after which it is given up
_REFITS = 3


@dataclass(frozen=True, eq=False)
class Seen:
    """What draws showed of the norms of models, added up.

    Attributes:
        sums: shape ``(k,)``: Σ w q.
        squares: Σ (w q)².
        largest: max w q.
        count: how many draws.
    """

    sums: torch.Tensor
    squares: torch.Tensor
    largest: torch.Tensor
    count: int

    @classmethod
    def of(cls, weights: torch.Tensor, norms: torch.Tensor) -> "Seen":
        """Of some draws."""
        x = (weights[:, None] * norms).cpu().double()
        return cls(x.sum(0), x.square().sum(0), x.amax(0), len(x))

    def __add__(self, other: "Seen") -> "Seen":
        most = torch.maximum(self.largest, other.largest)
        return Seen(self.sums + other.sums, self.squares + other.squares, most, self.count + other.count)

    @property
    def share(self) -> float:
        """The largest share of one draw in a norm."""
        some = self.sums > 0
        return float((self.largest[some] / self.sums[some]).max()) if bool(some.any()) else 0.0

    @property
    def effective(self) -> float:
        """Equal draws that tell the norms as well, of the norm for which they are fewest."""
        some = self.sums > 0
        return float((self.sums[some].square() / self.squares[some]).min()) if bool(some.any()) else 0.0


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of draws.

    Attributes:
        what: its name, for messages.
        sums: x, weights and the outputs of all models on them to what is added up, linear in the weights.
        of: averages to a tensor: whose error is asked for.
        unit: averages to the number that the error is a share of.
        error: the error asked for.
        budget: flops that may be spent.
        memory: bytes that may be held.
        progress: whether to show a bar.
    """

    what: str
    sums: Ask
    of: Callable[[Means], torch.Tensor]
    unit: Callable[[Means], Any]
    error: float
    budget: float
    memory: float
    progress: bool = False


@dataclass(frozen=True, eq=False)
class SampledRun:
    """The result: averages over draws, and what was seen on the way.

    Attributes:
        parts: sums of all replicates.
        seen: of the norms of all models.
    """

    parts: Replicates
    seen: Seen

    def estimate(self, of: Callable[[Means], torch.Tensor]) -> Estimate:
        """A function of the averages, with its error."""
        value, error = jackknifed(self.parts, of)
        return Estimate(value, error, "sampled", self.seen.count, self.seen.effective, self.seen.share)


class Store:
    """Keeps finished rounds; this one keeps nothing."""

    def get(self, number: int) -> tuple[Replicates, Seen] | None:
        """A round that was kept."""
        return None

    def put(self, number: int, parts: Replicates, seen: Seen) -> None:
        """Keep a round."""


def fresh(
    source: Source, forward: Forward, asked: Asked, apart: bool, store: Store | None = None
) -> SampledRun:
    """Draw, twice as much every time, until the error is reached and no draw holds too much.

    Where one goes on doing so, draws start again, now fitted to what the old ones have found there.

    Args:
        source: of draws.
        forward: the models.
        asked: the question.
        apart: whether the norm of the difference of the first two models counts as well.
        store: keeps finished rounds.

    Raises:
        SamplingError: if the error cannot be reached within the budget, one draw holds too much of a norm whatever is
            done, or replicates disagree beyond their spread.
        ValueError: if the answer is not a number.
    """
    store = Store() if store is None else store
    sample, _ = source.draw(0, 1, 0)
    effort, _ = forward.price(sample)
    done: SampledRun | None = None
    least = effort * source.unit * source.replicates
    step = 1 if least <= asked.budget < _FIRST * least else _FIRST
    start, number, refits, before = 0, 0, 0, 0
    shares: list[float] = []
    with tqdm(desc="drawing", unit=" draws", delay=2, leave=False, disable=not asked.progress) as bar:
        while True:
            kept = store.get(number)
            if kept is None:
                kept = _round(source, forward, asked, apart, start, start + step, bar.update)
                store.put(number, *kept)
            done = (
                SampledRun(*kept) if done is None else SampledRun(done.parts + kept[0], done.seen + kept[1])
            )
            start, step, number = start + step, start + step, number + 1
            worst = _worst(done, asked)
            if worst == float("inf") and not bool(torch.isfinite(done.seen.sums).all()):
                raise SamplingError(
                    f"{asked.what}: on some of {done.seen.count:,} draws the models are larger than numbers can be: their "
                    f"tails are too heavy for an error that could be trusted. {_INSTEAD}"
                )
            if worst == float("inf"):
                raise ValueError(
                    f"{asked.what} is not defined: a model is zero, or constant, on all draws of the law."
                )
            shares.append(done.seen.share)
            odd = _disagreement(done, asked)
            if worst <= asked.error and shares[-1] <= _SHARE and odd <= _OUTLIER:
                return done
            needed = done.seen.count * max(
                (worst / asked.error) ** 2, shares[-1] / _SHARE if worst <= asked.error else 1.0, 1.0
            )
            heavy = len(shares) > 3 and shares[-1] > max(_SHARE, _STUCK * shares[-3])
            left = asked.budget / effort - before - done.seen.count  # in draws
            if heavy and done.seen.count >= _SOME and refits < _REFITS and left > done.seen.count:
                again, refits = source.refitted(start), refits + 1
                if again is not source:
                    source, before = again, before + done.seen.count
                    done, start, step, shares = None, 0, _FIRST, []
                    continue
            stuck = heavy and done.seen.count >= _LONG
            beyond = max(needed - done.seen.count, done.seen.count) > left
            if stuck or beyond:
                _refuse(done, asked, worst, needed, effort, odd)


def fixed(law: Empirical, forward: Forward, asked: Asked, apart: bool) -> SampledRun:
    """The same from draws that are there: those of a law with replicates.

    Raises:
        SamplingError: if they do not do.
    """
    source = GivenSource(law, forward.nets[0])
    kept = _round(source, forward, asked, apart, 0, 1, lambda n: None)
    done = SampledRun(*kept)
    worst = _worst(done, asked)
    if not (worst <= asked.error and done.seen.share <= _SHARE and _disagreement(done, asked) <= _OUTLIER):
        raise SamplingError(
            f"{asked.what} from {done.seen.count:,} draws has an error of {worst:.2g}, {asked.error:.2g} was asked for; "
            f"one draw holds {done.seen.share:.1%} of a norm. Ask for more draws: tnsim.draws(law, models, error=...)."
        )
    return done


def _round(
    source: Source,
    forward: Forward,
    asked: Asked,
    apart: bool,
    start: int,
    stop: int,
    tell: Callable[[int], Any],
) -> tuple[Replicates, Seen]:
    """Units number ``start`` to ``stop`` of all replicates."""
    rows: list[list[torch.Tensor]] = []
    totals: list[torch.Tensor] = []
    seen: Seen | None = None
    chunk = 0
    with torch.no_grad():
        for r in range(source.replicates):
            sums: list[torch.Tensor] | None = None
            total = 0.0
            for x, weights in source.batches(start, stop, r, asked.memory / 8):
                chunk = chunk or forward.at_once(x, asked.memory)
                for some, w in zip(x.split(chunk), weights.split(chunk), strict=True):
                    values = forward(some)
                    more = asked.sums(some, w, values)
                    sums = [*more] if sums is None else [a + b for a, b in zip(sums, more, strict=True)]
                    total += float(w.sum())
                    now = Seen.of(w, forward.norms(values, apart))
                    seen = now if seen is None else seen + now
                    tell(len(some))
            assert sums is not None
            rows.append(sums)
            totals.append(torch.tensor(total, dtype=torch.float64, device="cpu"))
    assert seen is not None
    return Replicates(tuple(torch.stack(x) for x in zip(*rows, strict=True)), torch.stack(totals)), seen


def _worst(done: SampledRun, asked: Asked) -> float:
    """The largest error, in its unit."""
    _, error = jackknifed(done.parts, asked.of)
    if not bool(torch.isfinite(error).all()):
        return float("inf")
    unit = float(asked.unit(done.parts.means()))
    return float(error.max()) / unit if unit > 0 else 0.0


def _disagreement(done: SampledRun, asked: Asked) -> float:
    """How many times as far one replicate is from the middle as these usually are; 0 where it does not matter.

    It does where the answer without the replicate is another one, as far as the error that was asked for can tell.
    """
    values = torch.stack(
        [asked.of(done.parts.without(r)).flatten().double().cpu() for r in range(len(done.parts))]
    )
    away = (values - values.median(0).values).abs()
    usual = 1.4826 * away.median(0).values
    matters = away.amax(0) > asked.error * float(asked.unit(done.parts.means()))
    if not bool(matters.any()):
        return 0.0
    return float((away.amax(0)[matters] / usual[matters].clamp_min(1e-300)).max())


_INSTEAD = (
    'Ask under a law with lighter tails, or layer by layer (method="layerwise"), or of fewer layers, net[:k].'
)


def _refuse(done: SampledRun, asked: Asked, error: float, needed: float, effort: float, odd: float) -> None:
    count, share = done.seen.count, done.seen.share
    saw = f"{asked.what}: after {count:,} draws the error is {error:.2g} ({asked.error:.2g} was asked for)"
    if share > _SHARE:
        raise SamplingError(
            f"{saw}, and one draw holds {share:.1%} of a norm (effective draws: {done.seen.effective:.0f}): the tails "
            f"of these models are too heavy for an error that could be trusted. {_INSTEAD}"
        )
    if odd > _OUTLIER:
        raise SamplingError(
            f"{saw}, and replicates disagree: one is {odd:.0f} times as far from the others as these are from each "
            f"other, so the error is not known. {_INSTEAD}"
        )
    raise SamplingError(
        f"{saw}; it would take about {needed:.1e} draws, {needed * effort:.1e} flops, and the budget is "
        f"{asked.budget:.1e}. Raise budget=, or ask for a larger error."
    )
