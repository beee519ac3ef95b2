"""Every example runs as a script, at a small size, and writes pictures only where it is told to."""

import runpy
import sys
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("agg")

import matplotlib.pyplot as plt
from matplotlib import image as mpl_image

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("[0-9]*.py"))


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, monkeypatch, capsys):
    here, out = tmp_path / "here", tmp_path / "out"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("SMALL", "1")
    monkeypatch.setattr(sys, "argv", [str(path), str(out)])
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        plt.close("all")
    assert str(out) in capsys.readouterr().out
    assert not list(here.iterdir())
    pictures = list(out.iterdir())
    assert pictures
    for picture in pictures:
        pixels = mpl_image.imread(picture)
        assert min(pixels.shape[:2]) > 150 and pixels[..., :3].std() > 0.02  # not an empty page


def test_no_folder_is_needed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "--f=kernel.json"])  # as in a notebook
    (path,) = [p for p in EXAMPLES if p.stem.startswith("02")]
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        plt.close("all")
    assert not list(tmp_path.iterdir())
