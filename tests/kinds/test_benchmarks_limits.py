"""What the plan of the kind `benchmarks` refuses, at its line, before anything is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from one_gate import planned

from gates.kinds.benchmarks import BenchmarksKind
from gates.spec import SpecErrors

USUAL = {"below": "5 %", "fail_above": "2 %"}


def plan(root: Path, limits: Any, **settings: Any) -> None:
    (root / "suite").mkdir()
    given = {"suite": "suite", "against": "merge-base", **settings}
    planned(BenchmarksKind(), root, given, {"slowdown/*": limits})


@pytest.mark.parametrize("pairs", ["12+11", "11+30", "10+10", "5+30", "12+0"])
def test_a_stage_of_fewer_pairs_than_twelve_is_refused(tmp_path: Path, pairs: str) -> None:
    """Either stage: such a one could decide nothing."""
    with pytest.raises(SpecErrors, match="at least 12 pairs"):
        plan(tmp_path, USUAL, pairs=pairs)


@pytest.mark.parametrize(
    "limits",
    [
        {"below": "0 %"},
        {"below": "-5 %"},
        {"below": "2 %", "fail_above": "5 %"},
        {"below": "5 %", "fail_above": "-1 %"},
        {"above": "5 %"},
        {"at_least": "5 %"},
    ],
    ids=str,
)
def test_limits_that_no_comparison_can_be_planned_for_are_refused(tmp_path: Path, limits: dict[str, str]) -> None:
    """They would end the gate in the middle, or ask for a slowdown."""
    with pytest.raises(SpecErrors, match="slowdown"):
        plan(tmp_path, limits)
