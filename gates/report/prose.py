"""Text that somebody else wrote, made safe for HTML, Markdown and XML.

Whatever comes out of a target, a test's name or a summary is text: it can't open an element, run a script, load an image,
hide behind control characters or turn the reading direction.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufddf\ufffe\uffff]"
)
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_MARKUP = re.compile(r"([\\`*_\[\]|~$])")
_BLOCK = re.compile(r"^(?:(\d{1,9})(?=[.)](?:\s|$))|(?=[#+=-]))")
_LINK = re.compile(r"(?i)(?:https?:|mailto:)")


def clean(text: str) -> str:
    """*text* without terminal escapes and without control, direction and surrogate characters."""
    if text.isascii() and text.isprintable():
        return text
    return _UNPRINTABLE.sub("", _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n"))


def text(value: object) -> str:
    """*value* as text of an HTML element or of a quoted attribute."""
    return html.escape(clean(str(value)))


def markdown_text(value: object) -> str:
    """*value* as literal text in one line of Markdown, also in the cell of a table."""
    escaped = _MARKUP.sub(r"\\\1", " ".join(clean(str(value)).split()))
    return _BLOCK.sub(r"\1\\", escaped).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(value: object) -> str:
    """*value* as a code span in one line of Markdown, also in the cell of a table."""
    content = " ".join(clean(str(value)).split())
    if "|" in content:  # would end a cell, and a span has no escape that every reader understands
        return markdown_text(content)
    longest = max((len(run) for run in re.findall("`+", content)), default=0)
    fence = "`" * (longest + 1)
    space = " " if content.startswith("`") or content.endswith("`") else ""
    return f"{fence}{space}{content}{space}{fence}" if content else ""


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).disable(["image", "heading", "lheading", "html_block", "html_inline"])
    parser.validateLink = lambda url: bool(_LINK.match(url.strip()))  # type: ignore[method-assign]
    return parser


def to_html(markdown: str) -> str:
    """*markdown* as HTML: no raw HTML, no images, no headings, links to the web only."""
    rendered: str = _parser().render(clean(markdown)) if markdown.strip() else ""
    return rendered.replace("<a href=", '<a rel="noopener noreferrer" href=')


def to_inline(markdown: str) -> str:
    """*markdown* written anew as one line of Markdown that holds text, emphasis, code and links only."""
    parts: list[str] = []
    for token in _parser().parse(clean(markdown)):
        if token.type == "inline":
            parts.append("".join(_spans(token.children or ())))
        elif token.type in ("fence", "code_block"):
            parts.append(code(token.content))
    return " ".join(part for part in parts if part)


def _spans(tokens: Sequence[Token]) -> list[str]:
    spans, targets = [], []
    for token in tokens:
        if token.type == "link_open":
            targets.append(str(token.attrGet("href")))
            spans.append("[")
        elif token.type == "link_close":
            spans.append(f"](<{targets.pop()}>)")
        else:
            spans.append(_SPANS[token.type](token.content) if token.type in _SPANS else "")
    return spans


def _padded(content: str) -> str:
    inner = markdown_text(content)
    if not inner:
        return " " if content else ""
    return (" " if content[0].isspace() else "") + inner + (" " if content[-1].isspace() else "")


_SPANS: dict[str, Callable[[str], str]] = {
    "text": _padded,
    "code_inline": code,
    "softbreak": lambda _: " ",
    "hardbreak": lambda _: " ",
    "strong_open": lambda _: "**",
    "strong_close": lambda _: "**",
    "em_open": lambda _: "*",
    "em_close": lambda _: "*",
}
