"""The control: when the same code differs from itself, nothing else is to be believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gates.model import Comparator, Comparison, Outcome
from gates.pipeline.judge import compare
from gates.regression import control, stages
from gates.regression.comparison import Course, Limits, Wishes
from gates.regression.pairs import Collected
from gates.regression.processes import Side, Suite
from gates.regression.session import Rounds
from gates.regression.values import Design, Pair, Tolerance


def pairs(bias: float, spread: float, count: int = 12) -> list[Pair]:
    """*count* pairs in which the control shows *bias*."""
    drawn = bias + np.random.default_rng(1).normal(0, spread, count)
    return [Pair(index, index, "base", {"control": (float(value),) * 8}) for index, value in enumerate(drawn)]


def test_the_same_code_that_takes_as_long_is_sound() -> None:
    """0 lies within its interval."""
    found = control.verdict(pairs(0.0, 0.01))
    assert (found.sound, found.away, found.pairs) == (True, 0.0, 12)


@pytest.mark.parametrize("bias", [0.03, -0.03])
def test_the_same_code_that_takes_longer_on_one_side_is_told(bias: float) -> None:
    """Whichever side it is: the machine favours one, and the sentence says how much."""
    found = control.verdict(pairs(bias, 0.005))
    assert found.away > control.SLACK
    assert not found.sound
    assert "same code on both sides" in found.reason


def test_a_bias_too_small_to_turn_a_verdict_is_let_pass() -> None:
    """0.2 %, as sure as can be: a tenth of the smallest margin."""
    found = control.verdict(pairs(0.002, 0.0001))
    assert found.estimate is not None
    assert found.estimate.low > 0
    assert found.sound


def test_no_control_is_no_sound_control() -> None:
    """No data is never a pass: without the control in twelve pairs the comparison is not to be believed."""
    for found in (control.verdict([]), control.verdict(pairs(0.0, 0.01, count=11))):
        assert not found.sound
        assert found.away == float("inf")
        assert "at least 12" in found.reason


@pytest.mark.parametrize(("bias", "said"), [(0.0, Outcome.FAIL), (0.03, Outcome.INCONCLUSIVE)])
def test_a_comparison_with_a_biased_control_fails_nobody(bias: float, said: Outcome, tmp_path: Path) -> None:
    """20 % slower fails beside a sound control; beside one that moved, nothing is decided, whatever was measured."""
    values = 0.2 + np.random.default_rng(2).normal(0, 0.01, 42)
    measured = [
        replace(pair, logs={**pair.logs, "slow": (float(value),) * 8})
        for pair, value in zip(pairs(bias, 0.005, count=42), values, strict=True)
    ]
    stage = stages.first(measured[:12], Design())
    sides = Side("base", tmp_path, "python"), Side("candidate", tmp_path, "python")
    limits = Limits({}, Tolerance())
    course = Course(Suite(("benchmarks",)), sides, Design(), limits, 1, Wishes(), Rounds(), tmp_path, lambda text: None)
    course.pairs = measured
    course.runner.collected = {side.name: Collected() for side in sides}
    (estimate,) = course._finished(stage.design, stages.second(measured[12:], stage), {}).estimates
    limit = Comparison(Comparator.BELOW, 0.05, fail_beyond=0.02)
    assert compare(limit, estimate.low, estimate.high) is said
