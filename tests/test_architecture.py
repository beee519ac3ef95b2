"""The plan of the house, enforced: who imports whom, and what importing does."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import tnsim

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tnsim"
FILES = sorted(PACKAGE.rglob("*.py"))

# A room may import the rooms named here with all that is in them, rooms within its own that stand before it, and itself.
ROOMS = {
    "common": set(),
    "engine": {"common"},
    "algebra": {"engine", "common"},
    "measure": {"algebra", "engine", "common"},
    "sampling": {"measure", "algebra", "engine", "common"},
    "disk": {"algebra", "engine", "common"},
    "nn": {"disk"},
    "convert": {"sampling", "measure", "algebra", "engine", "common", "nn"},
    "analysis": {"sampling", "measure", "algebra", "engine", "common", "convert", "disk"},
    "view": {"analysis", "sampling", "measure", "algebra", "engine", "common"},
    "lab": {"nn", "disk", "common"},
}
WITHIN = {  # rooms within a room, in order: each may import those before it
    "algebra": ["terms", "polys", "networks"],
    "measure": ["pairings", "chaos", "attention/links", "attention/programs", "attention/products", "laws"],
    "convert": ["module", "record", "values", "operations", "tokens", "powers", "layers"],
    "analysis": ["tracing", "asking", "compare", "grams", "bonds", "explain", "change"],
}
MOST = 12  # files of a room, besides what it offers
ONLY = {  # a library, and where it may be imported
    "matplotlib": {"view"},
    "cotengra": {"engine/contract.py"},
    "tensorly": {"analysis/explain/decompositions.py"},
    "torch": {
        "disk",
        "nn",
        "lab",
        "convert",
        "sampling",
        "analysis",
        "measure/attention/programs/workspaces.py",
    },
    "sklearn": {"lab"},
}
LONGEST = 400
LATER = [  # libraries that are loaded when something is first asked for
    "torch",
    "quimb",
    "cotengra",
    "autoray",
    "numpy",
    "scipy",
    "networkx",
    "safetensors",
    "tqdm",
    "rich",
    "typer",
    "matplotlib",
    "sklearn",
    "tensorly",
    "pandas",
]


def imports(path):
    """Every module a file imports, function bodies and all, with the node that does it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module, node
            if node.module == "tnsim":
                yield from ((f"tnsim.{alias.name}", node) for alias in node.names)


def inside(path):
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=inside)
def test_rooms_import_one_way(path):
    room = inside(path).split("/")[0]
    for module, _ in imports(path):
        parts = module.split(".")
        if parts[0] == "tnsim" and room in ROOMS and len(parts) > 1:
            assert parts[1] in ROOMS[room] | {room}, f"{inside(path)} may not import {module}"
        for library, places in ONLY.items():
            if parts[0] == library and room in ROOMS:
                assert {room, inside(path)} & places, f"{inside(path)} may not import {module}"


def within(module):
    """The room of a module, and the number of the room within it; ``None`` for what the room itself offers."""
    room, _, rest = module.partition("/")
    return room, next((k for k, name in enumerate(WITHIN.get(room, [])) if rest.startswith(f"{name}/")), None)


@pytest.mark.parametrize("path", [f for f in FILES if f.name != "__init__.py"], ids=inside)
def test_rooms_within_a_room_import_one_way(path):
    room, number = within(inside(path))
    if room not in WITHIN:
        return
    assert number is not None, f"{inside(path)} stands in no room within {room}"
    for module, _ in imports(path):
        other, before = within(module.removeprefix("tnsim.").replace(".", "/") + "/")
        if module.startswith("tnsim.") and other == room:
            assert before is not None and before <= number, f"{inside(path)} may not import {module}"


def test_rooms_are_small():
    for folder in {p.parent for p in FILES}:
        files = [p for p in folder.glob("*.py") if p.name != "__init__.py"]
        assert len(files) <= MOST or folder.name == "view", f"{inside(folder)} has {len(files)} files"


def test_names_tell_modules_apart():
    """No two modules of one name in the rooms of an inner product, and none that what it offers hides."""
    rooms = ("common", "engine", "algebra", "measure", "convert", "analysis")
    files = [p for p in FILES if inside(p).startswith(rooms) and p.name != "__init__.py"]
    names = [p.stem for p in files]
    assert len(set(names)) == len(names), sorted({n for n in names if names.count(n) > 1})
    for path in files:
        offered = next(
            ast.literal_eval(node.value)
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        )
        assert path.stem not in offered, f"{inside(path)} is hidden by what it offers"


def test_names_tell_classes_apart():
    where = [
        (node.name, inside(path))
        for path in FILES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    names = [name for name, _ in where]
    assert len(set(names)) == len(names), sorted(w for w in where if names.count(w[0]) > 1)


@pytest.mark.parametrize("path", FILES, ids=inside)
def test_nothing_is_imported_inside_a_function(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not inner, f"{inside(path)}:{inner[0].lineno}"


@pytest.mark.parametrize("path", FILES, ids=inside)
def test_files_hold_one_idea_and_say_what_they_offer(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{inside(path)} has no docstring"
    names = [
        node.targets[0].id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    ]
    assert "__all__" in names or path.name == "__main__.py", f"{inside(path)} has no __all__"


def test_modules_within_a_room_have_no_cycles():
    graph = {}
    for path in FILES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if not name.endswith("__init__"):
            graph[name] = {m for m, _ in imports(path) if m.startswith("tnsim.")}
    done, active = set(), []

    def visit(name):
        if name in done or name not in graph:
            return
        assert name not in active, f"import cycle: {' → '.join([*active, name])}"
        active.append(name)
        for other in graph[name]:
            visit(other)
        done.add(active.pop())

    for name in graph:
        visit(name)


def test_pickles_are_never_trusted():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(
                    k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords
                ), f"{inside(path)}:{node.lineno}"
            if isinstance(node, ast.Import):
                assert not {a.name for a in node.names} & {"pickle", "dill", "joblib", "cloudpickle"}, inside(
                    path
                )


def test_importing_is_free_of_side_effects(tmp_path):
    script = """
import sys, os
opened = []
def hook(event, args):
    if event == "open" and isinstance(args[1], str) and any(c in args[1] for c in "wax+"):
        if "site-packages" not in str(args[0]):  # numba probes whether its own cache is writable
            opened.append(args[0])
sys.addaudithook(hook)
import tnsim
assert not opened, f"files opened for writing: {opened}"
libraries = {name.partition(".")[0] for name in sys.modules}
assert not libraries & set(sys.argv[1:]), libraries & set(sys.argv[1:])
assert dir(tnsim) == sorted(tnsim.__all__)
assert not {name.partition(".")[0] for name in sys.modules} & set(sys.argv[1:]), "by looking at it"
assert not os.listdir("."), "files were written"
for name in tnsim.__all__:
    getattr(tnsim, name)
assert "matplotlib" in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error::DeprecationWarning:tnsim", "-c", script, *LATER],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_names_are_those_of_the_rooms_that_type_checkers_see():
    """What is loaded when it is first asked for is what the imports for type checkers say; and none is forgotten."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    shown = next(node for node in tree.body if isinstance(node, ast.If))
    named = {"tnsim": set()}
    for node in shown.body:
        named.setdefault(node.module, set()).update(alias.name for alias in node.names)
    rooms = named.pop("tnsim")
    for module, names in named.items():
        for name in names:
            assert getattr(tnsim, name) is getattr(importlib.import_module(module), name), name
    assert set().union(rooms, *named.values()) == set(tnsim.__all__)
    importlib.import_module("tnsim.convert.layers")
    assert inspect.isfunction(tnsim.convert)  # and not the room of that name
    assert not hasattr(tnsim, "no_such_name") and not hasattr(tnsim, "register")


def test_every_public_name_is_documented():
    script = (
        "import tnsim; missing = [n for n in tnsim.__all__ if not (getattr(tnsim, n).__doc__ or '').strip()];"
        "assert not missing, missing"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
