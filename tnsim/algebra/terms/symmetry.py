"""Which legs of a term may be exchanged without changing it: a tree over its legs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations_with_replacement, pairwise, product
from math import comb, factorial, prod
from typing import Union

__all__ = [
    "Branch",
    "Tree",
    "blocks",
    "count_labellings",
    "exchanges",
    "fixed",
    "free",
    "graft",
    "labellings",
    "leaves",
    "orbit_key",
    "shifted",
    "swaps",
]

Tree = Union[int, "Branch"]


@dataclass(frozen=True)
class Branch:
    """A node of the tree.

    Attributes:
        children: sub-trees, or legs by number.
        free: whether the children may be exchanged for one another; they then have the same shape.
    """

    children: tuple[Tree, ...]
    free: bool = False


def fixed(n: int) -> Branch:
    """n legs, none of which may be exchanged."""
    return Branch(tuple(range(n)))


def free(n: int) -> Branch:
    """n legs that may all be exchanged."""
    return Branch(tuple(range(n)), free=True)


def leaves(tree: Tree) -> list[int]:
    """The legs, in order.

    Example:
        >>> leaves(Branch((free(2), 2)))
        [0, 1, 2]
    """
    return [tree] if isinstance(tree, int) else [leg for child in tree.children for leg in leaves(child)]


def shifted(tree: Tree, by: int) -> Tree:
    """The tree with all legs renumbered."""
    if isinstance(tree, int):
        return tree + by
    return Branch(tuple(shifted(child, by) for child in tree.children), tree.free)


def graft(outer: Tree, inner: Sequence[tuple[object, Tree]]) -> Tree:
    """The symmetry of a composition: leg k of ``outer`` is replaced by ``inner[k]``.

    Args:
        outer: the outer tree, legs 0 … n−1.
        inner: for every leg an identity and a tree. Branches that may be exchanged in ``outer`` still may where
            equal things stand on them.
    """
    offsets = [0]
    for _, tree in inner:
        offsets.append(offsets[-1] + len(leaves(tree)))

    def build(node: Tree) -> Tree:
        if isinstance(node, int):
            return shifted(inner[node][1], offsets[node])
        if not node.free:
            return Branch(tuple(map(build, node.children)))
        groups: dict[object, list[Tree]] = {}
        for child in node.children:
            groups.setdefault(_key(child, inner), []).append(build(child))
        parts = [g[0] if len(g) == 1 else Branch(tuple(g), free=True) for g in groups.values()]
        return parts[0] if len(parts) == 1 else Branch(tuple(parts))

    return build(outer)


def orbit_key(outer: Tree, labels: Sequence[int]) -> object:
    """The same for two labellings of the legs that an exchange turns into each other.

    Example:
        >>> [orbit_key(tree, [0, 1]) == orbit_key(tree, [1, 0]) for tree in (free(2), fixed(2))]
        [True, False]
    """
    if isinstance(outer, int):
        return (labels[outer],)
    keys = [orbit_key(child, labels) for child in outer.children]
    return tuple(sorted(keys, key=repr)) if outer.free else tuple(keys)


def labellings(tree: Tree, n: int) -> list[tuple[tuple[int, ...], int]]:
    """Labels below n on the legs, one labelling for all that exchanges turn into each other, with their number.

    Example:
        >>> labellings(free(2), 2)
        [((0, 0), 1), ((0, 1), 2), ((1, 1), 1)]
    """
    order = leaves(tree)
    position = sorted(range(len(order)), key=order.__getitem__)
    return sorted((tuple(labels[k] for k in position), count) for labels, count in _labelled(tree, n))


def count_labellings(tree: Tree, n: int) -> int:
    """How many there are in :func:`labellings`, without listing them."""
    if isinstance(tree, int):
        return n
    if not tree.free:
        return prod(count_labellings(child, n) for child in tree.children)
    return comb(count_labellings(tree.children[0], n) + len(tree.children) - 1, len(tree.children))


def _labelled(tree: Tree, n: int) -> list[tuple[tuple[int, ...], int]]:
    """Labels in the order of the leaves; the smallest of all that are exchanged."""
    if isinstance(tree, int):
        return [((k,), 1) for k in range(n)]
    if not tree.free:
        parts = product(*(_labelled(child, n) for child in tree.children))
        return [(tuple(chain(*(x for x, _ in part))), prod(c for _, c in part)) for part in parts]
    found = []
    for part in combinations_with_replacement(sorted(_labelled(tree.children[0], n)), len(tree.children)):
        turns = factorial(len(part)) // prod(map(factorial, Counter(x for x, _ in part).values()))
        found.append((tuple(chain(*(x for x, _ in part))), turns * prod(c for _, c in part)))
    return found


def blocks(tree: Tree) -> list[tuple[int, ...]]:
    """Legs in groups that may be permuted at will, in the order of the tree."""
    if isinstance(tree, int):
        return [(tree,)]
    if tree.free and all(isinstance(child, int) for child in tree.children):
        return [tuple(leaves(tree))]
    return [block for child in tree.children for block in blocks(child)]


def swaps(tree: Tree) -> Iterator[tuple[int, ...]]:
    """Generators of the exchanges of whole blocks: each a permutation of block numbers."""
    total = len(blocks(tree))

    def visit(node: Tree, first: int) -> Iterator[tuple[int, ...]]:
        if isinstance(node, int) or len(blocks(node)) == 1:
            return
        at = first
        for k, child in enumerate(node.children):
            size = len(blocks(child))
            yield from visit(child, at)
            if (
                node.free and size and k + 1 < len(node.children)
            ):  # children without legs have nothing to exchange
                order = list(range(total))
                order[at : at + size], order[at + size : at + 2 * size] = (
                    order[at + size : at + 2 * size],
                    order[at : at + size],
                )
                yield tuple(order)
            at += size

    yield from visit(tree, 0)


def exchanges(tree: Tree) -> Iterator[tuple[int, ...]]:
    """Generators of the whole group, as permutations of legs.

    Example:
        >>> list(exchanges(free(3)))
        [(1, 0, 2), (0, 2, 1)]
    """
    parts = blocks(tree)
    n = sum(map(len, parts))
    for block in parts:
        for a, b in pairwise(block):
            order = list(range(n))
            order[a], order[b] = b, a
            yield tuple(order)
    for swap in swaps(tree):
        order = list(range(n))
        for here, there in enumerate(swap):
            for a, b in zip(parts[here], parts[there], strict=True):
                order[a] = b
        yield tuple(order)


def _key(node: Tree, inner: Sequence[tuple[object, Tree]]) -> object:
    if isinstance(node, int):
        return inner[node][0]
    return (node.free, tuple(_key(child, inner) for child in node.children))
