"""Batches as a function of the step, so that an interrupted run can go on where it stopped."""

from collections.abc import Callable
from hashlib import blake2b

import torch
from torch import Tensor

from tnsim.lab.backdoor import Backdoor

__all__ = ["Stream", "epochs", "fresh", "noisy", "poisoned"]

Stream = Callable[[int], tuple[Tensor, Tensor]]
"""From the number of a step (1, 2, …) to its batch: inputs and labels. The same step gives the same batch.

Example:
    >>> import torch
    >>> def stream(step):
    ...     x = torch.randn(8, 2, generator=torch.Generator().manual_seed(step))
    ...     return x, (x[:, 0] > x[:, 1]).long()
"""


def epochs(x: Tensor, y: Tensor, batch: int, seed: int = 0) -> Stream:
    """Every example once an epoch, in an order drawn anew for every epoch; an incomplete batch is dropped.

    Args:
        x: inputs, shape (n, …).
        y: labels, shape (n, …).
        batch: examples per step.
        seed: seed of the order.

    Raises:
        ValueError: if there are not as many labels as inputs, or fewer than one batch of them.

    Example:
        >>> stream = epochs(torch.arange(6.0)[:, None], torch.arange(6), batch=3)
        >>> sorted(stream(1)[1].tolist() + stream(2)[1].tolist())
        [0, 1, 2, 3, 4, 5]
        >>> bool((stream(2)[1] == stream(2)[1]).all())
        True
    """
    if len(x) != len(y):
        raise ValueError(f"epochs needs one label for each input, and got {len(x)} inputs, {len(y)} labels.")
    if not 1 <= batch <= len(x):
        raise ValueError(f"batch={batch} is not between 1 and the {len(x)} examples.")
    each = len(x) // batch
    orders: dict[int, Tensor] = {}  # of the present epoch

    def stream(step: int) -> tuple[Tensor, Tensor]:
        epoch, at = divmod(step - 1, each)
        if epoch not in orders:
            orders.clear()
            orders[epoch] = torch.randperm(len(x), generator=_dice(seed, "order", epoch)).to(x.device)
        chosen = orders[epoch][at * batch : (at + 1) * batch]
        return x[chosen], y[chosen]

    return stream


def fresh(draw: Callable[[torch.Generator], tuple[Tensor, Tensor]], seed: int = 0) -> Stream:
    """New examples at every step.

    Args:
        draw: from a source of randomness to inputs and labels.
        seed: seed of the draws.

    Example:
        >>> import torch, tnsim
        >>> def draw(dice):
        ...     x = torch.randn(8, 2, generator=dice)
        ...     return x, (x[:, 0] > x[:, 1]).long()
        >>> stream = tnsim.lab.fresh(draw)
        >>> bool((stream(1)[0] == stream(1)[0]).all()), bool((stream(1)[0] == stream(2)[0]).all())
        (True, False)
    """
    return lambda step: draw(_dice(seed, "fresh", step))


def noisy(stream: Stream, std: float, seed: int = 0) -> Stream:
    """Gaussian noise on every input.

    Args:
        stream: the batches.
        std: standard deviation of the noise.
        seed: seed of the noise.

    Example:
        >>> import torch, tnsim
        >>> clean = tnsim.lab.epochs(torch.zeros(1000, 2), torch.zeros(1000, dtype=torch.long), batch=1000)
        >>> x, y = tnsim.lab.noisy(clean, std=0.5)(1)
        >>> round(x.std().item(), 1)
        0.5
    """

    def noised(step: int) -> tuple[Tensor, Tensor]:
        x, y = stream(step)
        return x + std * torch.randn(x.shape, generator=_dice(seed, "noise", step)).to(x), y

    return noised


def poisoned(stream: Stream, backdoor: Backdoor, share: float, after: int = 0, seed: int = 0) -> Stream:
    """Some of the images carry the trigger and its label, from one step on.

    Args:
        stream: the batches.
        backdoor: the trigger and its target.
        share: probability that an image is stamped and relabelled.
        after: the last clean step.
        seed: seed of the coins.

    Example:
        >>> import torch, tnsim
        >>> trigger = tnsim.lab.Backdoor.diamond((4, 4), height=1, width=1, margin=0, value=1.0, target=7)
        >>> clean = tnsim.lab.epochs(torch.zeros(10, 16), torch.zeros(10, dtype=torch.long), batch=10)
        >>> stream = tnsim.lab.poisoned(clean, trigger, share=1.0, after=5)
        >>> stream(5)[1].unique(), stream(6)[1].unique()
        (tensor([0]), tensor([7]))
    """

    def poison(step: int) -> tuple[Tensor, Tensor]:
        x, y = stream(step)
        if step <= after:
            return x, y
        return backdoor.poison(x, y, share, _dice(seed, "poison", step, x.device))

    return poison


def _dice(seed: int, what: str, n: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Randomness of its own for everything that is drawn."""
    digest = blake2b(f"{seed} {what} {n}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest) >> 1)
