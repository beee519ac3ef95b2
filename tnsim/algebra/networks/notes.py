"""Notes: what is not exact in networks, by name."""

from collections.abc import Iterable

from tnsim.algebra.networks.network import Network

__all__ = ["noted"]


def noted(nets: Iterable[Network]) -> tuple[str, ...]:
    """What is not exact in any of several networks, each note once."""
    return tuple(dict.fromkeys(note for net in nets for note in net.notes))
