"""What a classifier answers."""

import torch
from torch import Tensor, nn

__all__ = ["accuracy", "logits"]


def logits(model: nn.Module, x: Tensor, batch: int = 4096) -> Tensor:
    """The model's outputs in evaluation mode, without gradients; the mode is put back afterwards.

    Args:
        model: a classifier.
        x: inputs, shape (n, d).
        batch: how many inputs are in flight at once.

    Returns:
        Shape (n, classes).

    Example:
        >>> import torch, tnsim
        >>> model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(6, 2))
        >>> answers = tnsim.lab.logits(model, torch.rand(5, 6))
        >>> answers.shape, answers.requires_grad, model.training
        (torch.Size([5, 2]), False, True)
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return torch.cat([model(part) for part in x.split(batch)])
    finally:
        model.train(training)


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of the inputs whose largest logit is at the label.

    Args:
        model: a classifier.
        x: inputs, shape (n, d).
        y: labels, shape (n,).

    Raises:
        ValueError: if there are no inputs, or not one label for each.

    Example:
        >>> import torch, tnsim
        >>> tnsim.lab.accuracy(torch.nn.Identity(), torch.eye(4), torch.tensor([0, 1, 2, 0]))
        0.75
    """
    if not len(x) or len(x) != len(y):
        raise ValueError(
            f"accuracy needs one label for each input, and got {len(x)} inputs, {len(y)} labels."
        )
    return float((logits(model, x).argmax(-1) == y).double().mean())
