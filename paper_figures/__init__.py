"""The paper's experiments, one folder per figure: train, compute, plot.

`compute` never trains and `plot` never computes. `tnsim figures NAME` runs them in order and stops early where a
cache has what is asked for.
"""

from paper_figures.common.pipeline import make, names, report

__all__ = ["make", "names", "report"]
