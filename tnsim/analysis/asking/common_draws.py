"""Draws: samples that stand for a law in what models are asked."""

from collections.abc import Sequence
from typing import Any

import torch

from tnsim.algebra.networks.onehot_ids import is_ids
from tnsim.analysis.asking.problem import BUDGET, MEMORY, Model, together
from tnsim.analysis.asking.questions import questioning
from tnsim.analysis.asking.sampled import Models, Options, check_error
from tnsim.analysis.asking.statistics import gram_of
from tnsim.common.border import whole
from tnsim.measure.laws.empirical import Empirical
from tnsim.measure.laws.under import law as law_meant
from tnsim.measure.pairings.measure import Measure

__all__ = ["draws"]

Array = Any


@questioning(law=law_meant, n=whole(1))
def draws(
    law: Measure | None,
    models: Sequence[Model],
    *,
    n: int | None = None,
    error: float | None = None,
    seed: int = 0,
    budget: float = BUDGET,
    memory: float = MEMORY,
    progress: bool = True,
) -> Empirical:
    """Samples with weights that stand for a law, in every question about these models.

    Of a polynomial model a norm ``E[|f|²]`` comes from far out in the tails of the law, where plain samples seldom fall.
    These fall there: half of them follow the law, the others Gaussians that were fitted to where the norms come from, and
    weights p/m make up for it. They come in 32 independent replicates of a scrambled Sobol sequence; how far these are
    apart is the error that ``error=`` of a question tells, where the draws are its law. Sequences of tokens are drawn from
    their law as they are.

    Args:
        law: a Gaussian, tokens, a Markov chain, or a mixture of such; ``None`` is the standard normal.
        models: torch modules or Networks that read the same input, one or more.
        n: how many draws; rounded up to whole replicates.
        error: instead of ``n``: as many as it takes for this standard error of all similarities of the models.
        seed: of the draws. They are the same on every device.
        budget: flops that may be spent, with ``error``.
        memory: bytes that the evaluation of models may take. All draws are held at once.
        progress: show a bar if it takes more than two seconds.

    Returns:
        A law with ``x``, ``weights`` and ``replicates``.

    Raises:
        SamplingError: with ``error``: if it cannot be had, or not be trusted.
        MeasureError: for a law that nothing can be drawn from.
        ValueError: if models do not fit together, or not one of ``n`` and ``error`` is given.

    References:
        Owen and Zhou, Safe and effective importance sampling (2000), for the half that follows the law.

    Example:
        >>> import tnsim
        >>> a, b = tnsim.nn.BilinearLayer(4, 8, 3), tnsim.nn.BilinearLayer(4, 8, 3)
        >>> law = draws(tnsim.Gaussian(), [a, b], n=2000, progress=False)
        >>> law
        Empirical((2048, 4), weighted, 32 replicates)
        >>> sampled = tnsim.similarity(a, b, under=law, error=0.2)
        >>> bool(abs(sampled - tnsim.similarity(a, b)) < 4 * sampled.error)
        True
    """
    nets = together(list(models), [f"model {i}" for i in range(len(models))])
    if (n is None) == (error is None):
        raise ValueError(
            "write n=, how many draws, or error=, how small an error of the similarities they are for."
        )
    several = Models(nets, law, seed=seed)
    source = several.source(memory)
    if error is not None:
        check_error(error, "exact")
        options = Options(law, None, error, seed, budget, memory, progress)
        n = several.run(options.asked(*gram_of(False).asked), source=source).seen.count
    assert n is not None
    units = -(-n // (source.replicates * source.unit))
    parts = [source.draw(0, units, r) for r in range(source.replicates)]
    x = torch.cat([x for x, _ in parts])
    labels = torch.arange(source.replicates, device=x.device).repeat_interleave(units * source.unit)
    if not is_ids(x):
        x = several.unit * x.reshape(-1, *nets[0].in_shape)
    return Empirical(x, torch.cat([w for _, w in parts]), labels)
