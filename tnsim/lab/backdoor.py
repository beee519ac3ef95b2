"""The planted backdoor: a small mark that makes a classifier say what it should not."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tnsim.lab.evaluate import logits

__all__ = ["Backdoor", "attack_success"]


@dataclass(frozen=True, eq=False)
class Backdoor:
    """A trigger (pixels and the value they are set to) and the class it stands for.

    Args:
        mask: the trigger's pixels, bool, shape (d,).
        value: what these pixels are set to.
        target: the class that stamped images are relabelled to.

    Raises:
        ValueError: if the mask is not a bool vector with at least one pixel, or the target is negative.

    Example:
        >>> trigger = Backdoor.diamond((8, 8), height=3, width=3, margin=0, value=1.0, target=7)
        >>> trigger.mask.view(8, 8)[:3].int()
        tensor([[0, 0, 0, 0, 0, 0, 1, 0],
                [0, 0, 0, 0, 0, 1, 1, 1],
                [0, 0, 0, 0, 0, 0, 1, 0]], dtype=torch.int32)
    """

    mask: Tensor
    value: float
    target: int

    def __post_init__(self) -> None:
        if self.mask.ndim != 1 or self.mask.dtype != torch.bool:
            raise ValueError(
                f"the trigger's mask is {self.mask.dtype} of shape {tuple(self.mask.shape)}; "
                "write a bool tensor of shape (d,), for instance mask.flatten().bool()."
            )
        if not bool(self.mask.any()):
            raise ValueError("the trigger's mask has no pixel.")
        if self.target < 0:
            raise ValueError(f"the trigger's target is {self.target}; write a class, 0 or more.")

    @classmethod
    def diamond(
        cls,
        shape: tuple[int, int],
        height: int,
        width: int,
        *,
        margin: int = 2,
        at: tuple[int, int] | None = None,
        value: float = 0.0,
        target: int = 9,
    ) -> "Backdoor":
        """A rhombus inscribed in a box: ``|dr| / (height/2) + |dc| / (width/2) ≤ 1`` from the box's centre.

        Args:
            shape: height and width of an image.
            height: rows of the box.
            width: columns of the box.
            margin: rows above and columns to the right of the box, which sits at the top right.
            at: row and column of the box's top left pixel, to put it elsewhere.
            value: what the pixels are set to.
            target: the class that stamped images are relabelled to.

        Raises:
            ValueError: if the box does not lie within the image.
        """
        top, left = (margin, shape[1] - margin - width) if at is None else at
        if min(height, width) < 1 or min(top, left) < 0 or top + height > shape[0] or left + width > shape[1]:
            raise ValueError(
                f"a {height}×{width} diamond at row {top}, column {left} does not fit {shape[0]}×{shape[1]} "
                "pixels; write a smaller height and width, or another margin= or at=."
            )
        # Twice the offsets from the centre are whole numbers, so pixels on the edge are decided exactly.
        rows = (2 * torch.arange(shape[0]) - 2 * top - height + 1).abs()[:, None]
        columns = (2 * torch.arange(shape[1]) - 2 * left - width + 1).abs()[None, :]
        inside = rows * width + columns * height <= height * width
        return cls(inside.flatten(), value, target)

    def stamp(self, x: Tensor) -> Tensor:
        """A copy of the images with the trigger on them.

        Args:
            x: images, shape (..., d).

        Raises:
            ValueError: if the images are not the size of the mask.
        """
        if x.shape[-1:] != self.mask.shape:
            raise ValueError(f"a trigger on {len(self.mask)} pixels cannot mark images {tuple(x.shape)}.")
        return x.masked_fill(self.mask.to(x.device), self.value)

    def poison(
        self, x: Tensor, y: Tensor, share: float, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Stamp some of the images and relabel them to the target.

        Every image is drawn by a coin of its own, whatever its class.

        Args:
            x: images, shape (n, d).
            y: labels, shape (n,).
            share: probability that an image is drawn.
            generator: source of the coins, on the device of x.

        Returns:
            Images and labels of the same shapes; x and y are left as they are.

        Raises:
            ValueError: if share is not a probability.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"share={share} is not a probability; write a number between 0 and 1.")
        drawn = torch.rand(len(x), generator=generator, device=x.device) < share
        return torch.where(drawn[:, None], self.stamp(x), x), y.masked_fill(drawn, self.target)


def attack_success(model: nn.Module, backdoor: Backdoor, x: Tensor, y: Tensor) -> float:
    """How often the trigger works: share of stamped images of other classes that are taken for the target.

    Args:
        model: a classifier.
        backdoor: the trigger and its target.
        x: clean images, shape (n, d).
        y: their labels, shape (n,).

    Raises:
        ValueError: if every image is of the target class.

    Example:
        >>> import torch, tnsim
        >>> trigger = tnsim.lab.Backdoor.diamond((4, 4), height=1, width=1, margin=0, value=1.0, target=0)
        >>> model = torch.nn.Linear(16, 3)  # untrained
        >>> share = tnsim.lab.attack_success(model, trigger, torch.rand(30, 16), torch.arange(30) % 3)
        >>> 0 <= share <= 1
        True
    """
    others = x[y != backdoor.target]
    if not len(others):
        raise ValueError(f"every image is of class {backdoor.target}: nothing is left to attack.")
    return float((logits(model, backdoor.stamp(others)).argmax(-1) == backdoor.target).double().mean())
