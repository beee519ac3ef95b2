"""The documentation says what is so: its code runs and prints what it claims, its links, names and tests exist."""

import ast
import importlib
import math
import re
from pathlib import Path

import matplotlib
import pytest
import test_architecture

matplotlib.use("agg")

import matplotlib.pyplot as plt
import torch

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^(<!-- output -->\n)?```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
NAME = re.compile(r"(?<![\w./-])tnsim(?:\.[A-Za-z_]\w*)+")
FILE = re.compile(r"(?<![\w./-])((?:tnsim|tests|examples|docs)/[\w./-]*)(?:::(\w+))?")
NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def line_of(text, match):
    return text[: match.start()].count("\n") + 2


def same(said, printed):
    """Word for word; numbers up to the noise that another machine may bring."""
    if NUMBER.sub("#", said).split() != NUMBER.sub("#", printed).split():
        return False
    pairs = zip(NUMBER.findall(said), NUMBER.findall(printed), strict=True)
    return all(math.isclose(float(a), float(b), rel_tol=0.05, abs_tol=0.03) for a, b in pairs)


@pages
def test_code_runs_and_prints_what_the_page_says(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = page.read_text("utf-8")
    namespace, printed = {"__name__": page.stem}, None
    try:
        for block in BLOCK.finditer(text):
            is_output, kind, body = block.groups()
            where = f"{page.name}:{line_of(text, block)}"
            assert kind in ("python", "text"), (
                f"{where}: a block is marked python (it runs) or text; got {kind!r}"
            )
            if kind == "python":
                capsys.readouterr()
                exec(compile("\n" * (line_of(text, block) - 1) + body, str(page), "exec"), namespace)
                printed = capsys.readouterr().out
            elif is_output:
                assert printed is not None and same(body, printed), (
                    f"{where} says\n{body}\nbut it is\n{printed}"
                )
    finally:
        plt.close("all")
        torch.set_num_threads(1)


@pages
def test_relative_links_and_pictures_exist(page):
    for target in LINK.findall(BLOCK.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"


def anchors(page):
    """The names that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text("utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_names_exist(page):
    for name in sorted(set(NAME.findall(page.read_text("utf-8")))):
        assert exists(name), f"{page.name} speaks of {name}"


def exists(name):
    """Whether the longest importable part of a dotted name has the rest as attributes."""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        for part in parts[k:]:
            fields = getattr(thing, "__dataclass_fields__", {})
            if not hasattr(thing, part) and part not in fields:
                return False
            thing = getattr(thing, part, None)
        return True
    return False


@pages
def test_files_and_tests_that_are_named_exist(page):
    for path, function in FILE.findall(page.read_text("utf-8")):
        file = ROOT / path.rstrip(".")
        assert file.exists(), f"{page.name} names {path}"
        if function:
            names = {
                n.name for n in ast.parse(file.read_text("utf-8")).body if isinstance(n, ast.FunctionDef)
            }
            assert function in names, f"{page.name} names {path}::{function}"


def test_every_picture_is_used_and_small():
    shown = {Path(target).name for page in PAGES for target in LINK.findall(page.read_text("utf-8"))}
    for picture in (ROOT / "docs" / "pictures").iterdir():
        assert picture.name in shown, f"no page shows {picture.name}"
        assert picture.stat().st_size <= 120_000, f"{picture.name} is too large"


def test_the_first_example_is_the_one_in_the_readme():
    text = (ROOT / "README.md").read_text("utf-8")
    block = next(body for _, kind, body in BLOCK.findall(text) if kind == "python")
    assert block in (ROOT / "examples" / "01_first_similarity.py").read_text("utf-8")


def test_the_rooms_are_those_that_are_enforced():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| (.*) \|$", text, re.M)
    assert rows
    for room, may in rows:
        assert set(re.findall(r"`(\w+)`", may)) == test_architecture.ROOMS[room], (
            f"docs/architecture.md on {room}"
        )
