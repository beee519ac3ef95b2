"""The site: built with warnings as errors, its links lead somewhere, and its API pages hold every public name once."""

import ast
import doctest
import inspect
import itertools
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from test_docs import BLOCK

import tnsim

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def literal_below(name, file):
    """The text below the assignment of a name."""
    body = ast.parse(file.read_text("utf-8")).body
    return next(
        below.value.value
        for node, below in itertools.pairwise(body)
        if isinstance(node, ast.Assign) and node.targets[0].id == name
    )


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


DATA = {
    "lab.Stream": literal_below("Stream", ROOT / "tnsim" / "lab" / "streams.py")
}  # what has no docstring of its own


def public():
    """Every public name, and what it stands for; the rooms that are offered as such hold names of their own."""
    for room in (tnsim, tnsim.nn, tnsim.lab):
        prefix = "" if room is tnsim else f"{room.__name__.removeprefix('tnsim.')}."
        for name in room.__all__:
            thing = getattr(room, name)
            if not inspect.ismodule(thing):
                yield f"{prefix}{name}", thing


def described():
    """Every name on the API pages, with the way in which it is described."""
    text = "".join(page.read_text("utf-8") for page in (DOCS / "api").glob("*.rst"))
    return [(name, how) for how, name in re.findall(r"^\.\. auto(\w+):: tnsim\.([\w.]+)$", text, re.M)]


def test_every_public_name_is_described_once():
    assert sorted(name for name, _ in described()) == sorted(name for name, _ in public())
    for name, thing in public():
        error = inspect.isclass(thing) and issubclass(thing, BaseException)
        kind = "exception" if error else "class" if inspect.isclass(thing) else "function"
        assert (name, "data" if name in DATA else kind) in described()


def test_every_public_name_has_an_example_that_runs():
    """The examples themselves are run as doctests, like all others."""
    parser = doctest.DocTestParser()
    for name, thing in public():
        _, _, example = (DATA.get(name) or inspect.getdoc(thing)).partition("Example:\n")
        steps = parser.get_examples(example)
        assert any(doctest.SKIP not in step.options for step in steps), f"tnsim.{name} has no example"
