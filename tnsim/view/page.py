"""Page: an interactive drawing, as one file that needs nothing else."""

import html
import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from tnsim.common.files import replace_file

__all__ = ["Leaf", "Page", "page_of", "svg_of"]

_TEMPLATE = Path(__file__).with_name("interactive.html")
_TOLD = re.compile(
    r'\bid="((?:box|tensor|index|hub|name|about|mark|pill|size|port|skip|same|factor|layer) [^"]*)"'
)
_HIGHEST = 640  # pixels in a notebook


@dataclass(frozen=True)
class Leaf:
    """One of the drawings of a page.

    Attributes:
        title: what it shows.
        panel: which picture.
        facts: for the name of every mark of the picture: ``lines`` to tell, and ``opens``, the number of another leaf.
    """

    title: str
    panel: int
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """An interactive drawing: drag to move, turn the wheel to zoom, point at a box or disc to read about it, click on a box
    to open its layer. A notebook shows it; ``page.save("model.html")`` writes it.

    Attributes:
        text: the page as HTML. It is one document that loads nothing.
        height: pixels that it takes in a notebook.
    """

    text: str = field(repr=False)
    height: int

    def _repr_html_(self) -> str:
        inside = html.escape(self.text, quote=True)
        return (
            f'<iframe srcdoc="{inside}" style="width: 100%; height: {self.height}px; border: 1px solid #c9d0d9" '
            'title="drawing" sandbox="allow-scripts"></iframe>'
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page to a file, which any browser opens.

        Args:
            path: where to, such as ``"model.html"``; folders are made if needed.

        Raises:
            OSError: if it cannot be written.
        """
        replace_file(Path(path), self.text.encode())


def svg_of(fig: Figure) -> str:
    """The picture as SVG to stand in a page; the figure is closed. Marks carry their names as ``data-gid``."""
    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "tnsim"}):
        fig.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(fig)
    text = file.getvalue()
    return _TOLD.sub(r'data-gid="\1"', text[text.index("<svg") :])


def page_of(title: str, panels: Sequence[str], leaves: Sequence[Leaf]) -> Page:
    """One document of all pictures and what is known of their marks; the first leaf is shown first."""
    facts = {"pages": [{"title": leaf.title, "panel": leaf.panel, "facts": leaf.facts} for leaf in leaves]}
    parts = {
        "TITLE": html.escape(title),
        "PANELS": "".join(f'<div class="panel" hidden>{panel}</div>' for panel in panels),
        "FACTS": json.dumps(facts, ensure_ascii=True).replace("<", "\\u003c"),
    }
    text = re.sub(r"@(TITLE|PANELS|FACTS)@", lambda m: parts[m[1]], _TEMPLATE.read_text(encoding="utf-8"))
    size = re.search(r'height="([\d.]+)pt"', panels[0])
    tall = 96 / 72 * float(size[1]) if size else 0.0
    return Page(text, int(min(max(tall + 60, 260), _HIGHEST)))
