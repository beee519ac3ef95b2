"""Points that fill a cube evenly, in independent replicates."""

import math

import numpy as np
import torch
from torch.quasirandom import SobolEngine

from tnsim.common.caches import cached

__all__ = ["generator", "normal", "uniform"]

_BITS = 30  # of a point of torch's engine
_MOST = 1024  # coordinates that are filled evenly; others are drawn at random


def uniform(start: int, stop: int, size: int, key: tuple[int, ...], replicate: int) -> torch.Tensor:
    """Points number ``start`` to ``stop`` of one replicate of a Sobol sequence, each coordinate in (0, 1).

    The sequence is scrambled once for a key. A replicate shifts it digit by digit by a random number, so that every point
    of it is uniform, and replicates are independent.

    Args:
        start: the first point; further points of the same sequence go on where it ended.
        stop: the one behind the last.
        size: coordinates of a point. From the 1025th on they are drawn at random.
        key: of the sequence: other keys give independent ones.
        replicate: its number.

    Returns:
        Shape ``(stop − start, size)``, float64 on the CPU.

    References:
        Owen, Randomly permuted (t,m,s)-nets and (t,s)-sequences (1995); L'Ecuyer and Lemieux, Recent advances in
        randomized quasi-Monte Carlo methods (2002).
    """
    even = min(size, _MOST)
    first = generator(*key, replicate)
    shift = torch.randint(2**_BITS, (even,), generator=first, device="cpu")
    digits = _digits(start, stop, even, key) ^ shift
    later = generator(*key, replicate, start)
    inside = torch.rand(stop - start, size, dtype=torch.float64, generator=later, device="cpu")
    inside[:, :even] = (inside[:, :even] + digits) / 2**_BITS
    return inside


def normal(start: int, stop: int, size: int, key: tuple[int, ...], replicate: int) -> torch.Tensor:
    """The same points as standard normal ones."""
    u = uniform(start, stop, size, key, replicate)
    return torch.erfinv((2 * u - 1).clamp(-1 + 1e-15, 1 - 1e-15)) * math.sqrt(2)


def generator(*key: int) -> torch.Generator:
    """A generator of its own for every key, on the CPU whatever the default device is."""
    seed = np.random.SeedSequence([k % 2**64 for k in key]).generate_state(1, np.uint64)[0]
    return torch.Generator("cpu").manual_seed(int(seed >> np.uint64(1)))


@cached(64)
def _digits(start: int, stop: int, size: int, key: tuple[int, ...]) -> torch.Tensor:
    """The points as whole numbers; replicates share them."""
    engine = SobolEngine(size, scramble=True, seed=int(generator(*key).initial_seed() % 2**31))
    engine.fast_forward(start)
    return (engine.draw(stop - start, dtype=torch.float64) * 2**_BITS).long().clamp_(0, 2**_BITS - 1)
