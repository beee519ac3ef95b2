"""The difference of two models, as a model."""

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.subtraction import subtract
from tnsim.analysis.asking.problem import Model, comparable
from tnsim.analysis.asking.questions import question

__all__ = ["difference"]


@question
def difference(a: Model, b: Model) -> Network:
    """The network a − b: both models side by side, and a head that subtracts. Exact.

    Hidden states of the two are put one after the other, and every layer is the direct sum of their layers, in
    one term for each degree. So whatever can be asked of a model (its spectrum, its unfoldings, what it can be
    truncated to) can be asked of a difference. Its squared norm is the squared distance of a and b.

    A difference has the hidden units of both models: contractions take 2 to 16 times as long as those of one.

    Args:
        a: a torch module or a Network, possibly stacked.
        b: another with the same inputs and outputs; depths and widths may differ. A single model is subtracted
            from every model of a run.

    Returns:
        A network with ``net(x) == a(x) - b(x)``.

    Raises:
        ValueError: if inputs, outputs, dtypes or devices differ.
        ComposeError: if hidden states have more than one axis (then subtract ``a.collapse() - b.collapse()``).

    Example:
        >>> import torch, tnsim
        >>> a, b = (tnsim.convert(tnsim.nn.BilinearMLP(4, 3, 5, 2, n_layer=2)) for _ in range(2))
        >>> x = torch.randn(6, 4, dtype=torch.float64)
        >>> torch.allclose(tnsim.difference(a, b)(x), a(x) - b(x))
        True
    """
    return subtract(*comparable(a, b))
