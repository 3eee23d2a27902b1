"""Text that somebody else wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gates.report import prose


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("bell\x07 and nul\x00", "bell and nul"),
        ("\u202egnp.exe", "gnp.exe"),
        ("one\r\ntwo", "one\ntwo"),
        ("half of a \ud83d pair", "half of a  pair"),
    ],
)
def test_control_characters_do_not_reach_a_reader(written: str, seen: str) -> None:
    """Terminal escapes, control, direction and surrogate characters are gone; the words stay."""
    assert prose.clean(written) == seen


def test_raw_html_in_markdown_is_shown_and_not_obeyed() -> None:
    """A summary can't open an element."""
    assert "<script" not in prose.to_html("<script>alert(1)</script> and **bold**")
    assert "<strong>bold</strong>" in prose.to_html("<script>alert(1)</script> and **bold**")


@pytest.mark.parametrize("target", ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", " JaVaScRiPt:alert(1)"])
def test_a_link_leads_to_the_web_or_nowhere(target: str) -> None:
    """Only http, https and mailto make a link."""
    assert "<a " not in prose.to_html(f"[click](<{target}>)")
    assert "](" not in prose.to_inline(f"[click](<{target}>)").replace("\\]", "")


def test_a_link_to_the_web_stays() -> None:
    """An issue's address can be clicked, and tells its host nothing of where it was clicked."""
    assert '<a rel="noopener noreferrer" href="https://example.org/1">' in prose.to_html("[issue](https://example.org/1)")
    assert prose.to_inline("see [issue](https://example.org/1)") == "see [issue](<https://example.org/1>)"


def test_an_image_is_never_loaded() -> None:
    """The page makes no request, so an image is not one."""
    assert "<img" not in prose.to_html("![alt](https://example.org/x.png)")


def test_headings_in_a_summary_do_not_disturb_the_order_of_headings() -> None:
    """A summary is a paragraph, whatever it starts with."""
    assert "<h1" not in prose.to_html("# Big")
    assert prose.to_inline("# Big").startswith("\\#")


@given(st.text())
def test_literal_text_reads_the_same_after_markdown(written: str) -> None:
    """What goes into Markdown as text comes out of a Markdown renderer as that text."""
    import html
    import re

    shown = MarkdownIt("commonmark").render("x " + prose.markdown_text(written))
    plain = html.unescape(re.sub(r"<[^>]*>", "", shown)).split()
    assert plain == ["x", *prose.clean(written).split()]


@given(st.text())
def test_code_spans_hold_any_text(written: str) -> None:
    """Backticks inside a name don't end the span early."""
    rendered = MarkdownIt("commonmark").render("x " + prose.code(written.replace("|", "")))
    assert rendered.count("<code>") == (1 if prose.clean(written.replace("|", "")).split() else 0)
