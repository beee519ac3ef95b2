"""Make the notebooks of examples from their scripts, and run them.

A notebook holds the script's cells and nothing else: the docstring is its title, what stands before the first ``# %%`` its
first cell, and the line behind every ``# %%`` a text of its own; comments below ``# %% [markdown]`` are a longer one.
Statements about ``OUT``, the folder for pictures, are for scripts: a notebook shows its pictures. Imports that nothing
needs then go with them.

Usage: python examples/notebooks.py [names of scripts; by default all that have a notebook]
"""

import ast
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
SCRIPTS = (
    "00_from_zero",
    "01_first_similarity",
    "02_your_own_module",
    "03_training_run",
    "04_what_changed",
    "10_a_folder_of_checkpoints",
    "11_one_class_relabelled",
)
MARK = re.compile(r"^# %% ?(.*)\n", re.MULTILINE)
USAGE = re.compile(r"^Usage:", re.MULTILINE)


def cells(script):
    """Kind and text of every cell of a script in the percent format."""
    tree = ast.parse(script)
    title, _, text = ast.get_docstring(tree).partition("\n")
    yield "markdown", f"# {title.rstrip('.')}\n\n{USAGE.split(text)[0].strip()}".rstrip()
    first, *parts = MARK.split(without(script, superfluous(tree)))
    for heading, body in zip(["", *parts[::2]], [first, *parts[1::2]], strict=True):
        if heading == "[markdown]":
            yield "markdown", re.sub(r"^# ?", "", body.strip(), flags=re.MULTILINE)
        elif body.strip():
            if heading:
                yield "markdown", heading
            yield "code", re.sub(r"\n{4,}", "\n\n\n", body.strip())


def superfluous(tree):
    """Statements that a notebook does without: the docstring, what is about the folder for pictures, unused imports."""
    docstring, *rest = tree.body
    rest = {node: {x.id for x in ast.walk(node) if isinstance(x, ast.Name)} for node in rest}
    kept = {node: names for node, names in rest.items() if "OUT" not in names}
    used = set().union(*kept.values())
    return [docstring, *(node for node in rest if node not in kept or not brings(node, used))]


def brings(node, used):
    """Whether a statement is no import, or one of something that is used."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return True
    return bool({(alias.asname or alias.name).split(".")[0] for alias in node.names} & used)


def without(script, nodes):
    """A script without the lines of some statements."""
    gone = {n for node in nodes for n in range(node.lineno, node.end_lineno + 1)}
    return "".join(line for n, line in enumerate(script.splitlines(keepends=True), start=1) if n not in gone)


def notebook(script):
    """The notebook of a script, before it is run."""
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    made = [make[kind](text, id=f"cell-{k}") for k, (kind, text) in enumerate(cells(script))]
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=made, metadata=about)


def run(made, folder, **options):
    """Run a notebook in a kernel of its own; nothing of when and by which version remains, nor of bars."""
    about = dict(made.metadata)
    client = NotebookClient(
        made, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(**options)
    for cell in made.cells:
        cell.metadata.clear()
        if "outputs" in cell:
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    made.metadata.clear()
    made.metadata.update(about)
    return made


def main(names):
    for name in names or SCRIPTS:
        script = HERE / f"{Path(name).stem}.py"
        nbformat.write(run(notebook(script.read_text("utf-8")), HERE), script.with_suffix(".ipynb"))
        print(script.with_suffix(".ipynb").name)


if __name__ == "__main__":
    main(sys.argv[1:])
