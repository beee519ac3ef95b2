"""Colours that stand side by side differ for everyone: beside simulations of the common forms of colour blindness."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from tnsim.view.style import DIVERGING, PALETTE, SEQUENTIAL, kind_colour, role_colour

# Machado, Oliveira, Fernandes, A Physiologically-based Model for Simulation of Color Vision Deficiency (2009), severity 1
SEEN = {
    "all cones": np.eye(3),
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopia": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritanopia": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
TOGETHER = {  # and how far apart they are at least, in CIELAB
    "curves": (PALETTE[:4], 20),
    "boxes": ([kind_colour(kind) for kind in ("linear", "identity", "product", "mixing")], 13),
    "a product": ([role_colour(role) for role in ("left factor", "right factor", "output map")], 20),
    "attention": ([role_colour(role) for role in ("query", "key", "value", "head output", "mask")], 9),
}


def lab(colour, seen):
    srgb = np.array(to_rgb(colour))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(np.array(seen) @ linear, 0, 1) / XYZ.sum(1)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", SEEN)
@pytest.mark.parametrize("what", TOGETHER)
def test_what_stands_together_can_be_told_apart(what, eyes):
    colours, least = TOGETHER[what]
    for a, b in combinations(colours, 2):
        assert np.linalg.norm(lab(a, SEEN[eyes]) - lab(b, SEEN[eyes])) >= least, (a, b)


@pytest.mark.parametrize("eyes", SEEN)
def test_more_is_darker(eyes):
    for colours in (SEQUENTIAL(np.linspace(0, 1, 33)), DIVERGING(np.linspace(0.5, 0, 33))):
        lightness = [lab(colour[:3], SEEN[eyes])[0] for colour in colours]
        assert all(a > b for a, b in pairwise(lightness))
