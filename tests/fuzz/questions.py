"""Every question by name, and which public functions of tnsim each one asks."""

import ast
import inspect
import sys

from fuzz.compare import COMPARE
from fuzz.explain import EXPLAIN
from fuzz.form import FORM
from fuzz.layerwise import LAYERWISE
from fuzz.parts import PARTS
from fuzz.slopes import SLOPES
from fuzz.truncated import TRUNCATED
from fuzz.weights import WEIGHTS

__all__ = ["QUESTIONS", "asked_by"]

QUESTIONS = {**COMPARE, **LAYERWISE, **EXPLAIN, **PARTS, **TRUNCATED, **WEIGHTS, **SLOPES, **FORM}


def asked_by(question):
    """Names of tnsim that the code of a question mentions, in helpers of its file as well."""
    module = sys.modules[question.__module__]
    found, ahead, seen = set(), [question], set()
    while ahead:
        f = ahead.pop()
        if f in seen:
            continue
        seen.add(f)
        for node in ast.walk(ast.parse(inspect.getsource(f))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "tnsim"
            ):
                found.add(node.attr)
            if isinstance(node, ast.Name) and inspect.isfunction(g := getattr(module, node.id, None)):
                ahead.append(g)
    return found
