"""What lies on disk: checkpoints that other people's training wrote, read without running any code of theirs."""

from tnsim.disk.loading import load, read_state
from tnsim.disk.series import Checkpoints, checkpoints

__all__ = ["Checkpoints", "checkpoints", "load", "read_state"]
