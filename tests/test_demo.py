"""The main job, at full size: it takes seconds, and it is what the project promises."""

import re

import pytest
import torch
from matplotlib import image as mpl_image
from typer.testing import CliRunner

import tnsim
from tnsim.cli import app
from tnsim.demo import CLEAN_UNTIL, find
from tnsim.lab import Run
from tnsim.nn import BilinearClassifier

PICTURES = ["network.png", "similarity.png", "classes.png", "trigger.png", "run.png"]


@pytest.fixture(
    scope="module",
    params=[(0, 9), pytest.param((3, 4), marks=pytest.mark.slow)],
    ids=["seed 0, class 9", "seed 3, class 4"],
)
def done(request, tmp_path_factory):
    seed, target = request.param
    folder = tmp_path_factory.mktemp("demo")
    result = CliRunner().invoke(
        app, ["demo", "--out", str(folder), "--seed", str(seed), "--target", str(target), "--no-progress"]
    )
    assert result.exit_code == 0, result.output
    run = Run.load(folder / "run")
    modules = run.models(lambda: BilinearClassifier(400, 64, 10))
    return target, folder, result.output, run, modules, tnsim.gram(modules, labels=run.steps)


def test_the_attack_works_and_does_not_show_on_clean_images(done):
    _, _, _, run, _, _ = done
    before, after = run.metrics[run.steps.index(CLEAN_UNTIL)], run.metrics[-1]
    assert after["attack_success"] > 0.9 > 0.1 > before["attack_success"]
    assert after["test_accuracy"] > before["test_accuracy"] - 0.03


def test_the_attack_is_found_from_the_weights_alone(done):
    target, _, output, run, modules, gram = done
    finding = find(gram, [tnsim.convert(m) for m in modules])
    assert run.steps[finding.switch] == CLEAN_UNTIL
    assert finding.output == target
    trigger = torch.zeros(20, 20, dtype=torch.bool)
    trigger[1:6, 17] = trigger[3, 16:19] = True  # a diamond 5 high and 3 wide, one pixel from the corner
    assert trigger.sum() == 7
    assert trigger.flatten()[finding.top(7)].double().mean() >= 0.9
    assert re.search(rf"the attacked class is\s+{target}\s+\({target}\)", output)


def test_the_jumps_are_as_promised(done):
    target, _, _, run, modules, gram = done
    at = run.steps.index(CLEAN_UNTIL)
    by_class = 1 - gram.slices()[:, at, at + 1]
    others = torch.cat([by_class[:target], by_class[target + 1 :]])
    assert by_class[target] >= 2 * others.max()
    assert 1 - tnsim.weight_cosine(modules[at], modules[at + 1]) < 1 - gram.similarity()[at, at + 1]


def test_pictures_are_written_and_named(done):
    _, folder, output, _, _, _ = done
    for name in PICTURES:
        assert name in output
        pixels = mpl_image.imread(folder / name)
        assert min(pixels.shape[:2]) > 300
        assert pixels[..., :3].std() > 0.02  # not an empty page
