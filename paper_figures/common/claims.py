"""What a figure claims, the published number, and what was measured here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Claim", "Rows", "into_readme", "rows", "table"]

Rows = list[tuple[str, str, str, str]]


@dataclass(frozen=True)
class Claim:
    """A number that a figure shows.

    Args:
        what: in words.
        key: its name among the facts of a cache.
        published: what the paper has, as text.
        holds: what is expected of the measured number, if anything.
        expected: the same in words.
        form: how to write it.
    """

    what: str
    key: str
    published: str = "–"
    holds: Callable[[Any], bool] | None = None
    expected: str = ""
    form: str = "{:.3f}"

    def text(self, facts: Mapping[str, Any], judged: bool = True) -> str:
        """The measured number, with a mark where it is not as expected."""
        if self.key not in facts:
            return "–"
        value = facts[self.key]
        shown = value if isinstance(value, str) else self.form.format(value)
        return f"{shown} (not as expected)" if judged and self.holds and not self.holds(value) else shown


def rows(claims: Sequence[Claim], measured: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """One row per claim: what, published, expected, then one column per size."""
    return [
        [
            c.what,
            c.published,
            c.expected or "–",
            *(c.text(facts, size == "full") for size, facts in measured.items()),
        ]
        for c in claims
        if any(c.key in facts for facts in measured.values())
    ]


def table(claims: Sequence[Claim], measured: Mapping[str, Mapping[str, Any]]) -> str:
    """The same in Markdown."""
    head = ["", "published", "expected at full size", *measured]
    lines = [head, ["---"] * len(head), *rows(claims, measured)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def into_readme(path: Path, text: str) -> None:
    """Replace the table between the two marks of a README."""
    start, end = "<!-- measured -->", "<!-- /measured -->"
    content = path.read_text("utf-8")
    before, rest = content.split(start)
    path.write_text(f"{before}{start}\n{text}\n{end}{rest.split(end)[1]}", "utf-8")
