"""Every question by name, and which public functions of tnsim each one asks."""

from fuzz.compare import COMPARE
from fuzz.explain import EXPLAIN
from fuzz.form import FORM

__all__ = ["QUESTIONS"]

QUESTIONS = {**COMPARE, **EXPLAIN, **FORM}
