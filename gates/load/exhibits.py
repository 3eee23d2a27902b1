"""What a report draws of a load, and the files that its numbers rest on."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gates.load.failure import Failure
from gates.load.outcome import LoadOutcome
from gates.load.output import histogram_log, openmetrics
from gates.load.selection import Outcome, Selection
from gates.load.tally import Tally, WorkerReport
from gates.model import Criterion, Exhibit, Limit, Line, Quantiles, Series, Table, Unit, Window
from gates.quantity import show

GRID = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0)
MOST_ROWS = 200_000


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


def exhibits(outcome: Outcome, *, limits: Sequence[Limit] = (), windows: Sequence[Window] = ()) -> tuple[Exhibit, ...]:
    """Plots over time, the quantile curve, and tables of flows, errors and the generator. *windows* are phases or faults."""
    whole = outcome.select()
    if not whole.count:
        return ()
    found: list[Exhibit] = [_over_time(outcome, limits, windows), _rates(outcome, windows), _curve(whole, limits)]
    flows = [(name, outcome.select(flows=(index,))) for index, name in enumerate(outcome.flows)]
    found.append(_table("Flows", "flow", flows, whole))
    if len(outcome.endpoints) > 1:
        endpoints = [(name, outcome.select(endpoints=(index,))) for index, name in enumerate(outcome.endpoints)]
        found.append(_table("Endpoints", "endpoint", endpoints, whole))
    if whole.failures:
        found.append(_errors(outcome, whole))
    found.append(_generator(outcome, whole))
    return (*found, _workers(outcome.workers)) if isinstance(outcome, Tally) and outcome.workers else tuple(found)


def write_evidence(outcome: Outcome, folder: Path) -> tuple[Path, ...]:
    """Write the time series, quantiles, histogram logs and metrics of *outcome*, and when there are at most 200,000 rows those
    as well; return what was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "seconds.csv": _csv(_second_rows(outcome)),
        "quantiles.csv": _csv(_quantile_rows(outcome)),
        "latency.hlog": histogram_log(outcome, "latency"),
        "service.hlog": histogram_log(outcome, "service"),
        "metrics.prom": openmetrics(outcome),
    }
    written = tuple(folder / name for name in texts)
    for path, text in zip(written, texts.values(), strict=True):
        path.write_text(text)
    if not isinstance(outcome, LoadOutcome) or outcome.due > MOST_ROWS:
        return written
    arrivals = folder / "arrivals.csv.gz"
    with arrivals.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed:
        packed.write(_csv(_arrival_rows(outcome)).encode())
    return (*written, arrivals)


# --- plots ------------------------------------------------------------------------------------------------------------


def _over_time(outcome: Outcome, limits: Sequence[Limit], windows: Sequence[Window]) -> Series:
    lines: dict[str, list[tuple[float, float]]] = {"p50": [], "p99": []}
    for second, chosen in outcome.by_block():
        latency = chosen.latency
        if latency.count:
            for name, quantile in (("p50", 0.5), ("p99", 0.99)):
                lines[name].append((second + outcome.block / 2, latency.quantile(quantile)))
    drawn = tuple(Line(name, tuple(points)) for name, points in lines.items())
    return Series("Latency over time", Unit.SECONDS, drawn, tuple(limits), tuple(windows), logarithmic=True)


def _rates(outcome: Outcome, windows: Sequence[Window]) -> Series:
    right, wrong = [], []
    for second, chosen in outcome.by_block():
        middle, answered = second + outcome.block / 2, chosen.right
        right.append((middle, answered / outcome.block))
        wrong.append((middle, chosen.wrong / outcome.block))
    lines = (Line("right answers", tuple(right)), Line("errors", tuple(wrong)))
    return Series("Arrivals by what became of them", Unit.RATE, lines, (), tuple(windows))


def _curve(whole: Selection, limits: Sequence[Limit]) -> Quantiles:
    samples = (("latency", whole.latency), ("service time", whole.service))
    lines = (Line(name, tuple((q, sample.quantile(q)) for q in GRID)) for name, sample in samples if sample.count)
    return Quantiles("Latency by quantile", Unit.SECONDS, tuple(lines), tuple(limits))


# --- tables -----------------------------------------------------------------------------------------------------------


def _table(title: str, what: str, parts: Sequence[tuple[str, Selection]], whole: Selection) -> Table:
    rows = [(name, *_row(chosen)) for name, chosen in parts]
    if len(parts) > 1:
        rows.append(("all", *_row(whole)))
    return Table(title, (what, "arrivals", "errors", "p50", "p90", "p99", "longest"), tuple(rows))


def _row(chosen: Selection) -> tuple[str, ...]:
    latency = chosen.latency
    times = [show(latency.quantile(q), Unit.SECONDS) if latency.count else "none" for q in (0.5, 0.9, 0.99, 1.0)]
    return (f"{chosen.count:,}", f"{chosen.wrong:,}", *times)


def _errors(outcome: Outcome, whole: Selection) -> Table:
    rows = tuple((kind.word, f"{count:,}", (outcome.examples.get(kind) or ("",))[0]) for kind, count in whole.failures.items())
    return Table("Errors", ("class", "arrivals", "an example"), rows)


def _generator(outcome: Outcome, whole: Selection) -> Table:
    health, lateness = outcome.health, whole.lateness
    rows = (
        ("planned", f"{outcome.planned:,}"),
        ("became due", f"{whole.count:,}"),
        ("sent", f"{whole.sent:,}"),
        ("answered right", f"{whole.right:,}"),
        ("never sent", f"{whole.failures.get(Failure.UNSENT, 0):,}"),
        ("lateness p50", show(lateness.quantile(0.5), Unit.SECONDS)),
        ("lateness p99", show(lateness.quantile(0.99), Unit.SECONDS)),
        ("processor time of the generator", f"{health.cpu:.0%} of one core"),
        ("waited for a processor", "unknown" if health.held is None else f"{health.held:.0%} of the time"),
        ("time taken by the hypervisor", "unknown" if health.steal is None else show(health.steal, Unit.RATIO)),
        ("step of the clock", show(health.clock_jump, Unit.SECONDS)),
        ("pacing", health.pacing),
        ("schedule", f"sha256 {outcome.schedule_hash[:16]}"),
    )
    return Table("Generator", ("what", "value"), rows)


def _workers(workers: Sequence[WorkerReport]) -> Table:
    """Each worker's own generator: the worst of them is what the run is judged by."""
    columns = ("worker", "planned", "sent", "lateness p99", "processor", "stolen", "clock apart", "known to")
    rows = tuple(
        (
            f"{each.name} ({each.address})",
            f"{each.planned:,}",
            f"{each.sent:,}",
            show(each.lateness, Unit.SECONDS),
            f"{each.health.cpu:.0%}",
            "unknown" if each.health.steal is None else show(each.health.steal, Unit.RATIO),
            show(each.offset, Unit.SECONDS),
            show(each.uncertainty, Unit.SECONDS),
        )
        for each in workers
    )
    return Table("Workers", columns, rows)


# --- evidence ---------------------------------------------------------------------------------------------------------

_Cells = Iterable[Sequence[object]]


def _csv(rows: _Cells) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _second_rows(outcome: Outcome) -> Iterator[Sequence[object]]:
    yield ("second", "arrivals", "errors", "p50_s", "p90_s", "p99_s", "longest_s", "lateness_p99_s")
    for second, chosen in outcome.by_block():
        latency = chosen.latency
        times = [f"{latency.quantile(q):.6f}" if latency.count else "" for q in (0.5, 0.9, 0.99, 1.0)]
        yield (int(second), chosen.count, chosen.wrong, *times, f"{chosen.lateness.quantile(0.99):.6f}")


def _quantile_rows(outcome: Outcome) -> Iterator[Sequence[object]]:
    yield ("flow", "quantile", "latency_s")
    parts = ((name, outcome.select(flows=(index,))) for index, name in enumerate(outcome.flows))
    for name, chosen in (("", outcome.select()), *parts):
        latency = chosen.latency
        for quantile in GRID if latency.count else ():
            yield (name, quantile, f"{latency.quantile(quantile):.6f}")


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
