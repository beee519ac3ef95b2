"""The interactive drawing: one file that loads nothing, what it tells, and what a browser makes of it."""

import importlib
import json
import re
import shutil

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from drawings import STANDARD, by_hand, deep, linear, with_residual
from torch import nn

import tnsim
from tnsim.algebra import Network
from tnsim.view import Page, draw
from tnsim.view.facts import Facts

matplotlib.use("Agg")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        return x + self.left(x) * self.right(x)


def model():
    return nn.Sequential(nn.Linear(8, 6), Block(), Block(), nn.Linear(6, 3))


def facts(page):
    (text,) = re.findall(r'<script type="application/json" id="facts">(.*?)</script>', page.text, re.S)
    return json.loads(text)["pages"]


# ---------------------------------------------------------------------- the file


@pytest.mark.parametrize("name", STANDARD)
def test_everything_has_a_page_and_leaves_no_figure(name):
    before = plt.get_fignums()
    page = draw(STANDARD[name](), interactive=True)
    assert isinstance(page, Page) and facts(page)
    assert plt.get_fignums() == before


def test_the_page_loads_nothing():
    text = draw(model(), interactive=True).text
    loads = re.findall(r'(?:src|href)="(?!#)([^"]*)"|url\((?!#)([^)]*)\)|@import|import\(|fetch\(', text)
    assert loads == []
    assert "<script" in text and text.count("<html") == 1


def test_it_is_written_and_shown(tmp_path):
    page = draw(model(), interactive=True, title="a model")
    page.save(tmp_path / "new" / "model.html")
    assert (tmp_path / "new" / "model.html").read_text(encoding="utf-8") == page.text
    inline = page._repr_html_()
    assert inline.startswith("<iframe srcdoc=") and '<html lang="en">' not in inline
    assert repr(page).startswith("Page(") and len(repr(page)) < 100


def test_names_cannot_break_out():
    name = '</script><b onclick="x">"&\'@FACTS@'
    net = Network(((name, linear("E", 4, 3)), ("next", linear("W", 2, 4))))
    text = draw(net, interactive=True, title=name).text
    assert "<b onclick" not in text
    boxes = facts(draw(net, interactive=True))[0]["facts"]
    assert boxes[f"box {name}"]["lines"][0] == name


def test_axes_and_levels():
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="a page of its own"):
        draw(model(), ax, interactive=True)
    with pytest.raises(ValueError, match='level="model"'):
        draw(by_hand(), level="model", interactive=True)
    with pytest.raises(ValueError, match="nothing here is tagged"):
        draw(model(), highlight="x", interactive=True)


def test_layers_of_one_form_share_a_picture():
    page = draw(deep(24), interactive=True)
    assert page.text.count('<div class="panel"') == 2
    assert len(facts(page)) == 25
    assert len(page.text) < 400_000


# ---------------------------------------------------------------------- what it tells


def test_norms_and_ranks_are_those_of_the_weights():
    net = tnsim.convert(model())
    pages = facts(draw(net, interactive=True))
    boxes = pages[0]["facts"]
    assert [box for box in boxes] == [f"box {name}" for name in net.names]
    inside = pages[boxes["box 1"]["opens"]]
    told = {
        lines["lines"][0]: lines["lines"]
        for gid, lines in inside["facts"].items()
        if gid.startswith("tensor 0/")
    }
    weight = model_weight(net, "right")
    assert told["right"] == [
        "right", "right factor", "6 × 6", f"norm {np.linalg.norm(weight):.4g}", f"rank {np.linalg.matrix_rank(weight)}",
    ]  # fmt: skip
    assert boxes["box 1"]["lines"][1] == "6 → 6, degree 2, 3 terms"
    assert boxes["box 1"]["lines"][-2:] == ["its input is added", "with a constant"]
    assert any(gid.startswith("index 0/") for gid in inside["facts"])


def model_weight(net, name):
    return next(x.data.detach().numpy() for t in net["1"].terms for x in t.tensors if name in x.tags)


def test_ranks_of_matrices_and_of_more_axes():
    low = np.outer(np.arange(1.0, 5), np.ones(6))
    assert Facts().of_tensor("W", low, "") == ["W", "4 × 6", f"norm {np.linalg.norm(low):.4g}", "rank 1"]
    cube = np.zeros((2, 3, 4))
    cube[0, 0, 0] = cube[1, 1, 0] = 1.0
    assert Facts().of_tensor("T", torch.tensor(cube), "")[-1] == "rank 2 × 2 × 1"
    assert Facts().of_tensor("c", np.ones(4), "constant") == ["c", "constant", "4", "norm 2"]
    assert Facts(budget=10).of_tensor("W", low, "")[-1] == "rank not computed"
    assert Facts().of_tensor("W", np.full((2, 2), np.nan), "")[-1] == "rank not computed"


# ---------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser():
    try:
        api = importlib.import_module("playwright.sync_api")
    except ImportError:
        pytest.skip("playwright is not installed; pip install '.[browser]'")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with api.sync_playwright() as play:
        try:
            started = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"there is no Chromium to start: {str(error).splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture
def opened(browser, tmp_path):
    """A page opened in the browser, and what its console said of faults."""
    sheet = browser.new_page(viewport={"width": 1000, "height": 600})
    faults = []
    sheet.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
    sheet.on("pageerror", lambda error: faults.append(str(error)))
    sheet.on(
        "request", lambda r: None if r.url.startswith(("file:", "about:", "data:")) else faults.append(r.url)
    )

    def show(page):
        page.save(tmp_path / "model.html")
        sheet.goto((tmp_path / "model.html").as_uri())
        return sheet

    yield show
    sheet.close()
    assert faults == []


def mark(sheet, gid):
    return sheet.locator(f'.panel:not([hidden]) [data-gid="{gid}"]').first


def view(sheet):
    return [float(v) for v in sheet.locator(".panel:not([hidden]) > svg").get_attribute("viewBox").split()]


def centre(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_pointing_tells_and_a_click_opens_a_layer(opened):
    sheet = opened(draw(model(), interactive=True))
    tip = sheet.locator("#tip")
    assert tip.is_hidden()
    sheet.mouse.move(*centre(mark(sheet, "box 1")))
    assert tip.is_visible() and "6 → 6, degree 2" in tip.inner_text()
    sheet.mouse.click(*centre(mark(sheet, "box 1")))
    assert sheet.locator("#where").inner_text() == "1: 6 → 6, degree 2"
    sheet.mouse.move(*centre(mark(sheet, "tensor 0/T0")))
    assert "left factor" in tip.inner_text() and "norm" in tip.inner_text() and "rank" in tip.inner_text()
    sheet.click("#back")
    assert "4 layers" in sheet.locator("#where").inner_text()
    assert sheet.locator("#back").is_disabled()


def test_layers_that_share_a_picture_tell_their_own_weights(opened):
    sheet = opened(draw(model(), interactive=True))
    seen = []
    for name in ("1", "2"):
        sheet.mouse.click(*centre(mark(sheet, f"box {name}")))
        sheet.mouse.move(*centre(mark(sheet, "tensor 0/T0")))
        seen.append(sheet.locator("#tip").inner_text())
        sheet.keyboard.press("Escape")
    assert seen[0] != seen[1]


def test_moving_and_zooming(opened):
    sheet = opened(draw(with_residual(2), interactive=True))
    start = view(sheet)
    x, y = centre(sheet.locator("#stage"))
    sheet.mouse.move(x, y)
    sheet.mouse.wheel(0, -300)
    sheet.wait_for_function(
        "old => document.querySelector('.panel:not([hidden]) > svg').getAttribute('viewBox') != old",
        arg=" ".join(f"{v:g}" for v in start),
    )
    zoomed = view(sheet)
    assert zoomed[2] < 0.5 * start[2]
    x, y = centre(mark(sheet, "box embed")) if mark(sheet, "box embed").bounding_box()["x"] > 0 else (x, y)
    sheet.mouse.move(x, y)
    sheet.mouse.down()
    sheet.mouse.move(x + 80, y + 40, steps=4)
    sheet.mouse.up()
    moved = view(sheet)
    assert moved[0] < zoomed[0] and moved[1] < zoomed[1] and moved[2] == zoomed[2]
    assert "4 layers" in sheet.locator("#where").inner_text()  # a drag is no click
    sheet.click("#fit")
    assert view(sheet) == start


def test_by_keyboard(opened):
    sheet = opened(draw(model(), interactive=True))
    mark(sheet, "box 2").focus()
    assert "6 → 6" in sheet.locator("#tip").inner_text()
    sheet.keyboard.press("Enter")
    assert sheet.locator("#where").inner_text().startswith("2:")
    sheet.keyboard.press("Escape")
    assert "4 layers" in sheet.locator("#where").inner_text()


def test_inside_a_notebook(opened, browser, tmp_path):
    shown = draw(model(), interactive=True)
    (tmp_path / "cell.html").write_text(
        f"<!DOCTYPE html><body>{shown._repr_html_()}</body>", encoding="utf-8"
    )
    sheet = opened(shown)
    sheet.goto((tmp_path / "cell.html").as_uri())
    frame = sheet.frame_locator("iframe")
    frame.locator('[data-gid="box 1"]').first.click()
    assert frame.locator("#where").inner_text() == "1: 6 → 6, degree 2"
