"""Files for other tools, read back by other tools' readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from test_tally import PLAN, one

from gates.load.exhibits import write_evidence
from gates.load.histogram import DEFAULT
from gates.load.outcome import LoadOutcome
from gates.load.output import BUCKETS, histogram_log, openmetrics
from gates.load.schedule import schedule
from gates.load.selection import Outcome
from gates.load.tally import Tally


@pytest.fixture(scope="module")
def runs() -> tuple[LoadOutcome, Tally]:
    """The same run in rows and in counts."""
    return one(schedule(PLAN, ("x",), seed=3))


def test_a_log_is_read_by_the_package_interval_by_interval(runs: tuple[LoadOutcome, Tally], tmp_path: Path) -> None:
    """A line for each second and flow, with the flow as its tag; what they add up to is the flow's latency."""
    path = tmp_path / "latency.hlog"
    path.write_text(histogram_log(runs[0], "latency"))
    reader = HistogramLogReader(str(path), HdrHistogram(DEFAULT.lowest, DEFAULT.highest, DEFAULT.digits))
    sums = {flow: HdrHistogram(DEFAULT.lowest, DEFAULT.highest, DEFAULT.digits) for flow in runs[0].flows}
    intervals = []
    while interval := reader.get_next_interval_histogram():
        intervals.append((interval.get_tag(), interval.get_start_time_stamp(), interval.get_end_time_stamp()))
        sums[interval.get_tag()].add(interval)
    reader.close()
    assert intervals == [(flow, second * 1000.0, second * 1000.0 + 1000) for second in range(8) for flow in ("a", "b")]
    for index, flow in enumerate(runs[0].flows):
        latency = runs[0].select(flows=(index,)).latency
        assert sums[flow].get_total_count() == latency.count
        counts = [sums[flow].get_count_at_index(place) for place in range(DEFAULT.length)]
        assert counts == latency.histogram().counts.tolist()


def test_logs_of_rows_and_of_counts_are_the_same_bytes(runs: tuple[LoadOutcome, Tally]) -> None:
    """Both are the same histograms."""
    assert histogram_log(runs[0], "latency") == histogram_log(runs[1], "latency")
    assert histogram_log(runs[0], "service") == histogram_log(runs[1], "service")


def families(outcome: Outcome) -> dict[str, list[tuple[str, dict[str, str], float]]]:
    """Samples by family, as prometheus_client's strict parser of OpenMetrics reads them."""
    text = openmetrics(outcome)
    assert text.endswith("# EOF\n")
    return {
        family.name: [(sample.name, sample.labels, sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(text)
    }


def test_the_page_of_metrics_is_open_metrics_with_units_and_true_counts(runs: tuple[LoadOutcome, Tally]) -> None:
    """Every arrival is in one outcome, buckets add up to the answers that were timed, and rows and counts say the same."""
    found = families(runs[0])
    assert sum(value for _, _, value in found["gates_load_requests"]) == 4000
    latency = runs[0].select(flows=(0,)).latency
    values = {
        labels["le"]: value
        for name, labels, value in found["gates_load_latency_seconds"]
        if name.endswith("_bucket") and labels["flow"] == "a"
    }
    assert values["+Inf"] == latency.count
    for edge in BUCKETS:
        true = int(np.count_nonzero(latency.values <= edge))
        assert values[repr(edge)] == pytest.approx(true, abs=0.01 * latency.count)
    [total] = [
        value for name, labels, value in found["gates_load_latency_seconds"] if name.endswith("_sum") and labels["flow"] == "a"
    ]
    assert total == pytest.approx(latency.values.sum(), rel=0.001)
    assert found["gates_load_planned_requests"] == [("gates_load_planned_requests", {}, 4000)]
    assert openmetrics(runs[1]) == openmetrics(runs[0])


def test_a_machine_whose_steal_is_unknown_has_no_number_for_it(runs: tuple[LoadOutcome, Tally]) -> None:
    """No data is no zero."""
    from dataclasses import replace

    unknown = replace(runs[1], health=replace(runs[1].health, steal=None))
    assert "gates_load_machine_steal_ratio" in families(runs[1])
    assert "gates_load_machine_steal_ratio" not in families(unknown)


def test_evidence_has_all_of_it(runs: tuple[LoadOutcome, Tally], tmp_path: Path) -> None:
    """Of rows, the rows as well."""
    names = {"seconds.csv", "quantiles.csv", "latency.hlog", "service.hlog", "metrics.prom"}
    assert {path.name for path in write_evidence(runs[1], tmp_path)} == names
    assert {path.name for path in write_evidence(runs[0], tmp_path)} == {*names, "arrivals.csv.gz"}
