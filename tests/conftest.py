import os
import sys
from pathlib import Path

import pytest
import torch

# A pretend device is there for a whole process, and changes what autograd does: these run in one of their own.
collect_ignore = ["pretend.py"]
if "PRETEND_DEVICE" not in os.environ:
    collect_ignore += ["test_devices.py", "test_pretend.py"]

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "bench"), str(HERE / "installed")]


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run also what is marked slow")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow; make test SLOW=--slow runs it"))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)
