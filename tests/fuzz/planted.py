"""Faults planted by hand, and after how many draws the search finds them: ``python tests/fuzz/planted.py merged``.

The checks that conversion makes of itself are off, so that only the search is left. To be run in a process of its own:
what is remembered of a structure would be wrong afterwards.
"""

import os
import sys
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import torch  # noqa: E402
from fuzz.check import passes  # noqa: E402
from fuzz.draws import rolled  # noqa: E402
from fuzz.questions import QUESTIONS  # noqa: E402
from fuzz.shrink import WRONG  # noqa: E402

from tnsim.algebra.terms import term  # noqa: E402
from tnsim.common.wires import place, space, unused  # noqa: E402
from tnsim.convert.layers import conversion  # noqa: E402
from tnsim.convert.values import value  # noqa: E402

__all__ = ["FAULTS", "found"]


def merged():
    """A leg that becomes a bond gets the name of an inner index, which does not step aside and is merged with it."""

    def avoiding(mapping, names, kept=()):
        return {ix: mapping[ix] for ix in names if mapping.get(ix, ix) != ix}

    def bond_names(outer):
        given = {}
        for leg in outer.legs:
            for ix in leg:
                if place(ix).startswith("in"):  # only other bonds are looked at
                    given.setdefault(ix, unused(given.values(), "hid", "s" if space(ix) == "s" else "h"))
        return given

    term.avoiding, term._bond_names = avoiding, bond_names


def unpermuted():
    """Outputs picked by number come in the order of the numbers."""
    select = value._select
    value._select = lambda f, indices: select(f, sorted(indices))


FAULTS = {f.__name__: f for f in (merged, unpermuted)}


def found(fault, draws=500, seed=0, first=0):
    """The number of the first draw from ``first`` on that shows a fault, with what was wrong; ``None`` if none does."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    conversion.verify = conversion.check_composed = lambda *args: None
    FAULTS[fault]()
    for number in range(first, draws):
        case = rolled(seed, number, tuple(QUESTIONS))
        for name, outcome, text in passes(case, QUESTIONS):
            if outcome in WRONG:
                return number, name, outcome, text
    return None


if __name__ == "__main__":
    draws, seed, first = (int(os.environ.get(k, n)) for k, n in (("DRAWS", 500), ("SEED", 0), ("FROM", 0)))
    shown = found(sys.argv[1], draws, seed, first)
    print("not found" if shown is None else f"draw {shown[0]}: {shown[2]} of {shown[1]}: {shown[3]}")
