"""What can be tried without torch, in an empty folder with the Python of an environment: ``python basics.py``."""

import compileall
import importlib.metadata
from pathlib import Path

import numpy as np

import tnsim
from tnsim.algebra import poly


def installed():
    """It is the installed package, all of it, and this Python can read it."""
    folder = Path(tnsim.__file__).parent
    assert "site-packages" in folder.parts, f"{folder} is not what was installed"
    assert tnsim.__version__ == importlib.metadata.version("tnsim")
    assert (folder / "py.typed").is_file()
    assert compileall.compile_dir(folder, quiet=1), "files that this Python cannot read"


def arithmetic():
    """A layer written as its equation, in numpy."""
    rng = np.random.default_rng(0)
    d, left, right, x = (rng.standard_normal(shape) for shape in ((2, 3), (3, 5), (3, 5), 5))
    layer = poly("D[out,hid] L[hid,in0] R[hid,in1]", D=d, L=left, R=right)
    np.testing.assert_allclose(layer(x), d @ ((left @ x) * (right @ x)), rtol=1e-12)


if __name__ == "__main__":
    installed()
    arithmetic()
