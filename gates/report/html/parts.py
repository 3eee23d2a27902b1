"""Small pieces of markup that several parts of the page share."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gates.model import Finding, Outcome
from gates.report import reading
from gates.report.prose import text, to_html

_PUNCTUATION = re.compile(r"([./@:_](?=\w))")


def sign(outcome: Outcome, words: str = "") -> str:
    """An outcome as a sign and a word, so that colour is not needed."""
    return f'<span class="{outcome.value}"><span class="sign" aria-hidden="true">{reading.SIGNS[outcome]}</span> ' + (
        f"{text(words or reading.WORDS[outcome])}</span>"
    )


def breaking(name: str) -> str:
    """A criterion's id or another long name that may break after its punctuation, and only there."""
    return _PUNCTUATION.sub(r"\1<wbr>", text(name))


def bare_sign(outcome: Outcome) -> str:
    """An outcome as a sign only, with its word for those who hear the page."""
    word = f'<span class="hidden">{reading.WORDS[outcome]}</span>'
    return f'<span class="{outcome.value}"><span class="sign" aria-hidden="true">{reading.SIGNS[outcome]}</span>{word}</span>'


def scrolling(content: str, name: str) -> str:
    """Something wide that scrolls by itself, by keyboard too, so that the page doesn't."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{text(name)}">{content}</div>'


def head(columns: Sequence[str], numbers: frozenset[str] = frozenset()) -> str:
    """The head of a table; columns in *numbers* are set to the right."""
    cells = (f'<th scope="col"{_number(column in numbers)}>{text(column)}</th>' for column in columns)
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def _number(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def findings(found: Sequence[Finding]) -> str:
    """Findings as a list, or nothing."""
    return f'<ul class="findings">{"".join(_finding(one) for one in found)}</ul>' if found else ""


def _finding(found: Finding) -> str:
    where = f"<code>{text(found.location)}</code> " if found.location else ""
    hint = f'<div class="quiet">{to_html(found.hint)}</div>' if found.hint else ""
    return f'<li class="{found.level.value}"><strong>{found.level.value}</strong> {where}{text(found.message)}{hint}</li>'
