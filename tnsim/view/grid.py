"""An empty figure of several panels, for pictures that belong side by side."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from tnsim.view.style import styled

__all__ = ["grid"]


@styled
def grid(
    rows: int, columns: int, *, width: float = 2.6, height: float = 2.6, title: str | None = None
) -> tuple[Figure, np.ndarray]:
    """A figure of empty panels; draw on each with ``ax=``.

    Args:
        rows: how many rows.
        columns: how many columns.
        width: width of a panel in inches.
        height: height of a panel in inches.
        title: a title over all.

    Returns:
        The figure and its axes, shape ``(rows, columns)``.

    Example:
        >>> fig, axes = grid(1, 2)
        >>> axes.shape
        (1, 2)
        >>> plt.close(fig)
    """
    fig, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained"
    )
    if title:
        fig.suptitle(title)
    return fig, axes
