"""Changes from draws: splits of the squared distance of two models, and what changes most, with errors."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tnsim.algebra.networks.network import Network
from tnsim.analysis.asking.problem import Method
from tnsim.analysis.asking.sampled import Models, Options, check_error, exactly, sized
from tnsim.analysis.asking.statistics import Statistic
from tnsim.engine.constants import as_like
from tnsim.measure.laws.empirical import Empirical
from tnsim.sampling.estimate import Estimate
from tnsim.sampling.run import Means, SampledRun

__all__ = ["changed", "sampled_shares", "split_outputs"]

Array = Any


def sampled_shares(
    question: Callable[..., torch.Tensor],
    nets: Sequence[Network],
    method: Method,
    options: Options,
    outputs: bool,
) -> Estimate:
    """A split of ‖a − b‖² over parts, which is linear in the law: asked of the draws of every replicate.

    Args:
        question: networks and a law to the exact split.
        nets: the two.
        method: must be exact.
        options: how; the error is a share of ‖a − b‖².
        outputs: whether it is the split over outputs, which needs no derivative.
    """
    check_error(options.error, method)
    found = exactly(lambda: question(*nets, under=options.under, budget=options.budget), options.under)
    if found is not None:
        return Estimate.exact(found)
    models = Models(nets, options.under, options.output, options.seed, apart=True)
    power = 2 * models.exponents[0]
    if outputs:
        run = models.run(options.asked(*split_outputs().asked))
        return sized(run.estimate(lambda means: means[0]), power, "a squared distance")

    def sums(x: torch.Tensor, weights: torch.Tensor, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        law = Empirical(models.unit * x, weights)
        shares = torch.as_tensor(question(*nets, under=law, budget=float("inf"))).detach()
        a, b = values
        away = weights @ (a - b).reshape(len(x), -1).square().sum(1)
        return [weights.sum() * shares, 2.0**power * away]

    run = models.run(options.asked("this split", sums, lambda means: means[0], lambda means: means[1]))
    return run.estimate(lambda means: means[0])


def split_outputs() -> Statistic:
    """E[(a − b)²] of every output."""

    def sums(x: torch.Tensor, weights: torch.Tensor, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        a, b = values
        return [torch.tensordot(weights, (a - b).square(), 1)]

    return Statistic("this split", sums, lambda means: means[0], lambda means: means[0].sum(), narrow=False)


def changed(nets: Sequence[Network], options: Options, of: Callable[[Means], torch.Tensor]) -> SampledRun:
    """What every output moved by, and the derivatives of that by gains of the inputs, at gain 1; averages of both.

    Args:
        nets: two models.
        options: how.
        of: averages, of shape ``(outputs,)`` and ``(outputs, inputs)``, to what the error is of.
    """
    models = Models(nets, options.under, None, options.seed, apart=True)

    def sums(x: torch.Tensor, weights: torch.Tensor, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        with torch.enable_grad():
            free = as_like(x, models.nets[0].polys[0].like).detach().requires_grad_()
            a, b = (v.reshape(len(x), -1) for v in models.forward(free))
            moved = weights @ (a - b).square()
            rows = [torch.autograd.grad(one, free, retain_graph=True)[0] for one in moved]
        slopes = torch.stack([(row * x).reshape(len(x), -1).sum(0) for row in rows])
        return [moved.detach(), slopes]

    return models.run(options.asked("this change", sums, of, lambda means: 1.0))
