import os
import sys
from pathlib import Path

import pytest
import torch

# A pretend device is there for a whole process, and changes what autograd does: these run in one of their own.
collect_ignore = ["pretend.py"]
if "PRETEND_DEVICE" not in os.environ:
    collect_ignore += ["test_devices.py", "test_pretend.py"]

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "bench")]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)
