"""Notebooks are the scripts beside them: cell by cell the same sources, run, small, and running still."""

import base64
import importlib.util
import io
import os
from pathlib import Path

import nbformat
import pytest
from matplotlib import image as mpl_image

import tnsim

EXAMPLES = Path(__file__).parent.parent / "examples"
_SPEC = importlib.util.spec_from_file_location("notebooks", EXAMPLES / "notebooks.py")
maker = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(maker)

AGAIN = "python examples/notebooks.py"


def stored(name):
    return nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)


def scripted(name):
    return maker.notebook((EXAMPLES / f"{name}.py").read_text("utf-8"))


def sources(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_every_notebook_has_a_script():
    assert sorted(p.stem for p in EXAMPLES.glob("*.ipynb")) == sorted(maker.SCRIPTS)


@pytest.mark.parametrize("name", maker.SCRIPTS)
def test_it_is_the_script(name):
    found = stored(name)
    nbformat.validate(found)
    assert sources(found) == sources(scripted(name)), f"write it anew: {AGAIN} {name}"


@pytest.mark.parametrize("name", maker.SCRIPTS)
def test_it_was_run_and_is_small(name):
    found = stored(name)
    code = [cell for cell in found.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [out for cell in code for out in cell.outputs]
    assert not [out for out in outputs if out.output_type == "error" or out.get("name") == "stderr"]
    pictures = [out.data["image/png"] for out in outputs if "image/png" in out.get("data", {})]
    assert pictures
    for picture in pictures:
        pixels = mpl_image.imread(io.BytesIO(base64.b64decode(picture)))
        assert min(pixels.shape[:2]) > 60 and pixels[..., :3].std() > 0.02
    text = (EXAMPLES / f"{name}.ipynb").read_text("utf-8")
    assert len(text) < 500_000 and "/tmp/" not in text and "/home/" not in text and "/root/" not in text


@pytest.mark.parametrize(
    "name", [pytest.param("02_your_own_module", marks=pytest.mark.slow), "10_a_folder_of_checkpoints"]
)
def test_it_runs_in_a_kernel(name, tmp_path):
    kept = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    path = os.pathsep.join([str(Path(tnsim.__file__).parents[1]), kept.get("PYTHONPATH", "")])
    done = maker.run(scripted(name), tmp_path, env={**kept, "PYTHONPATH": path, "SMALL": "1"})
    shown = [out for cell in done.cells for out in cell.get("outputs", [])]
    assert any("image/png" in out.get("data", {}) for out in shown)
    assert not list(tmp_path.iterdir())


SCRIPT = '''"""A title. With more.

A text.

Usage: python this.py [folder]
"""

import os, sys
import tempfile
import numpy as np
from pathlib import Path

OUT = Path(sys.argv[1])


# %% A class.
@dataclass
class A:  # "OUT" in a comment is none
    """# %% no cell"""


print(np.pi, os.sep)
# %%
x = 1  # a remark
print(x)

# %% [markdown]
# ## More text
#
# of several *lines*.

# %% For scripts alone.
OUT.mkdir()
print(f"in {OUT}")
'''


def test_what_becomes_of_a_script():
    assert list(maker.cells(SCRIPT)) == [
        ("markdown", "# A title. With more\n\nA text."),
        ("code", "import os, sys\nimport numpy as np"),
        ("markdown", "A class."),
        (
            "code",
            '@dataclass\nclass A:  # "OUT" in a comment is none\n    """# %% no cell"""\n\n\nprint(np.pi, os.sep)',
        ),
        ("code", "x = 1  # a remark\nprint(x)"),
        ("markdown", "## More text\n\nof several *lines*."),
    ]
