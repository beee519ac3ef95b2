"""Lend torch to another environment: ``python tests/installed/lending.py PYTHON`` links to that of this one.

It is the pinned one in every environment, and the largest part of each.
"""

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

__all__ = ["lend"]

SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


def lend(python):
    """Have another Python of this version find the torch of this one; pip sees it as installed there."""
    site = Path(
        subprocess.run([python, "-c", SITE], capture_output=True, text=True, check=True).stdout.strip()
    )
    found = distribution("torch")
    for name in {path.parts[0] for path in found.files or ()} - {"..", "__pycache__"}:
        (site / name).symlink_to(Path(found.locate_file(name)).resolve())


if __name__ == "__main__":
    lend(sys.argv[1])
