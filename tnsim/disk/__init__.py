"""What lies on disk: checkpoints of other people's training, read without running any code of theirs; and networks."""

from tnsim.disk.loading import load, read_state
from tnsim.disk.networks import NetworkFileError, load_network, save
from tnsim.disk.series import Checkpoints, checkpoints

__all__ = ["Checkpoints", "NetworkFileError", "checkpoints", "load", "load_network", "read_state", "save"]
