"""The knee: steps that hold, break, say nothing, or were the generator's own fault, by rows whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from gates.load.curve import Piece
from gates.load.failure import Failure
from gates.load.knee import KNEE, Knee, Objectives, check_knee, find_knee, only_until, steps
from gates.load.measure import measurements
from gates.load.outcome import Health, LoadOutcome
from gates.load.plan import LoadPlan
from gates.model import Comparator, Comparison, Criterion, Rule, TargetPlan, Unit

RATES = (50.0, 100.0, 200.0)
LIMITS = {"latency.p95": 0.5, "errors.ratio": 0.02}


def plan(rates: tuple[float, ...] = RATES, warmup: float = 1.0, seconds: float = 6.0) -> LoadPlan:
    """Steps of 6 s."""
    pieces = tuple(Piece(seconds, rate, rate) for rate in rates)
    whole = seconds * len(rates)
    mean = sum(rates) / len(rates)
    return LoadPlan("", "", mean, whole, warmup, 10, 5.0, {"a": 1}, {"a": {}}, shape="steps", pieces=pieces)


def outcome(latency: Mapping[float, float], *, late: Mapping[float, float] | None = None, errors: float = 0.0) -> LoadOutcome:
    """What `plan()` leaves when the arrivals of each rate take so long; *errors* is the share of the last rate's."""
    starts = [6.0 * index + np.arange(int(6 * rate)) / rate for index, rate in enumerate(RATES)]
    intended = np.concatenate(starts)
    of = np.concatenate([np.full(len(each), rate) for each, rate in zip(starts, RATES, strict=True)])
    lateness = np.array([(late or {}).get(rate, 0.001) for rate in of])
    completed = intended + np.array([latency[rate] for rate in of])
    failure = np.zeros(len(intended), dtype=np.int8)
    wrong = int(errors * 6 * RATES[-1])
    failure[len(failure) - wrong :] = Failure.STATUS
    small = np.zeros(len(intended), dtype=np.int16)
    return LoadOutcome(
        intended, intended + lateness, intended + lateness, completed, small, small, small + 200, failure,
        ("a",), ("main",), len(intended), float(completed.max()), Health(0.1, 0.0, 0.0, "timerfd"), "0" * 64,
    )  # fmt: skip


def knee(latency: Mapping[float, float], **more: Any) -> Knee:
    """The knee of `outcome`."""
    found = find_knee(plan(), outcome(latency, **more), LIMITS, seed=1)
    assert found is not None
    return found


def test_the_knee_lies_between_the_last_step_that_held_and_the_first_that_broke() -> None:
    """100/s held and 200/s did not: at least 100, and below 200."""
    found = knee({50: 0.01, 100: 0.02, 200: 0.9})
    assert (found.measurement.metric, found.measurement.value) == (KNEE, 100)
    interval = found.measurement.interval
    assert interval is not None
    assert interval.low == 100
    assert 199.9 < interval.high < 200
    assert found.text == "The knee lies between 100/s and 200/s: at 200/s latency.p95 was 900 ms."
    assert [row[-1] for row in found.table.rows] == ["held", "held", "broke"]
    assert [(each.text, each.start, each.end) for each in found.windows][1:] == [("100/s", 6.0, 12.0), ("200/s", 12.0, 18.0)]


def test_errors_break_a_step_as_latency_does() -> None:
    """One in ten of the last step."""
    found = knee(dict.fromkeys(RATES, 0.01), errors=0.1)
    assert found.broke
    assert "at 200/s errors.ratio was 10 %" in found.text


def test_where_no_step_broke_the_knee_is_at_least_the_highest() -> None:
    """And nothing is said of what lies beyond it."""
    found = knee(dict.fromkeys(RATES, 0.01))
    assert found.text == "The knee is at least 200/s: no step broke."
    assert (found.held, found.highest) == (200, 200)


def test_a_knee_below_the_first_step_is_below_it() -> None:
    """Nothing held: zero at least."""
    found = knee(dict.fromkeys(RATES, 0.9))
    assert found.text.startswith("The knee lies below 50/s")
    assert found.held == 0


def test_a_generator_that_was_late_says_nothing_of_the_target() -> None:
    """The interval stays open to the highest rate, whatever the latencies were: they are the generator's."""
    found = knee({50: 0.01, 100: 0.02, 200: 0.9}, late={200: 0.2})
    assert (found.held, found.highest, found.broke) == (100, 200, False)
    assert found.text == "The knee is at least 100/s: the generator was late at 200/s."
    assert found.until == 12.0


def test_what_the_generator_says_of_itself_ends_at_the_knee() -> None:
    """Beyond it arrivals wait for each other; its lateness there is no reason to doubt the steps before."""
    came = outcome({50: 0.01, 100: 0.02, 200: 0.9}, late={200: 0.2})
    measured = measurements(came, phases={}, seed=1)
    whole = {each.metric: each.value for each in measured}
    before = {each.metric: each.value for each in only_until(12.0, came, measured, 1)}
    assert whole["valid.lateness"] == pytest.approx(0.2)
    assert before["valid.lateness"] == pytest.approx(0.001)
    assert before["requests.count"] == whole["requests.count"]


def test_the_warm_up_is_part_of_no_step() -> None:
    """The first step begins after it, and one that lies in it is none."""
    assert [(each.start, each.end) for each in steps(plan(warmup=1.0))] == [(1.0, 6.0), (6.0, 12.0), (12.0, 18.0)]
    assert [each.rate for each in steps(plan(warmup=6.0))] == [100.0, 200.0]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "no objective"),
        ({"latency.p42": "1 s"}, "no objective of a step; expected one of latency.p50"),
        ({"latency.p95": "1 %"}, "1 %"),
        ({"latency.p95": "0 s"}, "expected more than 0"),
    ],
)
def test_objectives_that_mean_nothing_are_refused(given: dict[str, str], why: str) -> None:
    """By name, at their place."""
    with pytest.raises(ValidationError, match=why):
        Objectives.model_validate(given)


@dataclass
class Context:
    """What a kind is offered while planning, as far as it is needed here."""

    criteria: tuple[Criterion, ...] = ()
    errors: list[tuple[str, str]] = field(default_factory=list)
    root: Path = Path()
    profile: str = "quick"
    target: TargetPlan | None = None

    def error(self, setting: str, message: str, hint: str = "") -> None:
        """Keep it."""
        self.errors.append((setting, message))

    def read(self, path: str, schema: Any, *, setting: str) -> Any:
        """Nothing is read."""
        raise NotImplementedError

    def plugins(self, group: str) -> Mapping[str, Any]:
        """None."""
        return {}


def at_least(rate: float) -> Criterion:
    """A criterion over the knee."""
    comparison = Comparison(Comparator.AT_LEAST, rate, text=f"{rate:g}/s")
    return Criterion(KNEE, Unit.RATE, Rule.SINGLE, (comparison,), 1)


def test_a_plan_that_can_not_find_a_knee_is_refused() -> None:
    """Without objectives, without rising steps, with too few requests in a step, and beyond the highest rate."""
    objectives = Objectives.model_validate({"latency.p99": "1 s"})
    for load, given, limit, why in (
        (plan(), None, 100.0, "no objectives are given"),
        (plan((100.0, 50.0)), objectives, 50.0, "each of a higher rate"),
        (plan(), objectives, 100.0, "latency.p99 needs 1,000 requests in every step, and the one of 50/s has 250"),
        (plan(seconds=30.0), objectives, 300.0, "the highest step is 200/s, which can't show 300/s"),
    ):
        context = Context((at_least(limit),))
        check_knee(load, given, context)
        assert any(why in message for _, message in context.errors), (why, context.errors)
    sound = Context((at_least(100.0),))
    check_knee(plan(seconds=30.0), objectives, sound)
    assert sound.errors == []
