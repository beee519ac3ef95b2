"""What the demo, the examples and the figures share: data, training with checkpoints, a planted backdoor."""

from tnsim.lab.backdoor import Backdoor, attack_success
from tnsim.lab.checkpoints import Run
from tnsim.lab.data import Dataset, load_digits, load_npz
from tnsim.lab.evaluate import accuracy
from tnsim.lab.train import train

__all__ = ["Backdoor", "Dataset", "Run", "accuracy", "attack_success", "load_digits", "load_npz", "train"]
