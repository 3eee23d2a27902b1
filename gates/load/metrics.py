"""The catalogue of what a load measures. Base dependencies only."""

from __future__ import annotations

from gates.load.resources import catalogue as resources
from gates.load.validity import METRICS as VALIDITY
from gates.model import MetricSpec, Rule, Unit

ANY_PHASE = "*"
"""Phases of a scenario's own, such as the steps of a shape; `gates.load.samples` knows whether one is there."""
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}


GENERATOR = (
    MetricSpec("generator.planned", Unit.COUNT, Rule.SINGLE, "Arrivals of the schedule."),
    MetricSpec("generator.sent", Unit.COUNT, Rule.SINGLE, "Arrivals of which a request was written to a connection."),
    MetricSpec("generator.done", Unit.COUNT, Rule.SINGLE, "Arrivals that were answered rightly or ended in an error."),
    MetricSpec("generator.unsent", Unit.COUNT, Rule.SINGLE, "Arrivals that were never sent."),
    MetricSpec("generator.cpu", Unit.RATIO, Rule.SINGLE, "Processor time of the generator's thread, as a part of one core."),
    MetricSpec(
        "generator.held", Unit.RATIO, Rule.SINGLE, "Part of the time for which that thread had to wait for a processor."
    ),
    MetricSpec("generator.steal", Unit.RATIO, Rule.SINGLE, "Part of the machine's processor time that the hypervisor took."),
)


def catalogue(phases: tuple[str, ...] = ("warmup", "steady")) -> tuple[MetricSpec, ...]:
    """Every metric of a load; *phases* are those that it can be asked for, besides those of a scenario's own."""
    phases = (*phases, ANY_PHASE)
    return (
        *_timings("latency", "from the intended start to the end", phases),
        MetricSpec("latency.max", Unit.SECONDS, Rule.SINGLE, "The longest latency.", phases=phases, selectors=True),
        *_timings("service", "from the first byte sent to the end", phases),
        MetricSpec(
            "errors.ratio", Unit.RATIO, Rule.RATIO, "Arrivals with an error of any class.", phases=phases, selectors=True
        ),
        MetricSpec(
            "errors.count", Unit.COUNT, Rule.CENSUS, "How many arrivals ended in an error.", phases=phases, selectors=True
        ),
        MetricSpec("requests.count", Unit.COUNT, Rule.SINGLE, "How many arrivals there were.", phases=phases, selectors=True),
        MetricSpec("throughput", Unit.RATE, Rule.SINGLE, "Right answers a second.", phases=phases, selectors=True),
        MetricSpec("lateness.p50", Unit.SECONDS, Rule.PERCENTILE, "Median lateness of the generator.", 0.5),
        MetricSpec("lateness.p99", Unit.SECONDS, Rule.PERCENTILE, "99th percentile of the generator's lateness.", 0.99),
        *GENERATOR,
        MetricSpec("unsent.ratio", Unit.RATIO, Rule.RATIO, "Arrivals that were never sent."),
        *resources(phases),
        *VALIDITY,
    )


def _timings(name: str, what: str, phases: tuple[str, ...]) -> list[MetricSpec]:
    return [
        MetricSpec(
            f"{name}.{short}",
            Unit.SECONDS,
            Rule.PERCENTILE,
            f"{quantile * 100:g}th percentile of the time {what}.",
            quantile,
            phases=phases,
            selectors=True,
        )
        for short, quantile in QUANTILES.items()
    ]
