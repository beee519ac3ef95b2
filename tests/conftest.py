import sys
from pathlib import Path

import pytest
import torch

collect_ignore = ["pretend.py"]  # a device can be set up once in a process; test_devices does it

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "bench")]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)
