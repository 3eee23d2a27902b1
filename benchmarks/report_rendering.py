"""How long a report of 10,000 criteria takes to render: `python benchmarks/report_rendering.py [CRITERIA]`.

Prints one line a format and the sum. The budget is 2 s for all of them together.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from gates import codec
from gates.model import (
    Commit,
    Comparator,
    Comparison,
    Criterion,
    CriterionReport,
    Disposition,
    Execution,
    GateReport,
    GateResult,
    Interval,
    Measurement,
    Outcome,
    Plan,
    PlannedGate,
    Report,
    Rule,
    Unit,
    Verdict,
)
from gates.report import github, html, junit, markdown, text

BUDGET = 2.0
GATES = 20
FORMATS: dict[str, Callable[[Report], str]] = {
    "json": codec.dumps,
    "markdown": markdown.render,
    "html": html.render,
    "junit": junit.render,
    "github": github.summary,
    "text": text.render,
}


def report_of(criteria: int) -> Report:
    """A report of that many criteria over 20 gates; every tenth fails, so that no format may leave them out."""
    gates = tuple(_gate(number, criteria // GATES) for number in range(GATES))
    plan = Plan(
        "20261123T150405Z-3f9c2ab-5c1e", "2026-11-23T15:04:05.000Z", "0.1.0", "/srv/project", "workflows/readiness.yaml",
        "ab" * 32, "standard", 1, Commit("3f9c2ab" + "0" * 33, "main"),
        {"cpu": "some", "cores": "2"}, tuple(gate.gate for gate in gates),
    )  # fmt: skip
    return Report(plan, Verdict.NOT_READY, "gate-0: metric/0 is 312 ms; it must be below 250 ms.", gates, seconds=100.0)


def _gate(number: int, criteria: int) -> GateReport:
    judged = tuple(_criterion(index) for index in range(criteria))
    planned = PlannedGate(f"gate-{number}", "load", {}, tuple(one.criterion for one in judged), 60.0, 15.0)
    measurements = tuple(found for one in judged for found in one.measurements)
    result = GateResult(
        planned.name, Execution.COMPLETED, "2026-11-23T15:04:05.000Z", 12.5, measurements, summary="**Many** cases."
    )
    return GateReport(planned, Execution.COMPLETED, Outcome.FAIL, "it must be below 250 ms", judged, result)


def _criterion(index: int) -> CriterionReport:
    value = 0.312 if index % 10 == 0 else 0.041
    criterion = Criterion(
        f"latency.p99@steady/flow_{index}",
        Unit.SECONDS,
        Rule.PERCENTILE,
        (Comparison(Comparator.BELOW, 0.25, text="250 ms"),),
        1000,
    )
    interval = Interval(value * 0.9, value * 1.1, 0.95, "order statistics")
    found = Measurement("latency.p99", value, Unit.SECONDS, 1300, interval, "steady", f"flow_{index}")
    outcome = Outcome.FAIL if index % 10 == 0 else Outcome.PASS
    reason = f"{found.key} is {value} s (95 % interval, n 1,300); it must be below 250 ms"
    return CriterionReport(criterion, outcome, Disposition.COUNTED, reason, (found,))


def main(criteria: int) -> None:
    """Render once in each format and print the times."""
    report, total = report_of(criteria), 0.0
    for name, render in FORMATS.items():
        begun = time.perf_counter()
        size = len(render(report).encode())
        seconds = time.perf_counter() - begun
        total += seconds
        print(f"{name:<9} {seconds:6.3f} s  {size / 1024:8,.0f} KiB")
    print(f"{'all':<9} {total:6.3f} s  for {criteria:,} criteria; the budget is {BUDGET:g} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
