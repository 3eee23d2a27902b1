"""What is wrong with a file that a person wrote: every problem with its place, all of them in one error."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gates.errors import BadFileError

COMMAND_LINE = "--set"
MOST_SHOWN = 50
_UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        file: the file as the user knows it, or `--set` for an override.
        line: counted from 1; 0 when the problem is the whole file's.
        column: counted from 1; 0 when the problem is the whole file's.
        path: the dotted path of the value (`gates.unit.kind`); empty for the whole file.
        message: what is wrong, with what was got and what was expected.
        hint: what to do next; empty when there is nothing to add.
        source: the line of the file that the problem is on, for the excerpt with a caret.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    source: str = ""

    @property
    def location(self) -> str:
        """`file:line:column`, or the file alone where there is no line."""
        return f"{self.file}:{self.line}:{self.column}" if self.line and self.file != COMMAND_LINE else self.file

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.location, self.path, self.message) if part)
        excerpt = _excerpt(self.source, self.line, self.column) if self.line and self.source.strip() else []
        return "\n".join([_printable(head), *excerpt, *([f"  {_printable(self.hint)}"] if self.hint else [])])


class SpecErrors(BadFileError):
    """Everything that is wrong with a spec and the files that it names; its text is for people."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(dict.fromkeys(problems), key=lambda problem: (problem.file, problem.line, problem.column)))
        first = self.problems[0]
        super().__init__(first.message, location=first.location, hint=first.hint)

    def __str__(self) -> str:
        blocks = [str(problem) for problem in self.problems[:MOST_SHOWN]]
        more = len(self.problems) - len(blocks)
        rest = [f"and {more} more"] if more else []
        return blocks[0] if len(self.problems) == 1 else "\n".join([f"{len(self.problems)} problems", *blocks, *rest])


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the closest of *known*, or else lists them when they are few; empty when nothing helps."""
    names = sorted(set(known))
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}" if 0 < len(names) <= 40 else ""


def got(value: Any) -> str:
    """`(got ...)` for a message, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str):
        text = repr(value)
    return f"(got {text if len(text) <= 60 else text[:57] + '...'})"


def dotted(path: Iterable[str | int]) -> str:
    """A path as people write it: `gates.unit.needs.0`."""
    return ".".join(str(step) for step in path)


def _excerpt(source: str, line: int, column: int) -> list[str]:
    margin, width = f"  {line} | ", 120
    start = max(0, column - width // 2) if len(source) > width else 0
    shown = source[start : start + width].replace("\t", " ")
    return [margin + _printable(shown), " " * (len(margin) - 2) + "| " + " " * (column - 1 - start) + "^"]


def _printable(text: str) -> str:
    """*text* of the same length without what would steer a terminal or can't be encoded."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
