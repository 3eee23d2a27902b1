"""What other tools read of a load: histogram logs, and a page of metrics in OpenMetrics text.

A histogram log (`latency.hlog`, `service.hlog`) has a line for each flow and block of time, with the flow as its tag, as
HistogramLogProcessor and HistogramLogAnalyzer read it. The page (`metrics.prom`) is what a scrape at the end of the run would
have seen: https://github.com/prometheus/OpenMetrics, classic buckets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from gates.load.failure import Failure
from gates.load.histogram import PER_SECOND
from gates.load.selection import Outcome, Sample

# Upper edges of the page's buckets in seconds.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
Timing = Literal["latency", "service"]
_MILLISECOND = PER_SECOND / 1000


# --- histogram logs ---------------------------------------------------------------------------------------------------


def histogram_log(outcome: Outcome, timing: Timing) -> str:
    """A log of *timing* in the format 1.3 of HistogramLogProcessor. The longest of an interval is in milliseconds."""
    return "\n".join(
        [
            "#[Histogram log format version 1.3]",
            f"#{timing} in microseconds; timestamps are seconds from the start of load, by intended start",
            '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
            *_intervals(outcome, timing),
            "",
        ]
    )


def _intervals(outcome: Outcome, timing: Timing) -> Iterator[str]:
    for start, _ in outcome.by_block():
        for index, flow in enumerate(outcome.flows):
            histogram = _sample(outcome, timing, start, start + outcome.block, index).histogram()
            if histogram.total:
                longest = histogram.longest / _MILLISECOND
                yield f"Tag={flow},{start:.3f},{outcome.block:.3f},{longest:.3f},{histogram.encode_text()}"


def _sample(outcome: Outcome, timing: Timing, start: float, end: float, flow: int) -> Sample:
    chosen = outcome.select(start, end, flows=(flow,))
    return chosen.latency if timing == "latency" else chosen.service


# --- OpenMetrics ------------------------------------------------------------------------------------------------------


def openmetrics(outcome: Outcome) -> str:
    """The page of metrics. Sums are of the middles of histogram buckets, within a thousandth of the truth."""
    return "\n".join(
        [
            *_requests(outcome),
            *_timings(outcome, "latency", "From the intended start to the end, of right answers and of waits without one."),
            *_timings(outcome, "service", "From the first byte sent to the end."),
            *_lateness(outcome),
            *_generator(outcome),
            "# EOF",
            "",
        ]
    )


def _family(name: str, kind: str, text: str, unit: str = "") -> Iterator[str]:
    yield f"# TYPE {name} {kind}"
    if unit:
        yield f"# UNIT {name} {unit}"
    yield f"# HELP {name} {text}"


def _requests(outcome: Outcome) -> Iterator[str]:
    name = "gates_load_requests"
    yield from _family(name, "counter", "Arrivals by flow and by what became of them.")
    for index, flow in enumerate(outcome.flows):
        chosen = outcome.select(flows=(index,))
        for kind, count in {Failure.NONE: chosen.right, **chosen.failures}.items():
            yield f"{name}_total{_labels(flow=flow, outcome=kind.word)} {count}"


def _timings(outcome: Outcome, timing: Timing, text: str) -> Iterator[str]:
    name = f"gates_load_{timing}_seconds"
    yield from _family(name, "histogram", text, "seconds")
    for index, flow in enumerate(outcome.flows):
        yield from _buckets(name, {"flow": flow}, _sample(outcome, timing, -np.inf, np.inf, index))


def _lateness(outcome: Outcome) -> Iterator[str]:
    name = "gates_load_lateness_seconds"
    yield from _family(name, "histogram", "How late the generator took arrivals up.", "seconds")
    yield from _buckets(name, {}, outcome.select().lateness)


def _buckets(name: str, labels: dict[str, str], sample: Sample) -> Iterator[str]:
    histogram = sample.histogram()
    held = np.flatnonzero(histogram.counts)
    counts, highs, lows = histogram.counts[held], histogram.layout.highs(held), histogram.layout.lows(held)
    for edge in BUCKETS:
        below = int(counts[highs <= edge * PER_SECOND].sum())
        yield f"{name}_bucket{_labels(**labels, le=repr(edge))} {below}"
    yield f"{name}_bucket{_labels(**labels, le='+Inf')} {histogram.total}"
    yield f"{name}_sum{_labels(**labels)} {float((counts * (lows + highs) / 2).sum()) / PER_SECOND!r}"
    yield f"{name}_count{_labels(**labels)} {histogram.total}"


def _generator(outcome: Outcome) -> Iterator[str]:
    health = outcome.health
    yield from _family("gates_load_schedule", "info", "The schedule of the arrivals.")
    yield f"gates_load_schedule_info{_labels(sha256=outcome.schedule_hash)} 1"
    rows: Sequence[tuple[str, str, str, float | None]] = (
        ("planned_requests", "", "Arrivals that were planned.", outcome.planned),
        ("generator_processor_ratio", "ratio", "Processor time of the generator, of one core.", health.cpu),
        ("machine_steal_ratio", "ratio", "Part of the machine's processor time that the hypervisor took.", health.steal),
        ("clock_step_seconds", "seconds", "Step of the wall clock against the monotonic one.", health.clock_jump),
    )
    for name, unit, text, value in rows:
        if value is not None:
            yield from _family(f"gates_load_{name}", "gauge", text, unit)
            yield f"gates_load_{name} {value!r}"


def _labels(**given: str) -> str:
    quoted = (f'{name}="{_escaped(value)}"' for name, value in given.items())
    return f"{{{','.join(quoted)}}}" if given else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
