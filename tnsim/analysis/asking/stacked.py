"""Stacked: models of equal wiring as one network with a run index."""

from collections.abc import Sequence

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.stacking import stack as joined
from tnsim.analysis.asking.given import Model, as_network
from tnsim.analysis.asking.questions import question

__all__ = ["stack"]


@question
def stack(networks: Sequence[Model]) -> Network:
    """Several models of equal wiring as one network, with a run index ``model:m`` on every weight.

    Args:
        networks: torch modules or Networks of the same layers, shapes and wiring.

    Raises:
        ComposeError: if the list is empty or the models are wired differently.

    Example:
        >>> import tnsim
        >>> run = [tnsim.nn.BilinearLayer(4, 8, 3) for _ in range(5)]
        >>> tnsim.stack(run).models
        5
    """
    if isinstance(networks, Network):
        return networks
    return joined([as_network(x, f"networks[{k}]") for k, x in enumerate(networks)])
