"""What a report draws of a load, and the files that its numbers rest on."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gates.load.failure import Failure
from gates.load.outcome import LoadOutcome
from gates.model import Criterion, Exhibit, Limit, Line, Quantiles, Series, Table, Unit, Window
from gates.quantity import show

GRID = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0)
MOST_ROWS = 200_000
Rows = NDArray[np.bool_]


def limits(criteria: Iterable[Criterion], prefix: str = "latency.") -> tuple[Limit, ...]:
    """The limits of *criteria* over latencies of all flows, as lines of a plot."""
    return tuple(
        Limit(
            f"{criterion.id.removeprefix(prefix)} {comparison.comparator.replace('_', ' ')} {comparison.text}", comparison.limit
        )
        for criterion in criteria
        if criterion.metric.startswith(prefix) and not criterion.selector
        for comparison in criterion.comparisons
    )


def exhibits(outcome: LoadOutcome, *, limits: Sequence[Limit] = (), windows: Sequence[Window] = ()) -> tuple[Exhibit, ...]:
    """Plots over time, the quantile curve, and tables of flows, errors and the generator. *windows* are phases or faults."""
    if not len(outcome.intended):
        return ()
    found: list[Exhibit] = [_over_time(outcome, limits, windows), _rates(outcome, windows), _curve(outcome, limits)]
    found.append(_table("Flows", "flow", outcome, outcome.flows, outcome.flow))
    if len(outcome.endpoints) > 1:
        found.append(_table("Endpoints", "endpoint", outcome, outcome.endpoints, outcome.endpoint))
    if outcome.failures:
        found.append(_errors(outcome))
    return (*found, _generator(outcome))


def write_evidence(outcome: LoadOutcome, folder: Path) -> tuple[Path, ...]:
    """Write seconds.csv and quantiles.csv, and arrivals.csv.gz when there are at most 200,000; return what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    seconds, quantiles, arrivals = folder / "seconds.csv", folder / "quantiles.csv", folder / "arrivals.csv.gz"
    seconds.write_text(_csv(_second_rows(outcome)))
    quantiles.write_text(_csv(_quantile_rows(outcome)))
    if len(outcome.intended) > MOST_ROWS:
        return seconds, quantiles
    with arrivals.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed:
        packed.write(_csv(_arrival_rows(outcome)).encode())
    return seconds, quantiles, arrivals


# --- plots ------------------------------------------------------------------------------------------------------------


def _by_second(outcome: LoadOutcome) -> Iterator[tuple[int, Rows]]:
    seconds = np.floor(outcome.intended).astype(np.int64)
    return ((int(second), seconds == second) for second in np.unique(seconds))


def _over_time(outcome: LoadOutcome, limits: Sequence[Limit], windows: Sequence[Window]) -> Series:
    lines: dict[str, list[tuple[float, float]]] = {"p50": [], "p99": []}
    for second, rows in _by_second(outcome):
        timed = rows & outcome.timed
        if timed.any():
            for name, quantile in (("p50", 0.5), ("p99", 0.99)):
                lines[name].append((second + 0.5, _quantile(outcome.latency[timed], quantile)))
    drawn = tuple(Line(name, tuple(points)) for name, points in lines.items())
    return Series("Latency over time", Unit.SECONDS, drawn, tuple(limits), tuple(windows), logarithmic=True)


def _rates(outcome: LoadOutcome, windows: Sequence[Window]) -> Series:
    right, wrong = [], []
    for second, rows in _by_second(outcome):
        right.append((second + 0.5, float(np.count_nonzero(rows & outcome.right))))
        wrong.append((second + 0.5, float(np.count_nonzero(rows & ~outcome.right))))
    lines = (Line("right answers", tuple(right)), Line("errors", tuple(wrong)))
    return Series("Arrivals by what became of them", Unit.RATE, lines, (), tuple(windows))


def _curve(outcome: LoadOutcome, limits: Sequence[Limit]) -> Quantiles:
    timed = outcome.timed
    served = timed & ~np.isnan(outcome.sent)
    columns = (("latency", outcome.latency[timed]), ("service time", outcome.service[served]))
    lines = (Line(name, tuple((q, _quantile(values, q)) for q in GRID)) for name, values in columns if len(values))
    return Quantiles("Latency by quantile", Unit.SECONDS, tuple(lines), tuple(limits))


def _quantile(values: NDArray[np.float64], quantile: float) -> float:
    return float(np.quantile(values, quantile, method="inverted_cdf"))


# --- tables -----------------------------------------------------------------------------------------------------------


def _table(title: str, what: str, outcome: LoadOutcome, names: Sequence[str], column: NDArray[np.int16]) -> Table:
    rows = [(name, *_row(outcome, column == index)) for index, name in enumerate(names)]
    if len(names) > 1:
        rows.append(("all", *_row(outcome, np.ones(len(column), dtype=np.bool_))))
    return Table(title, (what, "arrivals", "errors", "p50", "p90", "p99", "longest"), tuple(rows))


def _row(outcome: LoadOutcome, rows: Rows) -> tuple[str, ...]:
    count, errors = int(np.count_nonzero(rows)), int(np.count_nonzero(rows & ~outcome.right))
    timed = outcome.latency[rows & outcome.timed]
    times = [show(_quantile(timed, q), Unit.SECONDS) if len(timed) else "none" for q in (0.5, 0.9, 0.99, 1.0)]
    return (f"{count:,}", f"{errors:,}", *times)


def _errors(outcome: LoadOutcome) -> Table:
    rows = tuple(
        (kind.word, f"{count:,}", (outcome.examples.get(kind) or ("",))[0]) for kind, count in outcome.failures.items()
    )
    return Table("Errors", ("class", "arrivals", "an example"), rows)


def _generator(outcome: LoadOutcome) -> Table:
    health, lateness = outcome.health, np.maximum(outcome.lateness, 0)
    due = len(outcome.intended)
    rows = (
        ("planned", f"{outcome.planned:,}"),
        ("became due", f"{due:,}"),
        ("sent", f"{int(np.count_nonzero(~np.isnan(outcome.sent))):,}"),
        ("answered right", f"{int(np.count_nonzero(outcome.right)):,}"),
        ("never sent", f"{outcome.unsent:,}"),
        ("lateness p50", show(_quantile(lateness, 0.5), Unit.SECONDS)),
        ("lateness p99", show(_quantile(lateness, 0.99), Unit.SECONDS)),
        ("processor time of the generator", f"{health.cpu:.0%} of one core"),
        ("time taken by the hypervisor", "unknown" if health.steal is None else show(health.steal, Unit.RATIO)),
        ("step of the clock", show(health.clock_jump, Unit.SECONDS)),
        ("pacing", health.pacing),
        ("schedule", f"sha256 {outcome.schedule_hash[:16]}"),
    )
    return Table("Generator", ("what", "value"), rows)


# --- evidence ---------------------------------------------------------------------------------------------------------

_Cells = Iterable[Sequence[object]]


def _csv(rows: _Cells) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _second_rows(outcome: LoadOutcome) -> Iterator[Sequence[object]]:
    yield ("second", "arrivals", "errors", "p50_s", "p90_s", "p99_s", "longest_s", "lateness_p99_s")
    for second, rows in _by_second(outcome):
        timed = outcome.latency[rows & outcome.timed]
        times = [f"{_quantile(timed, q):.6f}" if len(timed) else "" for q in (0.5, 0.9, 0.99, 1.0)]
        errors = int(np.count_nonzero(rows & ~outcome.right))
        lateness = _quantile(np.maximum(outcome.lateness[rows], 0), 0.99)
        yield (second, int(np.count_nonzero(rows)), errors, *times, f"{lateness:.6f}")


def _quantile_rows(outcome: LoadOutcome) -> Iterator[Sequence[object]]:
    yield ("flow", "quantile", "latency_s")
    for name, rows in (
        ("", outcome.timed),
        *((name, outcome.timed & (outcome.flow == i)) for i, name in enumerate(outcome.flows)),
    ):
        values = outcome.latency[rows]
        for quantile in GRID if len(values) else ():
            yield (name, quantile, f"{_quantile(values, quantile):.6f}")


def _arrival_rows(outcome: LoadOutcome) -> Iterator[Sequence[object]]:
    yield ("intended_s", "flow", "endpoint", "lateness_s", "latency_s", "service_s", "status", "failure")
    columns = zip(
        outcome.intended.tolist(),
        outcome.flow.tolist(),
        outcome.endpoint.tolist(),
        outcome.lateness.tolist(),
        outcome.latency.tolist(),
        outcome.service.tolist(),
        outcome.code.tolist(),
        outcome.failure.tolist(),
        strict=True,
    )
    for intended, flow, endpoint, lateness, latency, service, code, failure in columns:
        names = (outcome.flows[flow], outcome.endpoints[endpoint])
        times = [f"{value:.6f}" if value == value else "" for value in (lateness, latency, service)]
        yield (f"{intended:.6f}", *names, *times, code, Failure(failure).name.lower())
