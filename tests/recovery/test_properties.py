"""The page of the 33 properties names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import gates

ROOT = Path(gates.__path__[0]).parent


def test_every_property_names_tests_that_exist():
    """33 rows in order, each with at least one test of this folder."""
    page = (ROOT / "docs" / "recovery" / "properties.md").read_text("utf-8")
    there = {
        name for file in Path(__file__).parent.glob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", page, re.M)
    assert [int(number) for number, _, _ in rows] == list(range(1, 34))
    for number, _, cell in rows:
        named = re.findall(r"`(test_\w+)`", cell)
        assert named, number
        assert set(named) <= there, number


def test_the_three_defects_of_the_original_have_a_test_each():
    """Deadlock, cumulative count, unlimited half-open: their tests say so in their first words."""
    text = (ROOT / "tests" / "recovery" / "test_breaker.py").read_text("utf-8")
    assert len(re.findall(r'"""Defect of the original:', text)) == 3
