"""The examples of the pages run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gates

PAGES = sorted((Path(gates.__path__[0]).parent / "docs" / "recovery").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page):
    """Every Python block of a page, one after the other in one namespace."""
    room: dict[str, object] = {"__name__": page.stem}
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    assert blocks or page.stem in ("README", "comparison", "mutation", "properties")
    for block in blocks:
        exec(compile(block, str(page), "exec"), room)
