"""From rows to measurements: every number with its interval and how many samples it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from gates.load import validity
from gates.load.metrics import QUANTILES
from gates.load.outcome import LoadOutcome
from gates.load.statistics import clopper_pearson, percentiles
from gates.model import Measurement, Unit

Rows = NDArray[np.bool_]


def measurements(outcome: LoadOutcome, *, phases: Mapping[str, tuple[float, float]], seed: int) -> tuple[Measurement, ...]:
    """All measurements of *outcome*: of the whole run (no phase) and of each of *phases* (from and to of intended start, in
    seconds), over all flows (no selector) and for each flow. What has no sample has no measurement.
    """
    whole = ("", (-np.inf, np.inf))
    found: list[Measurement] = []
    for phase, (start, end) in (whole, *phases.items()):
        within = (outcome.intended >= start) & (outcome.intended < end)
        for selector, chosen in (("", within), *_by_flow(outcome, within)):
            found += _group(outcome, chosen, phase, selector, seed)
    return (*found, *_generator(outcome, seed))


def _by_flow(outcome: LoadOutcome, within: Rows) -> list[tuple[str, Rows]]:
    return [(name, within & (outcome.flow == index)) for index, name in enumerate(outcome.flows)]


def _group(outcome: LoadOutcome, rows: Rows, phase: str, selector: str, seed: int) -> Iterator[Measurement]:
    count = int(np.count_nonzero(rows))
    if not count:
        return
    errors = int(np.count_nonzero(rows & ~outcome.right))
    yield Measurement("errors.ratio", errors / count, Unit.RATIO, count, clopper_pearson(errors, count), phase, selector)
    yield Measurement("errors.count", errors, Unit.COUNT, count, None, phase, selector)
    yield Measurement("requests.count", count, Unit.COUNT, count, None, phase, selector)
    yield Measurement("throughput", _throughput(outcome, rows, count - errors), Unit.RATE, count, None, phase, selector)
    timed = rows & outcome.timed
    if timed.any():
        longest = float(outcome.latency[timed].max())
        yield Measurement("latency.max", longest, Unit.SECONDS, int(np.count_nonzero(timed)), None, phase, selector)
        yield from _timings("latency", outcome.latency[timed], outcome.intended[timed], phase, selector, seed)
    served = timed & ~np.isnan(outcome.sent)
    if served.any():
        yield from _timings("service", outcome.service[served], outcome.intended[served], phase, selector, seed)


def _throughput(outcome: LoadOutcome, rows: Rows, right: int) -> float:
    """Right answers over the time from the first intended start to the last end."""
    span = float(outcome.completed[rows].max() - outcome.intended[rows].min())
    return right / span if span > 0 else 0.0


def _timings(
    name: str, values: NDArray[np.float64], at: NDArray[np.float64], phase: str, selector: str, seed: int
) -> Iterator[Measurement]:
    found = percentiles(values, at, list(QUANTILES.values()), seed=seed)
    for short, (value, interval) in zip(QUANTILES, found, strict=True):
        yield Measurement(f"{name}.{short}", value, Unit.SECONDS, len(values), interval, phase, selector)


def _generator(outcome: LoadOutcome, seed: int) -> Iterator[Measurement]:
    """The generator's own: lateness, what it never sent, and the valid.* criteria's numbers."""
    count = len(outcome.intended)
    if not count:
        return
    lateness = np.maximum(outcome.lateness, 0)
    (median, near), (late, far) = percentiles(lateness, outcome.intended, (0.5, 0.99), seed=seed)
    unsent, health = outcome.unsent, outcome.health
    yield Measurement("lateness.p50", median, Unit.SECONDS, count, near)
    yield Measurement("lateness.p99", late, Unit.SECONDS, count, far)
    yield Measurement("unsent.ratio", unsent / count, Unit.RATIO, count, clopper_pearson(unsent, count))
    yield Measurement(validity.UNSENT, unsent / count, Unit.RATIO, count)
    yield Measurement(validity.LATENESS, late, Unit.SECONDS, count)
    if health.steal is not None:
        yield Measurement(validity.STEAL, health.steal, Unit.RATIO, count)
    yield Measurement(validity.CLOCK, health.clock_jump, Unit.SECONDS, count)
