"""What we see: drawings of networks, heat maps, images and curves. The only importer of matplotlib.

Every function takes ``ax=None``, returns ``(fig, ax)``, never calls ``show()`` and leaves the user's settings alone.
"""

from tnsim.view.bars import bars
from tnsim.view.dot import to_dot
from tnsim.view.grid import grid
from tnsim.view.images import image
from tnsim.view.lines import curves
from tnsim.view.matrices import heatmap, heatmaps
from tnsim.view.networks import draw
from tnsim.view.page import Page
from tnsim.view.paths import path
from tnsim.view.reports import report
from tnsim.view.spectra import scree
from tnsim.view.style import DIVERGING, PALETTE, SEQUENTIAL, role_colour

__all__ = [
    "DIVERGING",
    "PALETTE",
    "SEQUENTIAL",
    "Page",
    "bars",
    "curves",
    "draw",
    "grid",
    "heatmap",
    "heatmaps",
    "image",
    "path",
    "report",
    "role_colour",
    "scree",
    "to_dot",
]
