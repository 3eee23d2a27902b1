"""The examples of the pages run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import gates

PAGES = sorted((Path(gates.__path__[0]).parent / "docs" / "recovery").glob("*.md"))


def examples(page):
    """The Python blocks of *page*."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page):
    """Every Python block of a page by itself: a reader copies one of them, not all that are above it."""
    blocks = examples(page)
    assert blocks or page.stem in ("comparison", "mutation", "properties", "runs")
    for block in blocks:
        exec(compile(block, str(page), "exec"), {"__name__": page.stem})


@pytest.mark.end_to_end
def test_the_examples_hold_under_mypy_strict(tmp_path):
    """A reader who checks types copies no error: every block is clean under mypy --strict."""
    pytest.importorskip("mypy")
    for page in PAGES:
        for number, block in enumerate(examples(page)):
            (tmp_path / f"example_{page.stem}_{number}.py").write_text(block, "utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path / 'cache'}", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PAGES[0].parents[2])
    assert done.returncode == 0, done.stdout
