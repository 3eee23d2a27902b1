"""How a comparison goes through a stage 2 that its noise has made long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gates.regression import stages
from gates.regression.comparison import Course, Limits, Wishes
from gates.regression.pairs import Rounds
from gates.regression.processes import Side, Suite
from gates.regression.values import Design, Pair, Tolerance

TRUE = {"same": 0.0, "slow": 0.08, "quiet": 0.0}
SPREAD = {"same": 0.08, "slow": 0.08, "quiet": 0.001}


def pairs(count: int, names: list[str], seed: int, spread: dict[str, float]) -> list[Pair]:
    generator = np.random.default_rng(seed)
    drawn = {name: np.log1p(TRUE[name]) + generator.normal(0, spread[name], count) for name in names}
    return [Pair(at, at, "base", {name: (float(each[at]),) * 8 for name, each in drawn.items()}) for at in range(count)]


def test_only_those_go_on_that_do_not_surely_pass_after_thirty_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty fresh pairs for both that were open, thirty more for the slow one; what each says rests on its own."""
    asked: list[tuple[int, list[str]]] = []

    def measure(course: Course, count: int, stage: str, wanted: Callable[[str], bool]) -> list[Pair]:
        names = [name for name in TRUE if wanted(name)]
        asked.append((count, names))
        return pairs(count, names, len(asked) + 1, dict.fromkeys(TRUE, 0.01))

    monkeypatch.setattr(Course, "_measure", measure)
    sides = Side("base", tmp_path, "python"), Side("candidate", tmp_path, "python")
    limits = Limits({}, Tolerance())
    course = Course(Suite(("benchmarks",)), sides, Design(), limits, 1, Wishes(), Rounds(), tmp_path, lambda text: None)
    stage = stages.first(pairs(12, list(TRUE), 3, SPREAD), Design())
    final = stages.second(course._second(stage), stage)
    assert asked == [(30, ["same", "slow"]), (30, ["slow"])]
    assert {name: (each.stage, each.pairs) for name, each in final.items()} == {
        "same": (2, 30),
        "slow": (2, 60),
        "quiet": (1, 12),
    }
