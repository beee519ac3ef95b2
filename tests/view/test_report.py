"""A report: one file that loads nothing, whose numbers are those of the questions, and what a browser makes of it."""

import copy
import importlib
import json
import math
import re
import shutil

import matplotlib
import numpy as np
import pytest
import torch

import tnsim

matplotlib.use("Agg")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
STEPS = [0, 100, 200, 300, 400, 500]


def run_of(n=6, out=4):
    """A run in which output 2 changes between the fourth and the fifth model."""
    torch.manual_seed(0)
    model, run = tnsim.nn.BilinearMLP(5, 4, 4, out, 2).double().requires_grad_(False), []
    for k in range(n):
        for p in model.parameters():
            p.add_(0.005 * torch.randn_like(p))
        if k == 4:
            model.head.weight[2 % out] += 2
        run.append(tnsim.convert(copy.deepcopy(model)))
    return run


RUN = run_of()


@pytest.fixture(scope="module")
def page():
    return tnsim.report(RUN, labels=STEPS, title="a run", progress=False)


def facts(page):
    (text,) = re.findall(r'<script type="application/json" id="facts">(.*?)</script>', page.text, re.S)
    return json.loads(text)


def test_the_page_loads_nothing(page):
    text = re.sub(r'<script type="application/json".*?</script>', "", page.text, flags=re.S)
    assert re.findall(r'(?:src|href)="(?!#)|@import|import\(|fetch\(|XMLHttpRequest|WebSocket', text) == []
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == []
    assert text.count("<html") == 1 and not re.search(r"@(TITLE|FACTS|SCRIPT)@", text)


def test_its_numbers_are_those_of_the_questions(page):
    told = facts(page)
    gram = tnsim.gram(RUN, labels=STEPS, progress=False)
    close = dict(rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(told["similarity"], gram.similarity(), **close)
    np.testing.assert_allclose(told["slices"], gram.slices(), **close)
    np.testing.assert_allclose(told["distance"], gram.distance(), **close)
    assert told["labels"] == STEPS and told["outputs"] == ["0", "1", "2", "3"]
    shares = tnsim.attribute(RUN[1], RUN[4], to="outputs")
    np.testing.assert_allclose([of[1][4] for of in told["shares"]], shares / shares.sum(), **close)
    layers = tnsim.attribute(RUN[3], RUN[4], to="layers")
    np.testing.assert_allclose(told["neighbours"][3], layers / layers.sum(), **close)
    assert told["names"] == list(RUN[0].names) and len(told["neighbours"]) == 5
    np.testing.assert_allclose(
        told["path"]["points"], tnsim.trajectory(gram).points[:, :2], rtol=1e-4, atol=1e-4
    )
    for k, boundaries in told["phases"]["boundaries"].items():
        assert boundaries == list(tnsim.segment(gram, int(k)).boundaries)
    assert told["phases"]["chosen"] == 2 and told["phases"]["boundaries"]["2"] == [4]
    (switch,) = told["switches"]
    found = tnsim.localise(RUN[3], RUN[4], history=RUN[:3], progress=False)
    assert (switch["before"], switch["after"], switch["output"]) == (300, 400, "2")
    assert switch["said"] == f"{found!r}."
    table = tnsim.layers(RUN[0], RUN[-1], progress=False)
    np.testing.assert_allclose(told["layers"]["values"], table.values, **close)
    assert dict(told["methods"])["law of the input"] == "Gaussian()" and not any(told["reasons"].values())


@pytest.mark.parametrize(
    ("run", "options"),
    [
        (RUN[:1], {}),
        (RUN[:2], {"method": "layerwise"}),
        (tnsim.stack(RUN[:3]), {"under": tnsim.Symmetric()}),
        (run_of(3, out=1), {"labels": ["a", "b", "</script>"]}),
        ([RUN[0]] * 3, {"phases": 2}),
        ([tnsim.nn.BilinearLayer(4, 3, 2) for _ in range(3)], {"under": tnsim.Empirical(torch.randn(9, 4))}),
        ([RUN[0], tnsim.nn.BilinearLayer(5, 3, 4)], {}),
        (RUN[:3], {"phases": 1, "title": "<b>&"}),
    ],
    ids=["one", "two", "stack", "one output", "all the same", "data", "two structures", "titled"],
)
def test_any_run_has_a_page(run, options, tmp_path):
    page = tnsim.report(run, tmp_path / "new" / "r.html", progress=False, **options)
    assert (tmp_path / "new" / "r.html").read_text("utf-8") == page.text
    told = facts(page)
    assert len(told["similarity"]) == len(told["labels"])
    assert all(told[name] or told["reasons"].get(name) for name in ("path", "layers", "drawing"))


def test_what_is_too_dear_is_left_out_with_a_reason(monkeypatch):
    price = 4 * tnsim.cost(RUN[0], RUN[1]).flops
    told = facts(tnsim.report(RUN[:3], budget=max(price, 40_000.0), progress=False))
    dear = [name for name, reason in told["reasons"].items() if "budget" in reason]
    assert dear and all(f"without {name}" in dict(told["methods"]) for name in dear)
    with pytest.raises(tnsim.CostError):
        tnsim.report(RUN[:3], budget=10.0, progress=False)
    monkeypatch.setattr(importlib.import_module("tnsim.view.reports"), "_MOST", 10)
    told = facts(tnsim.report(RUN[:3], progress=False))
    assert told["slices"] is None and "too much for a page" in told["reasons"]["shares"]


@pytest.mark.slow  # what a run of one structure gives is always tried
def test_sampled(tmp_path):
    told = facts(tnsim.report(RUN[:3], error=0.1, budget=100.0, progress=False))
    assert dict(told["methods"])["method"].startswith("sampled") and "standard error" in dict(told["methods"])


def test_nothing_is_half_written(tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    path.write_text("before")
    with pytest.raises(tnsim.CostError):
        tnsim.report(RUN, path, budget=10.0, progress=False)
    monkeypatch.setattr("tnsim.common.files.os.replace", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        tnsim.report(RUN[:2], path, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"] and path.read_text() == "before"


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
def sheet(browser, page, tmp_path):
    """The page opened in the browser, which says no fault and asks for nothing."""
    opened = browser.new_page(viewport={"width": 1000, "height": 700})
    faults = []
    opened.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", lambda r: None if r.url.startswith(("file:", "about:")) else faults.append(r.url))
    page.save(tmp_path / "r.html")
    opened.goto((tmp_path / "r.html").as_uri())
    yield opened
    opened.close()
    assert faults == []


def cell(sheet, canvas, i, j, n):
    box = sheet.locator(canvas).bounding_box()
    return box["x"] + (j + 0.5) / n * box["width"], box["y"] + (i + 0.5) / n * box["height"]


def test_pointing_at_a_cell_tells_both_checkpoints_and_the_value(sheet, page):
    told = facts(page)
    for i, j in ((0, 5), (3, 1)):
        sheet.mouse.move(*cell(sheet, "#map", i, j, 6))
        said = sheet.locator("#told").inner_text()
        assert said.split() == [str(STEPS[i]), "and", f"{STEPS[j]}:", f"{told['similarity'][i][j]:.4f}"]


def test_a_click_tells_what_changed(sheet, page):
    assert "From 300 to 400" in sheet.locator("#pair").inner_text()  # the largest step is told first
    sheet.mouse.click(*cell(sheet, "#map", 4, 1, 6))
    said = sheet.locator("#pair").inner_text()
    assert "From 100 to 400" in said and "Split by layer for neighbours only" in said
    share = facts(page)["shares"][2][1][4]
    assert f"{100 * share:.1f} %" in said
    sheet.mouse.click(*cell(sheet, "#map", 1, 2, 6))
    said = sheet.locator("#pair").inner_text()
    assert "From 100 to 200" in said and "blocks.1" in said
    head = facts(page)["neighbours"][1][facts(page)["names"].index("head")]
    assert f"{100 * head:.1f} %" in said
    sheet.mouse.click(*cell(sheet, "#map", 3, 3, 6))
    assert "The same model" in sheet.locator("#pair").inner_text()


def test_by_keyboard(sheet):
    sheet.mouse.click(*cell(sheet, "#map", 1, 2, 6))
    sheet.locator("#map").focus()
    sheet.keyboard.press("ArrowRight")
    sheet.keyboard.press("ArrowUp")
    assert "From 0 to 300" in sheet.locator("#pair").inner_text()


def test_one_output_and_other_phases(sheet, page):
    sheet.select_option("#output", "2")
    sheet.mouse.move(*cell(sheet, "#map", 0, 5, 6))
    assert f"{facts(page)['slices'][2][0][5]:.4f}" in sheet.locator("#told").inner_text()
    lines = sheet.locator("#curves svg >> nth=0").locator("line[stroke-dasharray]")
    assert lines.count() == 1
    before = sheet.evaluate("document.getElementById('map').toDataURL()")
    sheet.select_option("#phases", "3")
    assert lines.count() == 2
    assert sheet.evaluate("document.getElementById('map').toDataURL()") != before


def test_path_layers_and_drawing(sheet):
    assert sheet.locator("#path circle").count() == 6
    sheet.locator("#path circle").nth(2).click()
    assert "From 100 to 200" in sheet.locator("#pair").inner_text()
    names = sheet.locator("#layers .framed .left span").all_inner_texts()
    assert "head" in names
    sheet.locator("#layer-map").scroll_into_view_if_needed()
    sheet.mouse.move(*cell(sheet, "#layer-map", 0, 0, len(names)))
    assert "of 0 and" in re.sub(r"\s+", " ", sheet.locator("#layers .told").inner_text())
    frame = sheet.frame_locator("#drawing iframe")
    frame.locator('[data-gid="box blocks.1"]').first.click()
    assert frame.locator("#where").inner_text().startswith("blocks.1")
    assert "300 → 400" in sheet.locator("#switches").inner_text()
    assert "Gaussian()" in sheet.locator("#methods").inner_text()


def test_colours_are_those_of_the_values(sheet, page):
    told = facts(page)
    shades = told["palette"]["plain" if told["limits"][0] == 0 else "signed"]
    low, high = told["limits"]
    at = round((told["similarity"][0][5] - low) / (high - low) * (len(shades) - 1))
    found = sheet.evaluate(
        """() => { const c = document.getElementById("map"), s = c.width / 6;
        return [...c.getContext("2d").getImageData(5.5 * s, 0.5 * s, 1, 1).data].slice(0, 3); }"""
    )
    want = [int(shades[math.floor(at)][k : k + 2], 16) for k in (1, 3, 5)]
    assert found == want
