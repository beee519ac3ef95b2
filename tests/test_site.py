"""The site: built with warnings as errors, its links lead somewhere, and its API pages hold every public name once."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from test_docs import BLOCK

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


class Links(HTMLParser):
    """What a page can be entered at, and what it points to."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.targets = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        self.targets |= {given[key] for key in ("href", "src") if given.get(key)}


def built(out):
    """The site under a folder. One test builds it and looks at all of it: several at once would copy the same pages."""
    for name, package in (("sphinx", "sphinx"), ("furo", "furo"), ("myst_nb", "myst-nb")):
        pytest.importorskip(name, reason=f"the site needs {package}: pip install 'tnsim[docs]'")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        out / "read",
        DOCS,
        out / "html",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "MPLBACKEND": "agg"})
    assert done.returncode == 0, done.stderr
    return out / "html"


def test_it_builds_without_a_warning_and_links_lead_somewhere(tmp_path):
    site = built(tmp_path)
    pages = {page: Links(page.read_text("utf-8")) for page in site.rglob("*.html")}
    front = pages[site / "index.html"].targets
    for page in DOCS.glob("*.md"):
        assert f"{page.stem}.html" in front or page.stem == "index", f"no way leads to {page.name}"
    for page, links in pages.items():
        for target in links.targets:
            assert leads_somewhere(target, page, pages), f"{page.relative_to(site)} points to {target}"


def leads_somewhere(target, page, pages):
    """Whether what a link or picture of a page names is there; addresses elsewhere are taken as they are."""
    if re.match(r"[a-z]+:", target):
        return True
    path, _, anchor = target.partition("#")
    file = (page.parent / unquote(path.partition("?")[0])).resolve() if path else page
    return file.exists() and (not anchor or file not in pages or unquote(anchor) in pages[file].anchors)


def test_the_front_page_has_the_example_s_lines():
    blocks = [
        body for _, kind, body in BLOCK.findall((DOCS / "index.md").read_text("utf-8")) if kind == "python"
    ]
    script = (ROOT / "examples" / "11_one_class_relabelled.py").read_text("utf-8")
    assert blocks and all(block in script for block in blocks)
    assert sum(len([line for line in block.splitlines() if line]) for block in blocks) <= 20
