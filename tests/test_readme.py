"""The README by copy and paste, in an empty folder and a process of its own: a loop that knows nothing of tnsim, and then
ten lines from its checkpoints to what changed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from matplotlib import image as mpl_image
from test_docs import BLOCK

README = Path(__file__).parent.parent / "README.md"
HEADING = "## Your own checkpoints\n"
SAVE = """
import matplotlib.pyplot as plt

for number in plt.get_fignums():
    plt.figure(number).savefig(f"figure-{number}.png", dpi=60)
"""


def blocks():
    section = README.read_text("utf-8").split(HEADING)[1].split("\n## ")[0]
    return [(kind, body) for _, kind, body in BLOCK.findall(section)]


@pytest.fixture(scope="module")
def transcript(tmp_path_factory):
    folder = tmp_path_factory.mktemp("empty")
    script = "".join(body + "\n" for kind, body in blocks() if kind == "python")
    (folder / "transcript.py").write_text(script + SAVE)
    done = subprocess.run(
        [sys.executable, "transcript.py"],
        cwd=folder,
        env={**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_loop_is_the_readers_and_the_rest_ten_lines():
    (_, loop), (_, rest), _ = blocks()
    assert "tnsim" not in loop
    first, *lines = [line for line in rest.splitlines() if line]
    assert first == "import tnsim" and len(lines) == 10


def test_the_checkpoints_are_as_loops_write_them(transcript):
    folder, _ = transcript
    files = sorted((folder / "ckpts").iterdir())
    assert len(files) == 10
    for file in files:
        state = torch.load(file, weights_only=True)["model"]
        assert all(name.startswith("_orig_mod.") and x.dtype == torch.float32 for name, x in state.items())


def test_what_comes_out(transcript):
    """The run, its phases, the class that was relabelled; the heat map, class slices, shares, drawing."""
    folder, printed = transcript
    assert "Checkpoints(10: 100, 200, " in printed and "Phases(100–500, 600–1000; " in printed
    assert printed.endswith("output 7 changed most\n")
    pictures = sorted(folder.glob("figure-*.png"))
    assert len(pictures) == 4
    for picture in pictures:
        pixels = mpl_image.imread(picture)
        assert min(pixels.shape[:2]) > 60 and pixels[..., :3].std() > 0.02
