"""Numbers against the stored baseline of the same machine: guards of a load, and ratios against what earlier runs predict."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gates.kinds.load import LoadKind
from gates.kinds.stored import against_stored, load_against_stored
from gates.model import (
    Commit,
    Comparator,
    Comparison,
    Criterion,
    Execution,
    GateResult,
    Interval,
    Measurement,
    Outcome,
    PlannedGate,
    Request,
    Rule,
    Unit,
)
from gates.pipeline.judge import judge_gate
from gates.regression.baselines import Baseline, BaselineRun, place, text

MACHINE = {"cpu": "one"}
SUCCESS = Criterion("baseline.success.drop", Unit.RATIO, Rule.RATIO, (Comparison(Comparator.BELOW, 0.05),), 74)
LATENCY = Criterion("baseline.latency.factor/p99", Unit.FACTOR, Rule.FACTOR, (Comparison(Comparator.BELOW, 1.2),), 200)
RATIO = Criterion("baseline.ratio/*", Unit.RATIO, Rule.SLOWDOWN, (Comparison(Comparator.BELOW, 0.5, 0.0),), 12)


def request(root: Path, *criteria: Criterion) -> Request:
    gate = PlannedGate("it", "load", {}, criteria, limit=60, budget=20)
    return Request("r", str(root), str(root), "quick", 1, gate, Commit(), MACHINE)


def store(root: Path, *values: dict[str, float]) -> None:
    baseline = Baseline(MACHINE, "it", ())
    for number, each in enumerate(values):
        baseline = baseline.with_run(BaselineRun(f"r{number}", "0" * 40, "2026-11-23T15:00:00Z", "green", each))
    path = place(root, MACHINE, "it")
    path.parent.mkdir(parents=True)
    path.write_text(text(baseline))


def load(errors: float, p99: float) -> list[Measurement]:
    """A load of 5,000 requests, with narrow intervals."""
    return [
        Measurement("errors.ratio", errors, Unit.RATIO, 5000, Interval(errors * 0.9, errors * 1.1, 0.95, "clopper-pearson")),
        Measurement("errors.ratio", 0.5, Unit.RATIO, 50, Interval(0.4, 0.6, 0.95, "clopper-pearson"), selector="one_flow"),
        Measurement("latency.p99", p99, Unit.SECONDS, 4000, Interval(p99 * 0.98, p99 * 1.02, 0.95, "order"), phase="steady"),
        Measurement("latency.p99", 9.0, Unit.SECONDS, 4000, Interval(8.0, 9.5, 0.95, "order"), phase="warmup"),
    ]


def outcomes(root: Path, measured: list[Measurement]) -> list[Outcome]:
    asked = request(root, SUCCESS, LATENCY)
    part = load_against_stored(asked, measured)
    result = GateResult("it", Execution.COMPLETED, "", 1.0, part.measurements, absent=part.absent)
    return [each.outcome for each in judge_gate(asked.gate, result).criteria]


@pytest.mark.parametrize(
    ("errors", "p99", "expected"),
    [
        (0.01, 0.100, [Outcome.PASS, Outcome.PASS]),
        (0.09, 0.100, [Outcome.FAIL, Outcome.PASS]),
        (0.01, 0.130, [Outcome.PASS, Outcome.FAIL]),
        (0.01, 0.120, [Outcome.PASS, Outcome.INCONCLUSIVE]),
        (0.00, 0.050, [Outcome.PASS, Outcome.PASS]),
    ],
    ids=["same", "success", "latency", "undecided", "better"],
)
def test_a_load_fails_five_points_below_or_a_fifth_slower_than_the_stored_one(
    tmp_path: Path, errors: float, p99: float, expected: list[Outcome]
) -> None:
    """Against the median of accepted runs, one of which was an outlier; with the intervals of what was measured."""
    store(
        tmp_path, *({"errors.ratio": 0.01, "latency.p99@steady": each, "latency.p99@warmup": 1.0} for each in (0.1, 0.1, 0.7))
    )
    assert outcomes(tmp_path, load(errors, p99)) == expected


def test_a_load_without_a_baseline_is_inconclusive(tmp_path: Path) -> None:
    """The original let it pass."""
    assert outcomes(tmp_path, load(0.0, 0.1)) == [Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE]
    store(tmp_path, {"something.else": 1.0})
    assert outcomes(tmp_path, load(0.0, 0.1)) == [Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE]


def test_the_guards_are_metrics_of_the_kind_load() -> None:
    """So that a spec can name them."""
    assert {"baseline.success.drop", "baseline.latency.factor"} <= {spec.name for spec in LoadKind.metrics}


def ratio(value: float) -> Measurement:
    return Measurement("ratio", value, Unit.FACTOR, 40, Interval(value * 0.9, value * 1.1, 0.95, "bootstrap"), selector="a")


def judged(root: Path, value: float) -> tuple[Outcome, str]:
    asked = request(root, RATIO)
    part = against_stored(asked, [ratio(value)])
    result = GateResult("it", Execution.COMPLETED, "", 1.0, part.measurements, expected=part.expected, absent=part.absent)
    report = judge_gate(asked.gate, result).criteria[0]
    return report.outcome, report.reason


def history(root: Path, deviation: float, runs: int) -> None:
    generator = random.Random(1)
    store(root, *({"ratio/a": generator.gauss(3.0, deviation)} for _ in range(runs)))


def test_a_ratio_fails_only_beyond_what_chance_allows(tmp_path: Path) -> None:
    """With 2 % of noise over 25 runs, 3 % more passes and 40 % more fails."""
    history(tmp_path, 0.06, 25)
    assert judged(tmp_path, 3.1)[0] is Outcome.PASS
    assert judged(tmp_path, 4.2)[0] is Outcome.FAIL


def test_a_ratio_that_spread_too_far_before_is_only_watched(tmp_path: Path) -> None:
    """4 deviations of 20 % are more than the margin of 50 %: nothing is decided, and it is said."""
    history(tmp_path, 0.6, 25)
    outcome, reason = judged(tmp_path, 9.0)
    assert outcome is Outcome.INCONCLUSIVE
    assert "spread too far for a margin of 50%" in reason


def test_nineteen_runs_decide_nothing(tmp_path: Path) -> None:
    """The reason says how many there are."""
    history(tmp_path, 0.06, 19)
    assert judged(tmp_path, 9.0) == (
        Outcome.INCONCLUSIVE,
        "baseline.ratio/* was not measured: 19 runs are stored and 20 are needed",
    )


def judged_of(root: Path, *names: str) -> tuple[Outcome, str]:
    """What `baseline.ratio/*` says when just these benchmarks were measured, each at its usual 3."""
    asked = request(root, RATIO)
    measured = [
        Measurement("ratio", 3.0, Unit.FACTOR, 40, Interval(2.9, 3.1, 0.95, "bootstrap"), selector=name) for name in names
    ]
    part = against_stored(asked, measured)
    result = GateResult("it", Execution.COMPLETED, "", 1.0, part.measurements, expected=part.expected, absent=part.absent)
    report = judge_gate(asked.gate, result).criteria[0]
    return report.outcome, report.reason


def test_a_benchmark_of_the_newest_run_that_is_not_measured_is_missed(tmp_path: Path) -> None:
    """Its history is long enough to judge it, so its absence is no pass."""
    generator = random.Random(2)
    store(tmp_path, *({f"ratio/{name}": generator.gauss(3.0, 0.05) for name in "ab"} for _ in range(25)))
    assert judged_of(tmp_path, "a", "b")[0] is Outcome.PASS
    outcome, reason = judged_of(tmp_path, "a")
    assert outcome is Outcome.INCONCLUSIVE
    assert "not measured for b" in reason


def test_a_benchmark_that_accepted_runs_no_longer_have_is_not_missed(tmp_path: Path) -> None:
    """Otherwise one that was removed on purpose would be asked for during fifty runs."""
    generator = random.Random(3)
    names = ["ab"] * 25 + ["a"]
    store(tmp_path, *({f"ratio/{name}": generator.gauss(3.0, 0.05) for name in each} for each in names))
    assert judged_of(tmp_path, "a")[0] is Outcome.PASS


def test_a_percentile_of_the_newest_run_that_is_not_measured_is_missed(tmp_path: Path) -> None:
    """A guard over all percentiles does not pass by those that are left."""
    store(tmp_path, {"latency.p50@steady": 0.05, "latency.p99@steady": 0.1})
    every = Criterion("baseline.latency.factor/*", Unit.FACTOR, Rule.FACTOR, (Comparison(Comparator.BELOW, 1.2),), 200)
    asked = request(tmp_path, every)
    half = Measurement("latency.p50", 0.05, Unit.SECONDS, 4000, Interval(0.049, 0.051, 0.95, "order"), phase="steady")
    part = load_against_stored(asked, [half])
    result = GateResult("it", Execution.COMPLETED, "", 1.0, part.measurements, expected=part.expected, absent=part.absent)
    (report,) = judge_gate(asked.gate, result).criteria
    assert report.outcome is Outcome.INCONCLUSIVE
    assert "p99" in report.reason
