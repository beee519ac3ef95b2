"""Pictures in a real Jupyter kernel: every cell shows its own, tnsim's and anybody else's."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import tnsim

TNSIM = "import torch, tnsim\nfig, ax = tnsim.heatmap(torch.eye(3))"
AGAIN = "fig, ax = tnsim.scree([3.0, 2.0, 1.0])"
PLAIN = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3]);"
DRAWN = "fig, ax = tnsim.draw(tnsim.convert(tnsim.nn.BilinearLayer(2, 2, 2)))"


def environment(**more):
    kept = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    root = str(Path(tnsim.__file__).parents[1])
    return {**kept, "PYTHONPATH": os.pathsep.join([root, kept.get("PYTHONPATH", "")]), **more}


def pictures(*cells):
    """How many pictures every cell shows."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, timeout=120, kernel_name="python3")
    client.execute(env=environment())
    return [sum("image/png" in out.get("data", {}) for out in cell.outputs) for cell in notebook.cells]


OFF = "plt.ioff();"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([TNSIM, AGAIN, PLAIN, DRAWN], [1, 1, 1, 1]),
        pytest.param(["%matplotlib inline", TNSIM, AGAIN, PLAIN], [0, 1, 1, 1], marks=pytest.mark.slow),
        pytest.param(
            [PLAIN, TNSIM, OFF, TNSIM, "assert not plt.isinteractive()"],
            [1, 1, 0, 0, 0],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["at once", "after the magic", "until it is switched off"],
)
def test_every_cell_shows_its_picture(cells, expected):
    assert pictures(*cells) == expected


@pytest.mark.parametrize("interactive", [pytest.param(False, marks=pytest.mark.slow), True])
def test_without_a_notebook_nothing_changes(interactive):
    script = f"""
import matplotlib as mpl
mpl.use("agg")
mpl.interactive({interactive})
before = dict(mpl.rcParams)
import torch, tnsim
tnsim.heatmap(torch.eye(2))
assert mpl.is_interactive() is {interactive}
assert dict(mpl.rcParams) == before
try:
    tnsim.heatmap("no matrix")
except Exception:
    pass
assert mpl.is_interactive() is {interactive}
assert dict(mpl.rcParams) == before
"""
    subprocess.run([sys.executable, "-c", script], check=True, env=environment())
