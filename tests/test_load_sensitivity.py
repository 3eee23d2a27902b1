"""The session `load_sensitivity`: which level is run next, and what is said of it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def loaded() -> Any:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("load_sensitivity", ROOT / "benchmarks" / "load_sensitivity.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the names of annotations
    spec.loader.exec_module(module)
    return module


sensitivity = loaded()
LATENCY, ERRORS = sensitivity.LATENCY, sensitivity.ERRORS
LIMITS = {LATENCY: 0.25, ERRORS: 0.01}
QUIET = {LATENCY: 0.0, ERRORS: 0.0}


def run(levels: dict[str, float], said: str = "fail", value: float = 0.3) -> Any:
    """A run in which each criterion said the same."""
    return sensitivity.Run("abc", levels, dict.fromkeys(LIMITS, said), dict.fromkeys(LIMITS, value))


def next_after(*runs: Any, times: int = 2) -> Any:
    """The levels that come next."""
    return sensitivity.wanted(runs, LIMITS, times)


def quiet() -> list[Any]:
    """The runs without a defect."""
    return [run(QUIET, "pass", 0.01)] * sensitivity.QUIET


def test_it_begins_without_a_defect_and_goes_on_with_the_smallest() -> None:
    """What is there before a shift is measured first."""
    assert next_after() == QUIET
    assert next_after(*quiet()) == {LATENCY: pytest.approx(0.25), ERRORS: pytest.approx(0.012)}


def test_a_level_that_was_missed_once_is_left_for_the_next_and_one_that_has_its_count_is_left_alone() -> None:
    """Missed is whatever is no failure; both criteria go their own way."""
    first = {LATENCY: 0.25, ERRORS: 0.012}
    missed = sensitivity.Run("abc", first, {LATENCY: "fail", ERRORS: "inconclusive"}, {LATENCY: 0.26, ERRORS: 0.012})
    second = {LATENCY: pytest.approx(0.25), ERRORS: pytest.approx(0.014)}
    assert next_after(*quiet(), missed) == second
    caught = run({LATENCY: 0.25, ERRORS: 0.014})
    assert next_after(*quiet(), missed, caught) == {LATENCY: 0.0, ERRORS: pytest.approx(0.014)}
    assert next_after(*quiet(), missed, caught, run({LATENCY: 0.0, ERRORS: 0.014})) is None


def test_a_run_that_measured_nothing_says_nothing_of_its_level() -> None:
    """It is neither caught nor missed."""
    broken = run({LATENCY: 0.25, ERRORS: 0.012}, "not measured")
    assert next_after(*quiet(), broken) == next_after(*quiet())


def test_the_table_shows_every_level_and_the_smallest_shift_that_was_always_caught() -> None:
    """With what was measured without it, and how often of how many."""
    levels = {LATENCY: 0.25, ERRORS: 0.012}
    table = sensitivity.render([*quiet(), run(levels, value=0.26), run(levels, value=0.26)], LIMITS, 2)
    assert "| `latency.p99@steady` | 250 ms | 10 ms | 5 % late by 250 ms | 260 ms | 2 of 2 |" in table
    assert "- `latency.p99@steady`: from 10 ms to 260 ms, 1.04 times the limit (medians)." in table
    assert "none yet" in sensitivity.render(quiet(), LIMITS, 2)


def test_the_table_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """What stands around it stays."""
    page = tmp_path / "load.md"
    page.write_text(f"before\n{sensitivity.BEGIN}\nold\n{sensitivity.END}\nafter\n")
    sensitivity.write(page, "new")
    assert page.read_text() == f"before\n{sensitivity.BEGIN}\nnew\n{sensitivity.END}\nafter\n"


def test_the_page_is_there_for_the_table() -> None:
    """docs/load.md has both marks."""
    page = (ROOT / "docs" / "load.md").read_text()
    assert page.index(sensitivity.BEGIN) < page.index(sensitivity.END)
