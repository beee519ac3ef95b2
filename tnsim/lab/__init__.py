"""What the demo, the examples and the figures share: data, training with checkpoints, a planted backdoor."""

from tnsim.lab.backdoor import Backdoor, attack_success
from tnsim.lab.checkpoints import Run
from tnsim.lab.data import Dataset, load_digits, load_npz
from tnsim.lab.evaluate import accuracy, logits
from tnsim.lab.fit import Stage, cosine, fit, threads
from tnsim.lab.streams import Stream, epochs, fresh, noisy, poisoned
from tnsim.lab.train import train

__all__ = [
    "Backdoor",
    "Dataset",
    "Run",
    "Stage",
    "Stream",
    "accuracy",
    "attack_success",
    "cosine",
    "epochs",
    "fit",
    "fresh",
    "load_digits",
    "load_npz",
    "logits",
    "noisy",
    "poisoned",
    "threads",
    "train",
]
