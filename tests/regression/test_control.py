"""The control: when the same code differs from itself, nothing else is to be believed."""

from __future__ import annotations

import numpy as np
import pytest

from gates.regression import control
from gates.regression.values import Pair


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
