"""Specimens: inputs that follow a law."""

import torch
from torch import Tensor

from tnsim.algebra.networks.onehot_ids import is_ids, one_hot
from tnsim.algebra.polys.poly import Axes
from tnsim.measure import Empirical, Measure
from tnsim.sampling.sources import plain_source

__all__ = ["specimens"]


def specimens(law: Measure, domain: Axes, n: int, seed: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs that follow a law.

    Args:
        law: a law of inputs. Of samples (``Empirical``) all are taken, with their weights.
        domain: the axes of one input.
        n: how many, or somewhat more.
        seed: of the draws.
        like: a tensor of the dtype and device to use.

    Returns:
        Inputs of shape ``(n, *sizes of the axes)``, and weights of shape ``(n,)`` that add up to one.

    Raises:
        MeasureError: if the law is none that inputs can be drawn from, or does not fit the domain.
    """
    if isinstance(law, Empirical):
        bound = law.bound(domain, like)
        x, weights = bound.samples[0].data, bound.weights
        weights = torch.ones_like(x.flatten(1)[:, 0]) if weights is None else weights
    else:
        source = plain_source(law, domain, like, (seed,))
        x, weights = source.draw(0, -(-n // source.unit), 0)
        x = one_hot(x, domain[0][1], domain[1][1], like) if is_ids(x) else x
    return x, weights / weights.sum()
