"""Caches: listed, cleared, shared by threads."""

import ast
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import tnsim
from tnsim.common import caches
from tnsim.nn import BilinearMLP

PACKAGE = Path(tnsim.__file__).parent


def pair():
    torch.manual_seed(0)
    return [tnsim.convert(BilinearMLP(3, 4, 4, 2, n_layer=2).double()) for _ in range(2)]


def asked(a, b):
    return [float(tnsim.similarity(a, b, method=method)) for method in ("exact", "layerwise")]


def test_answers_are_the_same_after_clearing():
    """The last bit may be another, where another path was known."""
    a, b = pair()
    before = asked(a, b)
    tnsim.clear_cache()
    assert asked(a, b) == pytest.approx(before, rel=1e-12)


def test_everything_that_is_kept_is_emptied():
    kept = caches.cached(4)(lambda x: [x])
    first = kept(1)
    assert kept(1) is first
    tnsim.clear_cache()
    assert kept(1) is not first
    caches._CLEAR.remove(kept.cache_clear)


def test_threads_ask_while_others_clear():
    a, b = pair()
    want = asked(a, b)

    def work(k):
        found = []
        for _ in range(3):
            if k % 2:
                tnsim.clear_cache()
            found.append(asked(a, b))
        return found

    with ThreadPoolExecutor(8) as pool:
        for rows in pool.map(work, range(8)):
            assert all(row == pytest.approx(want, rel=1e-12) for row in rows)


WRITTEN_ONCE = {"_SAID", "_MAKERS", "_RANKERS", "_VIEWS", "_CLEAR"}
"""Whoever draws, makes modules or clears; folders of which something was said: none of these grows with questions."""


def test_nothing_is_kept_beside_the_list():
    """``lru_cache`` and ``cache`` on functions of a module are found nowhere else; what is filled later is cleared."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and path.name != "caches.py":
                names = [ast.unparse(d).partition("(")[0].rpartition(".")[2] for d in node.decorator_list]
                assert not {"cache", "lru_cache"} & set(names), f"{path.name}: {node.name} is not cleared"
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                target = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
                empty = ast.unparse(node.value).rpartition(".")[2]
                if empty in ("{}", "[]", "set()", "dict()", "OrderedDict()", "WeakValueDictionary()"):
                    known = f"cleared_by({target}.clear)" in text or target in WRITTEN_ONCE
                    assert known or target == "__all__", f"{path.name}: {target} is not cleared"
