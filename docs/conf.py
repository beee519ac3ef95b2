"""The site: `make docs` builds it from the pages of this folder, the notebooks of examples, and docstrings.

Pages that live elsewhere are copied beside the others for the build; links are made to fit where a page ends up.
"""

import os
import re
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

import tnsim  # noqa: E402

project = "tnsim"
author = "The tnsim contributors"
project_copyright = author
version = release = tnsim.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nb_execution_mode = "off"  # notebooks come with what they printed and drew; the tests run them
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autodoc_typehints = "none"  # docstrings say what arguments are, with shapes
autodoc_default_options = {"members": True, "member-order": "bysource"}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = "tnsim"
html_baseurl = "https://tnsim.readthedocs.io/en/latest/"
html_show_sphinx = False
html_copy_source = False

# Where pages of the site come from that are not in this folder.
ELSEWHERE = {
    "project/contributing.md": ROOT / "CONTRIBUTING.md",
    **{f"tutorials/{file.name}": file for file in sorted((ROOT / "examples").glob("*.ipynb"))},
    **{
        f"paper_figures/{file.parent.name}.md": file
        for file in sorted((ROOT / "paper_figures").glob("*/README.md"))
    },
}
PAGES = {file: DOCS / page for page, file in ELSEWHERE.items()}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def copied(app):
    """Bring the pages that live elsewhere, and take away those that are no more."""
    for folder in {page.split("/")[0] for page in ELSEWHERE}:
        shutil.rmtree(DOCS / folder, ignore_errors=True)
    for page, file in ELSEWHERE.items():
        (DOCS / page).parent.mkdir(exist_ok=True)
        shutil.copyfile(file, DOCS / page)


def relinked(app, docname, source):
    """Links of a page lead from where it is on the site to where their targets are; scripts, to their notebooks."""
    page = Path(app.env.doc2path(docname))
    origin = ELSEWHERE.get(page.relative_to(DOCS).as_posix(), page)

    def fitting(link):
        file = Path(os.path.normpath(origin.parent / link[1]))
        if not file.exists():
            return link[1]
        target = PAGES.get(file) or PAGES.get(file.with_suffix(".ipynb")) or file
        return Path(os.path.relpath(target, page.parent)).as_posix()

    if page.suffix != ".rst":
        source[0] = LINK.sub(fitting, source[0])


def setup(app):
    """Join in where Sphinx has begun, and where it reads a page."""
    app.connect("builder-inited", copied)
    app.connect("source-read", relinked)
