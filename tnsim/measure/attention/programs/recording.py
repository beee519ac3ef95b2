"""What is done to products of links, recorded for a structure and a pattern of zeros."""

from typing import Any

from tnsim.common.caches import cached
from tnsim.measure.attention.links.asked import Expected
from tnsim.measure.attention.programs.chains import Chains
from tnsim.measure.attention.programs.covariance_grid import Grid, JointMatrix, wholes
from tnsim.measure.attention.programs.program import Assembler, Program, Symbol

__all__ = ["recorded", "structure"]


def structure(one: Expected) -> Any:
    """Sides, links, sizes and stacks of all ends of both factors."""
    sides: list[int] = []
    sizes: list[int] = []
    pairs: list[tuple[int, int]] = []
    singles: list[int] = []
    for k, t in enumerate(one.terms):
        at = len(sides)
        pairs += [(u + at, w + at) for u, w in t.product.pairs]
        singles += [e + at for e in t.product.singles]
        sizes += map(t.size, range(len(t.product.ends)))
        sides += [k] * len(t.product.ends)
    stacks = [tuple(e + sides.index(k) for e in x.ends) for k, t in enumerate(one.terms) for x in t.stacks]
    return tuple(sides), tuple(pairs), tuple(singles), tuple(sizes), tuple(stacks)


@cached(4096)
def recorded(wiring: Any, alive: frozenset[Any], connected: bool) -> Program | None:
    """What to do where some means and covariances are not zero; ``None`` if the result is zero."""
    sides, pairs, singles, sizes, stacks = wiring
    first = sides.count(0)
    recorder = Assembler()

    def named(e: int) -> tuple[int, int]:
        return sides[e], e - first * sides[e]

    def mean(e: int) -> Symbol | None:
        return recorder.given(("mean", named(e)), (1, sizes[e])) if named(e) in alive else None

    def together(whole: JointMatrix) -> Symbol:
        rows, columns = (whole.columns, whole.rows) if whole.turned else (whole.rows, whole.columns)
        shape = (sum(sizes[e] for e in rows), sum(sizes[f] for f in columns))
        x = recorder.given(("cov", tuple(map(named, rows)), tuple(map(named, columns))), shape)
        return x.turned if whole.turned else x

    def alive_at(e: int, f: int) -> bool:
        return (*named(e), *named(f)) in alive

    parts = wholes(stacks, pairs, singles)
    grid = Grid(sizes, alive_at, mean, together, parts, recorder)
    total = Chains(sides, pairs, singles, sizes, grid, recorder).total(connected)
    if total is None:
        return None
    return recorder.program(recorder.ones() if isinstance(total, float) else total)
