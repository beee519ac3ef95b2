"""Constraints for pip, read from pyproject.toml: ``python tests/installed/versions.py oldest`` (or ``newest``) prints them.

Oldest: every requirement at its lower bound. Newest: none, so that pip takes what is new. torch is the pinned one in both,
since a bare torch brings gigabytes for accelerators: its own lower bound is not tried.
"""

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def pinned(name):
    """The line of constraints.txt for a library."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{name}=="))


def lower_bound(requirement):
    """``name>=x`` as ``name==x``."""
    bounds = [part.version for part in requirement.specifier if part.operator == ">="]
    if len(bounds) != 1:
        raise ValueError(f"{requirement}: write one lower bound, such as {requirement.name}>=1.2")
    return f"{requirement.name}=={bounds[0]}"


def oldest(project):
    """The lower bounds of all requirements of a ``[project]``, its extras too."""
    extras = project["optional-dependencies"].values()
    wanted = [Requirement(text) for texts in (project["dependencies"], *extras) for text in texts]
    bounds = sorted({lower_bound(r) for r in wanted if r.name not in (project["name"], "torch")})
    names = [bound.partition("==")[0] for bound in bounds]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{', '.join(sorted(twice))}: two lower bounds; write the same in both places")
    return bounds


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


if __name__ == "__main__":
    constraints = {"oldest": oldest, "newest": lambda project: []}[sys.argv[1]](project())
    print("\n".join([*constraints, pinned("torch")]))
