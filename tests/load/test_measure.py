"""From rows to numbers, samples and criteria, by hand-made rows whose truth is known."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gates import codec
from gates.load.exhibits import exhibits, limits, write_evidence
from gates.load.failure import Failure
from gates.load.measure import measurements
from gates.load.metrics import catalogue
from gates.load.outcome import Health, LoadOutcome
from gates.load.plan import LoadPlan
from gates.load.validity import most_lateness, valid_criteria
from gates.model import Comparator, Comparison, Criterion, Exhibit, Measurement, Rule, Series, Table, Unit, Window

PLAN = LoadPlan("", "", 100.0, 16.0, 3.0, 10, 1.0, {"a": 8, "b": 2}, {"a": {}, "b": {}})


def rows(failures: dict[int, Failure] | None = None, steal: float | None = 0.01) -> LoadOutcome:
    """1,000 arrivals over 10 s, each 10 ms long, the even ones `a`; some failed."""
    count = 1000
    intended = np.arange(count) / 100
    failure = np.zeros(count, dtype=np.int8)
    for row, kind in (failures or {}).items():
        failure[row] = kind
    sent = np.where(failure == Failure.UNSENT, np.nan, intended + 0.002)
    completed = np.where(failure == Failure.TIMEOUT, intended + 5, intended + 0.01)
    return LoadOutcome(
        intended, intended + 0.001, sent, np.where(failure == Failure.UNSENT, 20.0, completed),
        (np.arange(count) % 2).astype(np.int16), np.zeros(count, dtype=np.int16), np.full(count, 200, dtype=np.int16), failure,
        ("a", "b"), ("main",), count, 20.0, Health(0.1, steal, 0.0, "timerfd"), "0" * 64,
        examples={Failure.BODY: ("a on main: wrong",)},
    )  # fmt: skip


def by_key(outcome: LoadOutcome) -> dict[str, Measurement]:
    """Measurements by criterion id, with a warm-up of 3 s."""
    found = measurements(outcome, phases={"warmup": (0, 3), "steady": (3, 10)}, seed=1)
    keys = [each.key for each in found]
    assert len(keys) == len(set(keys))
    return dict(zip(keys, found, strict=True))


def test_phases_and_flows_have_measurements_of_their_own() -> None:
    """The whole, each phase, each flow, and each flow in each phase, with the number of arrivals of each."""
    found = by_key(rows())
    counts = {key: found[key].n for key in ("latency.p99", "latency.p99@warmup", "latency.p99@steady", "latency.p99@steady/a")}
    assert counts == {"latency.p99": 1000, "latency.p99@warmup": 300, "latency.p99@steady": 700, "latency.p99@steady/a": 350}
    assert found["latency.p50"].value == pytest.approx(0.010)
    assert found["service.p50"].value == pytest.approx(0.008)
    assert found["lateness.p99"].value == pytest.approx(0.001)


def test_every_measurement_is_declared_with_its_unit() -> None:
    """What the catalogue does not know, `judge` refuses."""
    declared = {spec.name: spec for spec in catalogue()}
    for each in by_key(rows()).values():
        assert declared[each.metric].unit is each.unit
        assert (each.interval is not None) == (declared[each.metric].rule in (Rule.PERCENTILE, Rule.RATIO))


def test_errors_of_every_class_count_and_a_wrong_body_is_an_error() -> None:
    """Three of a thousand are 0.3 % with their Clopper-Pearson interval; throughput counts right answers only."""
    found = by_key(rows({400: Failure.BODY, 500: Failure.STATUS, 601: Failure.RESET}))
    ratio = found["errors.ratio"]
    assert (ratio.value, ratio.n) == (0.003, 1000)
    assert ratio.interval is not None
    assert ratio.interval.low < 0.003 < ratio.interval.high
    assert found["errors.count@steady/a"].value == 2
    assert found["throughput"].value == pytest.approx(997 / 10, rel=0.01)


def test_waits_without_an_answer_count_as_latency_and_quick_errors_do_not() -> None:
    """A stall can't hide behind its timeouts, and refusals can't make the server look fast."""
    found = by_key(rows(dict.fromkeys(range(300, 400), Failure.TIMEOUT) | dict.fromkeys(range(500, 600), Failure.RESET)))
    assert found["latency.p95"].value == pytest.approx(5)
    assert found["latency.p95"].n == 900
    assert found["latency.max"].value == pytest.approx(5)
    assert by_key(rows({999: Failure.UNSENT}))["latency.max"].value == pytest.approx(20 - 9.99)


def test_unsent_arrivals_and_the_machine_are_measured_for_validity() -> None:
    """Where steal can't be read there is no measurement, so that its criterion is inconclusive and not passed."""
    found = by_key(rows({7: Failure.UNSENT, 8: Failure.UNSENT}))
    assert found["valid.unsent"].value == 0.002
    assert found["valid.steal"].value == 0.01
    assert "valid.steal" not in by_key(rows(steal=None))


def limit(name: str, value: float, comparator: Comparator = Comparator.BELOW) -> Criterion:
    """A criterion over *name*."""
    return Criterion(name, Unit.SECONDS, Rule.PERCENTILE, (Comparison(comparator, value, text=f"{value} s"),), 1)


def test_lateness_is_bounded_by_a_tenth_of_the_tightest_latency_limit() -> None:
    """Only upper limits over times count; without any it is 25 ms."""
    assert most_lateness(()) == 0.025
    assert most_lateness(
        [limit("latency.p99@steady", 0.25), limit("latency.p50", 0.1), limit("errors.ratio", 0.01)]
    ) == pytest.approx(0.01)
    assert most_lateness([limit("latency.p99", 0.1, Comparator.ABOVE)]) == 0.025


def test_built_in_criteria_are_built_in_and_those_of_the_machine_say_so() -> None:
    """Too few connections or too high a rate are the scenario's fault, so a second attempt would not help."""
    found = {each.id: each for each in valid_criteria(())}
    assert set(found) == {"valid.unsent", "valid.lateness", "valid.cpu", "valid.steal", "valid.clock"}
    assert all(each.built_in for each in found.values())
    assert {name for name, each in found.items() if not each.machine} == {"valid.unsent", "valid.cpu"}


def test_exhibits_show_limits_phases_flows_and_errors() -> None:
    """All of it goes into result.json and back."""
    outcome = rows({400: Failure.BODY})
    drawn = exhibits(
        outcome,
        limits=limits([limit("latency.p99@steady", 0.25), limit("errors.ratio", 0.01)]),
        windows=[Window("warmup", 0, 3)],
    )
    series = next(each for each in drawn if isinstance(each, Series))
    assert [each.text for each in series.limits] == ["p99@steady below 0.25 s"]
    assert series.windows[0].text == "warmup"
    assert series.logarithmic
    tables = {each.title: each for each in drawn if isinstance(each, Table)}
    assert tables["Errors"].rows == (("wrong body", "1", "a on main: wrong"),)
    assert [row[0] for row in tables["Flows"].rows] == ["a", "b", "all"]
    assert "Endpoints" not in tables
    assert [codec.from_json(_Box, {"it": json.loads(codec.dumps(each))}).it for each in drawn] == list(drawn)


@dataclass(frozen=True, slots=True)
class _Box:
    """Something that holds an exhibit."""

    it: Exhibit


def test_evidence_has_a_row_for_each_second_and_each_arrival(tmp_path: Path) -> None:
    """And the same rows are the same bytes."""
    written: list[Any] = [write_evidence(rows({1: Failure.UNSENT}), tmp_path / name) for name in ("a", "b")]
    assert (tmp_path / "a" / "seconds.csv").read_text().count("\n") == 11
    lines = gzip.decompress((tmp_path / "a" / "arrivals.csv.gz").read_bytes()).decode().splitlines()
    assert len(lines) == 1001
    assert lines[2] == "0.010000,b,main,0.001000,19.990000,,200,unsent"
    assert [path.read_bytes() for path in written[0]] == [path.read_bytes() for path in written[1]]
